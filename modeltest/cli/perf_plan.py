"""From the words of `modeltest perf` to what a sweep asks, and the plan in words."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

from modeltest.cli.perf import CERTIFIED_SECONDS, MIN_SECONDS, batch_sizes, modes
from modeltest.cli.progress import duration
from modeltest.errors import UsageError, one_line
from modeltest.protocols import Backend, Device, Progress, Service, Task
from modeltest.records import AudioSource
from modeltest.runlog.layout import PerformancePlace
from modeltest.runner.blocks import Sweep
from modeltest.runner.material import (
    Material,
    decode_clips,
    median_sample,
    refuse_long_inputs,
    sources_at,
)
from modeltest.runner.plan import check_data
from modeltest.runner.sweep_manifest import SweepPlan
from modeltest.runner.sweep_plan import MODES, ClipSource, Mode, SweepSettings
from modeltest.settings.load import Loaded
from modeltest.settings.schema import ModelSettings, TaskSettings
from modeltest.tasks.factory import make_task

_ORDER = "; one shuffled order for all points, each clip changed so that none is sent twice"


@dataclass(frozen=True, slots=True)
class _Sources:
    """Undecoded clips with their names and truths."""

    kind: ClipSource
    clips: Sequence[tuple[AudioSource, str, str]]
    num_available: int
    warnings: tuple[str, ...] = ()


def make_plan(
    options: argparse.Namespace,
    model: Loaded[ModelSettings],
    task: Loaded[TaskSettings],
    backend: Backend,
    progress: Progress,
) -> SweepPlan:
    """Finds, checks and decodes the clips.

    Raises:
        ModeltestError: Something the user has to mend.
    """
    made = make_task(task.name, task.settings)
    if made.num_clips > 1:
        raise UsageError(
            f"perf measures requests of one clip, and {task.name} asks about {made.num_clips} "
            "at a time; give another --task"
        )
    closed_loop = isinstance(backend, Service)
    sources = _sources(options, task, closed_loop, progress)
    least_s = CERTIFIED_SECONDS if options.certified else MIN_SECONDS
    settings = SweepSettings(
        batch_sizes=batch_sizes(options.batch_sizes),
        modes=_modes(options.modes, backend),
        max_new_tokens=options.max_output_length,
        num_passes=options.passes,
        min_repeats=options.repeats,
        min_seconds=least_s if options.min_seconds is None else options.min_seconds,
        isolate=options.isolate,
        seed=options.seed,
        clip_source=sources.kind,
        closed_loop=closed_loop,
    )
    if isinstance(backend, Service):
        backend.limit_in_flight(max(settings.batch_sizes))
    truncate_long = task.settings.long_audio == "truncate"
    clips = decode_clips(sources.clips, backend, truncate_long, progress)
    if options.max_input_length is not None:
        refuse_long_inputs(clips, made.prompt(), backend, options.max_input_length)
    asked: Task | None = made if sources.kind == "task" else None
    material = Material(clips, made.prompt(), settings.max_new_tokens, settings.seed, asked)
    sweep = Sweep(
        settings=settings,
        material=material,
        dtype=model.settings.data_type,
        attention=model.settings.attention,
    )
    return SweepPlan(
        sweep=sweep,
        model=model,
        task=task,
        num_available=sources.num_available,
        warnings=sources.warnings,
        certified=options.certified,
    )


def plan_lines(plan: SweepPlan, device: Device, reason: str, place: PerformancePlace) -> list[str]:
    """What will be measured, for a person."""
    settings, model = plan.sweep.settings, plan.model.settings
    points = settings.points
    least_s = len(points) * settings.min_seconds
    lines = [
        f"model     {plan.model.name}: {model.whereabouts}",
        f"clips     {_clips_in_words(plan)}{_ORDER if settings.closed_loop else ''}",
        f"device    {device.label} {device.facts()['name']} ({reason})",
        f"settings  {model.in_words}, prompt {plan.sweep.material.prompt.format}, replies of at "
        f"most {settings.max_new_tokens} tokens",
        f"points    {'requests in flight' if settings.closed_loop else 'batch sizes'} "
        f"{', '.join(map(str, settings.batch_sizes))}; {' and '.join(settings.modes)}",
        f"amount    {settings.num_passes} passes, at least {settings.min_repeats} rounds and "
        f"{settings.min_seconds:g} s per point: {_at_least(least_s)} and more"
        + (", each visit in its own process" if settings.isolate else ""),
        f"run       {place.run_folder}",
    ]
    warnings = [*device.warnings(model.data_type), *plan.warnings]
    lines += [f"warning: {warning}" for warning in warnings]
    return [one_line(line) for line in lines]


def _modes(words: str | None, backend: Backend) -> tuple[Mode, ...]:
    """As asked for; else both, if the backend can go on behind the end token.

    Raises:
        UsageError: It cannot, and was asked to.
    """
    chosen = MODES if words is None else modes(words)
    if not isinstance(backend, Service) or backend.can_ignore_eos:
        return chosen
    if words is not None and "fixed" in chosen:
        raise UsageError(
            f"--modes {words}: this service cannot be told to go on behind the end token; "
            "measure --modes natural"
        )
    return ("natural",)


def _at_least(seconds: float) -> str:
    return f"{seconds:.2g} s" if seconds < 1 else duration(seconds)


def _clips_in_words(plan: SweepPlan) -> str:
    material, source = plan.sweep.material, plan.sweep.settings.clip_source
    total = duration(sum(clip.audio.duration_s for clip in material.clips))
    if source == "task":
        num = len(material.clips)
        part = "" if num == plan.num_available else f" of {plan.num_available}"
        return f"{plan.task.name}: {num}{part} samples, {total} of audio"
    first = f"{material.clips[0].name}, {material.clips[0].audio.duration_s:.2f} s"
    if source == "task median":
        return f"{first}, the median of {plan.task.name}"
    more = len(material.clips) - 1
    return f"{first}, and {more} more, {total} in all, in turn" if more else first


def _sources(
    options: argparse.Namespace,
    task: Loaded[TaskSettings],
    closed_loop: bool,
    progress: Progress,
) -> _Sources:
    if options.audio is not None:
        found, passed_over = sources_at(options.audio)
        clips = [(source, source.name, "") for source in found]
        warnings = [f"{passed_over} files passed over (no audio)"] if passed_over else []
        smallest = min(batch_sizes(options.batch_sizes))
        if smallest < len(clips) and not closed_loop:
            warnings.append(
                f"a batch of {smallest} holds only the first {smallest} of {len(clips)} clips"
            )
        return _Sources("audio", clips, len(clips), tuple(warnings))
    data = check_data(task, options.limit, progress)
    if options.task is None:
        sample = data.samples[median_sample(data)]
        return _Sources("task median", [(sample.audio[0], sample.sample_id, "")], 1)
    clips = [(sample.audio[0], sample.sample_id, sample.truth) for sample in data.samples]
    return _Sources("task", clips, data.available, data.warnings)
