"""A run's figures and verdict, as pure functions of its manifest and log."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from modeltest.metrics.accuracy import ACCURACY_OPTION_LOGITS
from modeltest.metrics.confusion import Confusion, confusion
from modeltest.metrics.factory import make_metrics
from modeltest.records import Aggregate, Score, ValidityName, Verdict
from modeltest.reports.clip_notes import ClipNotes
from modeltest.runlog.run_log import RunContent

# Settings that say where things are, or that have a column or a note of their own.
_RECORDED_ELSEWHERE = (
    "local_dataset_path=", "model_path=", "mm_model.", "data_type=", "attention=", "batch_size=",
    "stop_at_answer=",
)  # fmt: skip
UNPARSED_NOTE_SHARE = 0.02
MAX_WRONG_SHOWN = 500
_MAX_DEVICES_SHOWN = 8
_SEVERITY: tuple[ValidityName, ...] = ("INCOMPLETE", "INVALID", "LIMITED")
_SPEED = ("load_s", "eval_s", "samples_per_s", "audio_seconds_per_s")
_HEADLINES = ("acc", "wer", "answered_rate")


@dataclass(frozen=True, slots=True)
class Summary:
    """What the reports say.

    Attributes:
        verdict: What the numbers are good for.
        aggregates: Subset `all` first, then classes, then other slices.
        confusion: Truth against answer; None where any text may be right.
        num_done: Samples in the log.
        num_planned: Samples that the manifest names.
        num_wrong: Samples that are not correct; where nobody knows what is, those without an
            answer.
        wrong: Places of the first `MAX_WRONG_SHOWN` of them among the run's samples.
    """

    verdict: Verdict
    aggregates: tuple[Aggregate, ...]
    confusion: Confusion | None
    num_done: int
    num_planned: int
    num_wrong: int = 0
    wrong: tuple[int, ...] = ()

    def value(self, subset: str, metric: str) -> Aggregate | None:
        """One figure, or None when the run has no such row."""
        for aggregate in self.aggregates:
            if (aggregate.subset, aggregate.metric) == (subset, metric):
                return aggregate
        return None

    @property
    def headline(self) -> tuple[str, Aggregate | None]:
        """Name and figure of the one number that stands for the run."""
        found = ((name, self.value("all", name)) for name in _HEADLINES)
        measured = (pair for pair in found if pair[1] and pair[1].value is not None)
        return next(measured, ("acc", self.value("all", "acc")))

    @property
    def rates(self) -> list[Aggregate]:
        """What was found out of the samples and not of the speed."""
        found = (each for each in self.aggregates if each.metric not in _SPEED)
        return [each for each in found if each.ci_method or each.value is not None]

    @property
    def speed(self) -> list[Aggregate]:
        """What is known of the speed."""
        found = (each for each in self.aggregates if each.metric in _SPEED)
        return [each for each in found if each.value is not None]


def summarise(run: RunContent) -> Summary:
    """Computes every figure of a run, in one pass over its samples."""
    tally = _count(run)
    names = list(run.manifest["task"]["settings"]["metrics"])
    metrics = make_metrics([*names, *tally.further_metrics])
    aggregates: list[Aggregate] = []
    for subset, outcomes in tally.in_order(run.manifest).items():
        chosen = [score for score, _ in outcomes.elements()]
        failed = [has_failed for _, has_failed in outcomes.elements()]
        aggregates += [metric.aggregate(subset, chosen, failed) for metric in metrics]
        if subset == "all":
            aggregates += _speed(run, aggregates[0], sum(tally.heard_s))
    return Summary(
        verdict=judge(run, aggregates, tally.notes),
        aggregates=tuple(aggregates),
        confusion=tally.confusion(run.manifest["labels"]) if tally.has_labels else None,
        num_done=len(run.samples),
        num_planned=run.manifest["data"]["num_samples"],
        num_wrong=tally.num_wrong,
        wrong=tuple(tally.wrong),
    )


@dataclass(slots=True)
class _Tally:
    """What the samples come to, whatever their number.

    Attributes:
        has_labels: An answer is one of few labels; else any text, of which none is kept.
        outcomes: By subset, how often a score came with or without a failure.
        answers: How often a truth got an answer with or without a failure.
        heard_s: What the model heard of each clip, seconds.
        num_cut: Samples that were cut to what the model hears.
        clip_notes: What else was noted of clips.
        has_option_logits: The backend gave the options' logits.
        num_wrong: Samples that are not correct, or have no answer where nobody knows the right
            one.
        wrong: Places of the first of them.
    """

    has_labels: bool
    outcomes: dict[str, Counter[tuple[Score, bool]]] = field(default_factory=dict)
    answers: Counter[tuple[str, str | None, bool]] = field(default_factory=Counter)
    heard_s: array[float] = field(default_factory=lambda: array("d"))
    num_cut: int = 0
    clip_notes: ClipNotes = field(default_factory=ClipNotes)
    has_option_logits: bool = False
    num_wrong: int = 0
    wrong: list[int] = field(default_factory=list)

    def add(self, place: int, record: Mapping[str, Any]) -> None:
        """Counts one sample."""
        score, has_failed = Score(**record["score"]), bool(record["response"]["error"])
        if not self.has_labels and score.answer is not None:
            score = replace(score, answer="")
        for subset in dict.fromkeys(("all", *record["subsets"])):
            self.outcomes.setdefault(subset, Counter())[score, has_failed] += 1
        if self.has_labels:
            self.answers[record["truth"], score.answer, has_failed] += 1
        self.heard_s.extend(clip["heard_s"] for clip in record["clips"])
        self.num_cut += any("truncated" in clip["note"] for clip in record["clips"])
        self.clip_notes.add(record["clips"])
        self.has_option_logits |= bool(record["response"].get("option_logits"))
        if not (score.correct if record["truth"] else score.answer is not None):
            self.num_wrong += 1
            if len(self.wrong) < MAX_WRONG_SHOWN:
                self.wrong.append(place)

    def confusion(self, labels: Sequence[str]) -> Confusion:
        """Truth against answer."""
        answers = list(self.answers.elements())
        return confusion(
            [truth for truth, _, _ in answers],
            [answer for _, answer, _ in answers],
            [has_failed for _, _, has_failed in answers],
            labels,
        )

    @property
    def further_metrics(self) -> list[str]:
        """Metrics that only some backends allow."""
        return [ACCURACY_OPTION_LOGITS.name] if self.has_option_logits else []

    @property
    def notes(self) -> list[str]:
        """What nobody should read the numbers without."""
        cut = [f"{self.num_cut} samples were cut to what the model hears"] if self.num_cut else []
        return [*cut, *self.clip_notes.lines()]

    def in_order(self, manifest: Mapping[str, Any]) -> dict[str, Counter[tuple[Score, bool]]]:
        """The outcomes of all samples, of the classes in order, then of the other slices."""
        first = ["all", *(f"class={label}" for label in manifest["labels"])]
        order = [str(key) for key in manifest["task"]["settings"]["slices"]["by"]] + ["age"]
        others = sorted(
            self.outcomes.keys() - set(first),
            key=lambda name: (order.index(name.partition("=")[0]), name),
        )
        return {name: self.outcomes.get(name, Counter()) for name in (*first, *others)}


def _count(run: RunContent) -> _Tally:
    tally = _Tally(has_labels=bool(run.manifest["labels"]))
    for place, record in enumerate(run.samples):
        tally.add(place, record)
    return tally


def judge(run: RunContent, aggregates: Sequence[Aggregate], noted: Sequence[str]) -> Verdict:
    """The verdict with all its reasons; the gravest one decides the word.

    Notes that do not change the word (`noted`, a high unparsed share, the data's warnings)
    stand among the reasons, so that nobody reads the number without them.
    """
    data = run.manifest["data"]
    whole = aggregates[0]
    found: list[tuple[ValidityName, str]] = []
    if len(run.samples) < data["num_samples"]:
        done = f"{len(run.samples)} of {data['num_samples']} samples evaluated"
        found.append(("INCOMPLETE", done))
    found += [("INCOMPLETE", stop["reason"]) for stop in run.stops[-1:] if found]
    found += [("INVALID", problem) for problem in run.problems]
    found += [("INVALID", problem) for problem in source_problems(run.manifest)]
    if whole.errors:
        found.append(("INVALID", f"{whole.errors} of {whole.total} samples failed"))
    if data["num_samples"] < data["num_available"]:
        part = f"{data['num_samples']} of {data['num_available']} samples"
        found.append(("LIMITED", part))
    notes = [*_devices_of_workers(run), *_incidents(run)]
    if whole.total and whole.unparsed / whole.total > UNPARSED_NOTE_SHARE:
        notes.append(f"{whole.unparsed} of {whole.total} replies unparsed")
    notes += [f"warning: {warning}" for warning in data["warnings"]]
    notes += [*changes(run.manifest), *noted]
    # First what makes every figure meaningless, whatever else is to be said.
    simulated = device_problems(run.manifest, run.workers)
    found = [*(("INVALID", problem) for problem in simulated), *found]
    words = [word for word in _SEVERITY if any(word == name for name, _ in found)]
    if run.problems:  # no resuming mends them
        words = ["INVALID"]
    return Verdict(words[0] if words else "VALID", (*(reason for _, reason in found), *notes))


def _incidents(run: RunContent) -> Iterator[str]:
    """What the run met with and survived."""
    for records, what in (
        (run.given_up, "workers gave up"),
        (run.redealt, "batches were dealt again"),
        (run.splits, "batches were split"),
    ):
        if records:
            reasons = ", ".join(sorted({record["reason"] for record in records}))
            yield f"{len(records)} {what} ({reasons})"
    counts = (phase.get("num_retries") for phase in run.phases)
    if num_retries := sum(count for count in counts if type(count) is int):
        yield f"the service was asked again {num_retries} times"


def _devices_of_workers(run: RunContent) -> Iterator[str]:
    """On what the workers computed, where that is more or other than the manifest's device."""
    # A worker that was started again is still one.
    seen = {(worker["number"], worker["device"]["name"]) for worker in run.workers}
    counts = Counter(name for _, name in seen)
    if counts.keys() <= {run.manifest["device"]["name"]}:
        return
    named = [f"{name} ({count})" for name, count in sorted(counts.items())]
    if num_others := len(named[_MAX_DEVICES_SHOWN:]):
        named[_MAX_DEVICES_SHOWN:] = [f"{num_others} other devices"]
    *first, last = named
    yield f"workers computed on {', '.join(first)}{' and ' if first else ''}{last}"


def device_problems(
    manifest: Mapping[str, Any], workers: Sequence[Mapping[str, Any]] = ()
) -> list[str]:
    """Why the figures say nothing of any real device.

    Args:
        manifest: With the device of the process that made the plan.
        workers: Records of the workers that computed, where there were any.
    """
    devices = (manifest["device"], *(worker["device"] for worker in workers))
    names = sorted({device["name"] for device in devices if device.get("simulated")})
    return [f"simulated device: {', '.join(names)}"] if names else []


def source_problems(manifest: Mapping[str, Any]) -> list[str]:
    """Why the figures may not be those of the commit that the manifest names."""
    tool = manifest["tool"]
    if tool.get("dirty"):
        return ["modeltest's own source has local changes"]
    if tool.get("unchecked"):
        return [f"the source could not be checked for local changes ({tool['unchecked']})"]
    return []


def changes(manifest: Mapping[str, Any]) -> list[str]:
    """Notes on what makes another task or model of the one that the name stands for.

    Args:
        manifest: With `task` and `model` as their settings were recorded.
    """
    overrides = [
        text.partition(".")[2] if text.startswith((f"{kind}.",)) else text
        for kind in ("task", "model")
        for text in manifest[kind]["overrides"]
    ]
    changed = [text for text in overrides if not text.startswith(_RECORDED_ELSEWHERE)]
    notes = [f"settings changed: {', '.join(changed)}"] if changed else []
    if manifest["task"].get("settings", {}).get("stop_at_answer"):
        notes.append("replies end at the answer (--stop-at-answer)")
    return notes


def _speed(run: RunContent, whole: Aggregate, audio_s: float) -> list[Aggregate]:
    load_s = _phase_seconds(run.phases, "load")
    eval_s = _phase_seconds(run.phases, "eval")
    timed = sum(phase["num_samples"] for phase in run.phases if phase["name"] == "eval")
    if timed != len(run.samples):  # a killed process left samples and no time
        eval_s = None
    values = (
        load_s,
        eval_s,
        len(run.samples) / eval_s if eval_s else None,
        audio_s / eval_s if eval_s else None,
    )
    return [
        Aggregate(
            "all", name, value, None, None, "", None,
            total=whole.total, correct=None, unparsed=whole.unparsed, errors=whole.errors,
        )
        for name, value in zip(_SPEED, values, strict=True)
    ]  # fmt: skip


def _phase_seconds(phases: Sequence[Mapping[str, Any]], name: str) -> float | None:
    """Seconds of all phases of that name; a resumed run has several."""
    found = [float(phase["seconds"]) for phase in phases if phase["name"] == name]
    return sum(found) if found else None
