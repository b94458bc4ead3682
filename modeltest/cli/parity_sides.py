"""From the words of `modeltest parity` to its two sides."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from modeltest.backends.factory import checked_model, make_backend, model_warnings, refuse_parity
from modeltest.cli.options import DEVICES, load_settings, positive_int
from modeltest.cli.parity import DEFAULT_TASK
from modeltest.cli.perf import EMBEDDED_MODEL
from modeltest.cli.service_options import in_chat_format, refuse_local_options
from modeltest.devices.factory import Choice, choose_for, make_device, may_be_npu
from modeltest.errors import DataError, ModelError, UsageError, one_line
from modeltest.protocols import Backend, Device, Task
from modeltest.runlog.manifest import environment_facts, machine_facts
from modeltest.runner.parity.probe_set import ProbeSet
from modeltest.runner.parity.record import Asked, Record, asked_words, read_record
from modeltest.runner.parity.sides import Observed, Side, model_files
from modeltest.settings.load import Loaded, split_overrides
from modeltest.settings.paths import assets_dir
from modeltest.settings.schema import ModelSettings, TaskSettings
from modeltest.tasks.factory import make_task

SHIPPED_RECORD = f"parity/{EMBEDDED_MODEL}.safetensors"
_SIDE_KEYS = ("device", "dtype", "engine", "attention", "bs", "model")
_SEED = 0


@dataclass(frozen=True, slots=True)
class _Settled:
    """One side's settings and what they mean on this machine."""

    model: Loaded[ModelSettings]
    device: Device
    backend: Backend
    files: Mapping[str, str]

    @property
    def facts(self) -> dict[str, Any]:
        """As JSON values."""
        settings = self.model.settings
        return {
            "model": self.model.name,
            "device": self.device.label,
            "dtype": settings.data_type,
            "engine": settings.engine,
            "attention": settings.attention,
            "batch_size": settings.batch_size,
        }

    def side(self, name: str) -> Side:
        """Not loaded; its backend is made anew when its turn comes, and then thrown away."""
        settings = self.model.settings
        words = f"{self.model.name} on {self.device.label}, {settings.in_words}, batch size "
        return Side(
            name=name,
            make=partial(make_backend, settings, _SEED, self.device),
            device=self.device,
            data_type=settings.data_type,
            batch_size=settings.batch_size,
            words=one_line(f"{words}{settings.batch_size}"),
        )


@dataclass(frozen=True, slots=True)
class Pair:
    """Both sides, and what they are asked about.

    Attributes:
        task: The task's settings.
        asked: The task.
        recorded: Side A, where it comes out of a file.
        notes: What a reader of the result should know.
    """

    task: Loaded[TaskSettings]
    asked: Task
    recorded: Record | None
    notes: tuple[str, ...]
    _first: _Settled | None
    _second: _Settled | None

    @property
    def reference(self) -> Side:
        """Side A, where it is computed."""
        return self._computed.side("A")

    @property
    def tested(self) -> Side | None:
        """Side B; None where the reference is only recorded."""
        return self._second.side("B") if self._second else None

    @property
    def hears(self) -> Backend:
        """Says how clips have to be; not loaded."""
        return (self._second or self._computed).backend

    @property
    def model_name(self) -> str:
        """Of the model under test."""
        return (self._second or self._computed).model.name

    @property
    def _computed(self) -> _Settled:
        if self._first is None:
            raise UsageError("the reference comes out of a file")
        return self._first

    def lines(self, probes: ProbeSet) -> list[str]:
        """What will be compared, for a person."""
        if self.recorded:
            side = ", ".join(f"{key} {value}" for key, value in self.recorded.asked.side.items())
            first = f"A         recorded: {side}"
        else:
            first = f"A         {self.reference.words}"
        lines = [f"probes    {len(probes.requests)} samples of {probes.task}", first]
        if self.tested:
            lines.append(f"B         {self.tested.words}")
        return [one_line(line) for line in lines]

    def check_record(self, probes: ProbeSet) -> tuple[str, ...]:
        """Makes sure that side B is asked what the recorded side was.

        Returns:
            The notes, with what else is not the same.

        Raises:
            DataError: Clips, prompt or generation settings are others.
        """
        if self.recorded is None:
            return self.notes
        asked = self.recorded.asked
        request, clips = asked_words(probes.requests)
        for sample_id, digests in clips.items():
            if list(asked.clips[sample_id]) != digests:
                raise DataError(
                    f"{one_line(sample_id)}: its clip is not the one that the reference was "
                    "recorded with; give the same data, or record again"
                )
        if asked.request != request:
            raise DataError(
                "the reference was recorded with another prompt or other generation settings; "
                "give the same --task and settings, or record again"
            )
        here = _versions()
        others = [
            f"{name} {version} (here {here.get(name)})"
            for name, version in asked.versions.items()
            if here.get(name) != version
        ]
        note = f"the reference was recorded with {', '.join(others)}"
        return (*self.notes, note) if others else self.notes

    def as_record(self, probes: ProbeSet, observed: Observed) -> Record:
        """The reference as it is kept.

        Raises:
            DataError: It shows too little.
        """
        if not observed.given:
            raise DataError("--record: a service shows only text; record a model in this process")
        for sample in observed.trace.samples:
            if sample.error:
                what = f"{sample.sample_id} failed ({sample.error})"
                raise DataError(one_line(f"--record: the reference is not sound, {what}"))
        request, clips = asked_words(probes.requests)
        computed = self._computed
        asked = Asked(
            model=computed.model.name,
            files=computed.files,
            task=self.task.name,
            request=request,
            clips=clips,
            side={key: value for key, value in computed.facts.items() if key != "model"},
            versions=_versions(),
        )
        return Record(asked, observed.trace, observed.given)

    def facts(self, probes: ProbeSet) -> dict[str, Any]:
        """What was compared on what machine, as JSON values."""
        request, clips = asked_words(probes.requests)
        recorded = asdict(self.recorded.asked) if self.recorded else None
        return {
            "command": "parity",
            "a": recorded or _side_facts(self._first),
            "b": _side_facts(self._second),
            "task": self.task.name,
            "request": request,
            "clips": clips,
            "notes": list(self.notes),
            **environment_facts(datetime.now()),
        }

    def index_columns(self, probes: ProbeSet) -> dict[str, Any]:
        """What stands in `index.csv` beside the outcome."""
        tested = self._second or self._computed
        return {
            "created": datetime.now().astimezone().isoformat(timespec="seconds"),
            "command": "parity",
            "model": tested.model.name,
            "task": probes.task,
            "device": tested.device.label,
            "dtype": tested.model.settings.data_type,
        }


def make_pair(options: argparse.Namespace) -> Pair:
    """Settles both sides; loads no weights.

    Raises:
        ModeltestError: Something the user has to mend.
    """
    path = _record_file(options)
    if path is not None and options.record is not None:
        raise UsageError("--record keeps a reference that is computed; --reference is a file")
    recorded = read_record(path) if path is not None else None
    task_name = options.task or (recorded.asked.task if recorded else DEFAULT_TASK)
    words = argparse.Namespace(**{**vars(options), "task": task_name})
    tested_words, reference_words = _words_of_sides(words, recorded is not None)
    words_of_both = (reference_words, tested_words)
    loaded = [None if each is None else load_settings(each) for each in words_of_both]
    models = [None if each is None else each[0] for each in loaded]
    task = next(each[1] for each in loaded if each is not None)
    notes: tuple[str, ...] = ()
    if any(model.settings.is_service for model in models if model is not None):
        task, notes = in_chat_format(task)
    first, second = _settle(models, words_of_both)
    notes = (*notes, *_same_model(first, second, recorded))
    return Pair(task, make_task(task.name, task.settings), recorded, notes, first, second)


def _record_file(options: argparse.Namespace) -> Path | None:
    """The file that the reference comes from, if it comes from one."""
    text = options.reference
    if text is None:
        computed = options.batch_invariance is not None or options.record is not None
        if computed:
            return None
        if options.model == EMBEDDED_MODEL:
            return assets_dir() / SHIPPED_RECORD
        raise UsageError(
            "give --reference: a device (--reference cpu), settings (device=cpu,dtype=fp32) or a "
            "recorded file; only the embedded model comes with one"
        )
    if text in DEVICES or "=" in text or text.endswith(".yaml"):
        return None
    path = Path(text)
    if not path.is_file():
        raise UsageError(
            f"--reference {one_line(text)}: no such file, and no device "
            f"({', '.join(DEVICES)}) or settings (device=cpu,dtype=fp32)"
        )
    return path


def _words_of_sides(
    options: argparse.Namespace, is_recorded: bool
) -> tuple[argparse.Namespace | None, argparse.Namespace | None]:
    """Each side's command line: side B's, and side A's; None where there is no such side."""
    if is_recorded:
        return options, None
    if options.batch_invariance is not None:
        first, second = _two_sizes(options)
        return _with(options, {"bs": second}), _with(options, {"bs": first})
    if options.reference is None:
        return None, options
    return options, _with(options, _side_words(options.reference))


def _two_sizes(options: argparse.Namespace) -> tuple[str, str]:
    text = options.batch_invariance
    sizes = text.split(",")
    try:
        numbers = [positive_int(size.strip()) for size in sizes]
    except argparse.ArgumentTypeError as error:
        raise UsageError(f"--batch-invariance {one_line(text)}: {error}") from error
    if len(numbers) != 2:
        raise UsageError(f"--batch-invariance {one_line(text)}: give two batch sizes, as 1,8")
    if options.bs is not None:
        raise UsageError("--batch-invariance gives the batch sizes; leave --bs out")
    return str(numbers[0]), str(numbers[1])


def _side_words(text: str) -> dict[str, str]:
    """`--reference` as keys and values."""
    if text in DEVICES:
        return {"device": text}
    if text.endswith(".yaml") and "=" not in text:
        return {"model": text}
    words: dict[str, str] = {}
    for part in text.split(","):
        key, _, value = part.strip().partition("=")
        if key not in _SIDE_KEYS or not value or key in words:
            raise UsageError(
                f"--reference {one_line(text)}: {one_line(part)!r} is none of "
                f"{', '.join(f'{each}=…' for each in _SIDE_KEYS)}, each once"
            )
        words[key] = value
    if words.get("device", "auto") not in DEVICES:
        raise UsageError(f"--reference {one_line(text)}: devices are {', '.join(DEVICES)}")
    return words


def _with(options: argparse.Namespace, words: Mapping[str, str]) -> argparse.Namespace:
    """The same side but for these words; another model file starts from its own settings."""
    changed = {**vars(options), **words}
    if "model" in words:
        own = dict.fromkeys(("dtype", "engine", "attention", "bs"))
        _, of_task = split_overrides(options.overrides)
        changed = {**changed, "device": "auto", **own, "overrides": of_task, **words}
    return argparse.Namespace(**changed)


def _settle(
    models: list[Loaded[ModelSettings] | None], words: tuple[argparse.Namespace | None, ...]
) -> tuple[_Settled | None, _Settled | None]:
    """Checks model folders, then devices, an NPU's first: its driver cannot come later."""
    models = [model and checked_model(model) for model in models]
    choices: list[Choice | None] = []
    for model, options in zip(models, words, strict=True):
        if model is None or options is None:
            choices.append(None)
            continue
        refuse_parity(model.settings)
        if model.settings.is_service:
            refuse_local_options(options)
        choices.append(choose_for(model.settings, options.device))
    order = sorted(
        (i for i, choice in enumerate(choices) if choice),
        key=lambda i: not may_be_npu(getattr(choices[i], "kind", "")),
    )
    devices = {i: make_device(choice) for i in order if (choice := choices[i])}
    settled: list[_Settled | None] = [None, None]
    for i, device in devices.items():
        model = models[i]
        if model is not None:
            backend = make_backend(model.settings, _SEED, device)
            settled[i] = _Settled(model, device, backend, model_files(backend))
    return settled[0], settled[1]


def _same_model(
    first: _Settled | None, second: _Settled | None, recorded: Record | None
) -> tuple[str, ...]:
    """Makes sure that both sides have the same weights; notes other files that are not the same.

    Raises:
        ModelError: They have not.
    """
    sides = [side for side in (first, second) if side]
    notes = tuple(note for side in sides for note in model_warnings(side.model.settings))
    for side in sides:
        notes += side.device.warnings(side.model.settings.data_type)
        if side.device.facts().get("simulated"):
            notes += (f"{side.device.label} is simulated: this says nothing about a real one",)
    known = [side.files for side in sides if side.files]
    if recorded is not None:
        if not known:
            raise ModelError(
                "a service shows only text, and the recorded reference was asked otherwise; give "
                "--reference model=NAME"
            )
        known.append(recorded.asked.files)
    if len(known) < 2:
        return notes
    if known[0].get("weights") != known[1].get("weights"):
        name = sides[-1].model.name
        raise ModelError(
            f"the reference was recorded from other weights than those of {name}; parity "
            "compares a model with itself"
            if recorded
            else "the sides have other weights; parity compares a model with itself"
        )
    names = sorted(known[0].keys() | known[1].keys())
    others = [name for name in names if known[0].get(name) != known[1].get(name)]
    return (*notes, f"the checkpoints differ in {', '.join(others)}") if others else notes


def _side_facts(side: _Settled | None) -> dict[str, Any] | None:
    if side is None:
        return None
    return {**side.facts, "files": dict(side.files), "device_facts": dict(side.device.facts())}


def _versions() -> dict[str, str]:
    """What decides rounding: of modeltest, torch and transformers."""
    import modeltest

    packages = machine_facts()["packages"]
    known = {name: str(packages.get(name)) for name in ("torch", "transformers")}
    return {"modeltest": modeltest.__version__, **known}
