"""`modeltest perf`: speed of a model, batch size by batch size."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from modeltest.cli.options import (
    add_max_input_length,
    add_model_options,
    add_run_options,
    at_least,
    non_negative_int,
    positive_int,
    positive_seconds,
    started_as,
)
from modeltest.errors import EXIT_OK, UsageError

if TYPE_CHECKING:
    from modeltest.cli.outcome import Outcome
    from modeltest.devices.factory import Choice
    from modeltest.protocols import Backend, Device, Progress
    from modeltest.runlog.layout import PerformancePlace
    from modeltest.runlog.segment import SegmentWriter
    from modeltest.runner.sweep import Logged
    from modeltest.runner.sweep_manifest import SweepPlan
    from modeltest.runner.sweep_plan import Mode

HELP = "measure the speed of a model, batch size by batch size"
EMBEDDED_MODEL = "qwen2_audio_tiny"
DEFAULT_TASK = "vocalsound_mini"
MIN_SECONDS, CERTIFIED_SECONDS = 10.0, 600.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command line."""
    parser.add_argument(
        "model",
        nargs="?",
        metavar="MODEL",
        help="a model's name or .yaml file (default: the embedded model)",
    )
    add_model_options(parser)
    parser.add_argument(
        "--bs",
        dest="batch_sizes",
        default="1,2,4,8,16",
        metavar="N,N,…",
        help="batch sizes to measure; of a service, numbers of requests in flight",
    )
    parser.add_argument(
        "--modes",
        metavar="MODE,…",
        help="fixed: every reply has the longest length; natural: replies end by themselves "
        "(default: fixed,natural; natural alone for a service that cannot be told to go on)",
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument(
        "--audio",
        type=Path,
        metavar="FILE|DIR",
        help="measure on this clip, or on the clips in a folder, which fill a batch in turn "
        f"(default: the clip of median length of {DEFAULT_TASK}); a service is asked about all "
        "clips in one shuffled order, each changed so that none is sent twice",
    )
    what.add_argument(
        "--task",
        metavar="TASK",
        help="measure on all samples of a task, accuracy included (not of a service: it is asked "
        "about changed clips)",
    )
    parser.add_argument(
        "--limit", type=positive_int, metavar="N", help="with --task: its first N samples only"
    )
    _add_amounts(parser)
    add_run_options(parser)


def _add_amounts(parser: argparse.ArgumentParser) -> None:
    add_max_input_length(parser)
    parser.add_argument(
        "--max-output-length", type=positive_int, default=64, metavar="N", help="longest reply"
    )
    parser.add_argument(
        "--repeats", type=positive_int, default=5, metavar="N", help="fewest rounds per point"
    )
    parser.add_argument(
        "--min-seconds",
        type=positive_seconds,
        metavar="S",
        help=f"least measured time per point (default: {MIN_SECONDS:g}, with --certified "
        f"{CERTIFIED_SECONDS:g})",
    )
    parser.add_argument(
        "--passes",
        type=at_least(3),
        default=5,
        metavar="N",
        help="how often all points are visited, in an order shuffled anew, at least 3",
    )
    parser.add_argument(
        "--certified",
        action="store_true",
        help=f"measure {CERTIFIED_SECONDS:g} s per point and hash the weights whole",
    )
    parser.add_argument(
        "--isolate", action="store_true", help="each visit of a point in a process of its own"
    )
    parser.add_argument(
        "--seed",
        type=non_negative_int,
        default=0,
        metavar="N",
        help="decides the order of points and samples",
    )


@dataclass(frozen=True, slots=True)
class Job:
    """What a sweep is made of, once everything was checked.

    Attributes:
        plan: What will be measured.
        backend: Made, weights not loaded.
        device: Where it runs.
        choice: How the device was chosen.
        place: Where results go.
        lines: The plan in words.
    """

    plan: SweepPlan
    backend: Backend
    device: Device
    choice: Choice
    place: PerformancePlace
    lines: list[str]


def execute(options: argparse.Namespace) -> int:
    """Measures and reports; settings and clips are checked before anything is loaded."""
    from modeltest.cli.outcome import show, show_plan
    from modeltest.cli.resume_command import resumable

    if options.model is None:
        print(f"no MODEL given: measuring the embedded model, {EMBEDDED_MODEL}", file=sys.stderr)
    with prepared(options) as (job, work):
        show_plan(job.lines)
        if options.dry_run:
            _show_order(job)
            return EXIT_OK
        return resumable(job.place.run_folder, lambda: show(work()))


@contextmanager
def prepared(options: argparse.Namespace) -> Iterator[tuple[Job, Callable[[], Outcome]]]:
    """Checks everything and loads nothing.

    Yields:
        What will be done, and the call that does it and writes the reports. The call raises
        `ModeltestError` for what the user has to mend, a lost device or a full disk.

    Raises:
        ModeltestError: Something the user has to mend.
    """
    from modeltest.cli.disk_space import saying_what_to_free
    from modeltest.cli.outcome import write_outcome
    from modeltest.cli.progress import make_progress
    from modeltest.runlog.layout import check_writable

    _refuse_contradictions(options)
    if not options.dry_run:
        check_writable(options.output_dir)
    options.model = options.model or EMBEDDED_MODEL
    progress = make_progress("block")
    job = _make_job(options, progress)

    def work() -> Outcome:
        with saying_what_to_free(job.place.run_folder):
            _run(job, options, progress)
            return write_outcome(job.place.run_folder, add_index_line=True)

    yield job, work


def batch_sizes(text: str) -> tuple[int, ...]:
    """`--bs` as ascending numbers.

    Raises:
        UsageError: One of them is no positive number, or stands twice.
    """
    sizes = []
    for word in text.split(","):
        try:
            sizes.append(positive_int(word.strip()))
        except argparse.ArgumentTypeError as error:
            raise UsageError(f"--bs {text}: {error}") from error
    _refuse_twice("--bs", text, [str(size) for size in sizes])
    return tuple(sorted(sizes))


def modes(text: str) -> tuple[Mode, ...]:
    """`--modes` in the order of the reports.

    Raises:
        UsageError: One of them is unknown, or stands twice.
    """
    from modeltest.runner.sweep_plan import MODES

    words = [word.strip() for word in text.split(",")]
    for word in words:
        if word not in MODES:
            raise UsageError(f"--modes {text}: unknown mode {word!r}; known: {', '.join(MODES)}")
    _refuse_twice("--modes", text, words)
    return tuple(mode for mode in MODES if mode in words)


def _refuse_twice(option: str, text: str, words: list[str]) -> None:
    for word in words:
        if words.count(word) > 1:
            raise UsageError(f"{option} {text}: {word} stands twice")


def _refuse_contradictions(options: argparse.Namespace) -> None:
    batch_sizes(options.batch_sizes)
    if options.modes is not None:
        modes(options.modes)
    if options.limit is not None and options.task is None:
        raise UsageError("--limit needs --task: it takes the task's first samples")


def _make_job(options: argparse.Namespace, progress: Progress) -> Job:
    from modeltest.backends.factory import checked_model, make_backend, model_warnings
    from modeltest.cli.options import load_settings
    from modeltest.cli.perf_plan import make_plan, plan_lines
    from modeltest.cli.service_options import in_chat_format, refuse_local_options
    from modeltest.devices.factory import choose_for, make_device
    from modeltest.runlog.find import find_run
    from modeltest.runlog.lock import refuse_locked
    from modeltest.runlog.manifest import performance_place_from, read_manifest, refuse_moved
    from modeltest.runner.start import plan_performance_place

    resumed = find_run(options.resume, options.output_dir) if options.resume else None
    if resumed:
        refuse_locked(resumed)
    with_task = argparse.Namespace(**{**vars(options), "task": options.task or DEFAULT_TASK})
    model, task = load_settings(with_task)
    model = checked_model(model)
    notes = model_warnings(model.settings)
    if model.settings.is_service:
        refuse_local_options(options)
        task, of_format = in_chat_format(task)
        notes = (*of_format, *notes)
    choice = choose_for(model.settings, options.device)
    device = make_device(choice)
    backend = make_backend(model.settings, options.seed, device, measuring=True)
    plan = make_plan(options, model, task, backend, progress)
    plan = replace(plan, warnings=(*plan.warnings, *notes))
    if resumed:
        place = performance_place_from(read_manifest(resumed), resumed)
        refuse_moved(place, resumed)
    else:
        place = plan_performance_place(model.name, options.output_dir)
    lines = plan_lines(plan, device, choice.reason, place)
    return Job(plan, backend, device, choice, place, lines)


def _run(job: Job, options: argparse.Namespace, progress: Progress) -> None:
    from modeltest.cli.outcome import indexed_if_it_fails, warn_of_torn
    from modeltest.cli.run_file_log import run_file_log
    from modeltest.runlog.layout import LOG_FOLDER, refuse_links
    from modeltest.runlog.lock import locked
    from modeltest.runlog.run_log import open_segment
    from modeltest.runlog.sweep_log import read_sweep
    from modeltest.runner.resume import refuse_another_run, refuse_unfit_log
    from modeltest.runner.start import make_run_folder, start_run
    from modeltest.runner.sweep import what_is_logged
    from modeltest.runner.sweep_manifest import build_sweep_manifest

    folder = job.place.run_folder
    manifest = build_sweep_manifest(job.plan, job.backend, job.device, job.place)
    manifest["argv"] = started_as(options)
    refuse_links(job.place.output_dir, folder / LOG_FOLDER)
    make_run_folder(job.place)
    with locked(folder):
        if not options.resume:
            start_run(job.place, manifest)
        before = read_sweep(folder)
        refuse_another_run(before.manifest, manifest)
        refuse_unfit_log(before)
        warn_of_torn(before.torn)
        with (
            indexed_if_it_fails(folder),
            run_file_log(folder) as log,
            open_segment(folder) as segment,
        ):
            for line in (f"started: {shlex.join(started_as(options))}", *job.lines):
                log.info("%s", line)
            _measure(job, what_is_logged(before), segment, progress)
            log.info("measured")


def _measure(job: Job, logged: Logged, segment: SegmentWriter, progress: Progress) -> None:
    from modeltest.runlog.run_log import health_record, phase_record
    from modeltest.runner.blocks import BlockMeasurer
    from modeltest.runner.isolated import IsolatedMeasurer, Origin
    from modeltest.runner.sweep import missing_blocks, run_blocks

    sweep = job.plan.sweep
    segment.append(health_record("before", job.device.health()))
    if missing_blocks(sweep.settings, logged):
        if sweep.settings.isolate:
            origin = Origin(
                job.place.run_folder, job.plan.model, job.plan.task, job.choice, sweep.settings.seed
            )
            run_blocks(sweep.settings, logged, IsolatedMeasurer(sweep, origin), segment, progress)
        else:
            measurer = BlockMeasurer(sweep, job.backend, job.device, segment)
            print("loading the model", file=sys.stderr)
            measurer.load()
            run_blocks(sweep.settings, logged, measurer, segment, progress)
    else:
        print("nothing is left to measure", file=sys.stderr)
    segment.append(health_record("after", job.device.health()))
    segment.append(phase_record("end", 0.0))
    job.backend.close()


def _show_order(job: Job) -> None:
    from modeltest.errors import one_line

    material, settings = job.plan.sweep.material, job.plan.sweep.settings
    print(f"prompt    {one_line(job.backend.render(material.prompt, 1))}")
    first = [str(block.point) for block in settings.blocks() if block.pass_number == 0]
    print(f"order     {'; '.join(first)}; then {settings.num_passes - 1} more passes")
    print(f"results   {one_line(str(job.place.run_folder))}")
