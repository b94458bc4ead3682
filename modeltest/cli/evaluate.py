"""`modeltest eval`: accuracy of a model on a task."""

from __future__ import annotations

import argparse
import re
import shlex
import sys
import time
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

from modeltest.cli import tensor_parallel
from modeltest.cli.options import add_model_options, non_negative_int, positive_int
from modeltest.errors import EXIT_OK, StorageError

if TYPE_CHECKING:
    from modeltest.audio.workers import DecodeWorkers
    from modeltest.devices.factory import Choice
    from modeltest.protocols import Backend, Device, Progress
    from modeltest.records import Audio
    from modeltest.runlog.layout import RunPlace
    from modeltest.runlog.segment import SegmentWriter
    from modeltest.runner.accuracy import Work
    from modeltest.runner.logged_replies import LoggedReplies
    from modeltest.runner.parallel.ray_crew import Cluster
    from modeltest.runner.plan import EvalPlan

HELP = "evaluate the accuracy of a model on a task"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command line."""
    parser.add_argument("task", metavar="TASK", help="a task's name or .yaml file")
    parser.add_argument("model", metavar="MODEL", help="a model's name or .yaml file")
    add_model_options(parser)
    parser.add_argument(
        "--bs", type=positive_int, metavar="N", help="samples per batch (default: the model file's)"
    )
    parser.add_argument(
        "--tp",
        type=int,
        choices=tensor_parallel.SIZES,
        default=1,
        help="tensor parallel: one model split over so many devices (or CPU processes), which "
        f"find each other by port MASTER_PORT, or {tensor_parallel.DEFAULT_PORT}",
    )
    parser.add_argument(
        "--dp",
        type=positive_int,
        metavar="N",
        help="data parallel: N processes with a model each, one per device (or N on a CPU); "
        "1 if left out, with --ray all of the cluster's devices",
    )
    parser.add_argument(
        "--ray",
        nargs="?",
        const="auto",
        metavar="ADDRESS",
        help="data parallel on a Ray cluster: the one that $RAY_ADDRESS names, that this host "
        "belongs to, or HOST:PORT; put it behind TASK and MODEL",
    )
    parser.add_argument(
        "--limit",
        type=positive_int,
        metavar="N",
        help="evaluate the first N samples only; the verdict is then LIMITED",
    )
    parser.add_argument("--seed", type=non_negative_int, default=0, metavar="N", help="random seed")
    parser.add_argument(
        "--output-dir", type=Path, default=Path("outputs"), metavar="DIR", help="where results go"
    )
    parser.add_argument(
        "--resume",
        metavar="RUN",
        help="continue an interrupted run: its folder, its id, or 'last'",
    )
    parser.add_argument(
        "--fail-on-error",
        type=_failure_bound,
        metavar="N|F%",
        help="end the run when more than N samples, or F percent of them, failed "
        "(default: run to the end; any failed sample makes the run INVALID either way)",
    )
    parser.add_argument(
        "--stop-at-answer",
        action="store_true",
        help="end a reply that began with an option's letter and name: faster, the same "
        "answers, shorter texts (sets task.stop_at_answer)",
    )
    parser.add_argument(
        "--certified",
        action="store_true",
        help="hash the weights whole, not only their headers (reads every byte once)",
    )
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="show the plan, the prompt, the first sample and where results will go; run nothing",
    )


@dataclass(frozen=True, slots=True)
class Job:
    """What a run is made of, once everything was checked.

    Attributes:
        plan: What will be evaluated.
        backend: Made, weights not loaded.
        device: Where it runs.
        choice: Why there.
        place: Where results go.
        lines: The plan in words.
        cluster: Where the workers are, if not on this host.
    """

    plan: EvalPlan
    backend: Backend
    device: Device
    choice: Choice
    place: RunPlace
    lines: list[str]
    cluster: Cluster | None = None


@dataclass(frozen=True, slots=True)
class _Support:
    """What helps an evaluation along: clips to warm up on, progress, decoding."""

    clips: list[Audio]
    progress: Progress
    workers: DecodeWorkers


def execute(options: argparse.Namespace) -> int:
    """Evaluates and reports; settings and data are checked before anything is loaded."""
    from modeltest.audio.workers import DecodeWorkers, workers_for_this_machine
    from modeltest.cli.outcome import show_outcome
    from modeltest.cli.progress import make_progress
    from modeltest.cli.resume_command import resumable
    from modeltest.runlog.layout import check_writable

    if (code := tensor_parallel.other_role(options)) is not None:
        return code
    if not options.dry_run:
        check_writable(options.output_dir)
    progress = make_progress()
    with DecodeWorkers(workers_for_this_machine()) as workers:
        job = _make_job(options, progress, workers)
        for line in job.lines:
            print(line, file=sys.stderr)
        if options.dry_run:
            _show_first_sample(job)
            return EXIT_OK

        def work() -> int:
            _run(job, options, progress, workers)
            return show_outcome(job.place.run_folder, add_index_line=True)

        tensor_parallel.announce(job.place.run_folder)
        return resumable(job.place.run_folder, work)


def _make_job(options: argparse.Namespace, progress: Progress, workers: DecodeWorkers) -> Job:
    from modeltest.backends.factory import make_backend
    from modeltest.devices.factory import choose, make_device
    from modeltest.runlog.find import find_run
    from modeltest.runlog.lock import refuse_locked
    from modeltest.runlog.manifest import place_from, read_manifest, refuse_moved
    from modeltest.runner.parallel.evaluation import refuse_too_many_workers
    from modeltest.runner.parallel.ray_crew import Cluster
    from modeltest.runner.start import plan_place

    resumed = find_run(options.resume, options.output_dir) if options.resume else None
    if resumed:
        refuse_locked(resumed)
    plan = _make_plan(options, progress, workers)
    choice = choose(options.device)
    device = make_device(choice, tensor_parallel.device_index())
    cluster = Cluster(options.ray) if options.ray else None
    if cluster:
        # A run goes on with as many, though a node be lost: what finds no device is given up.
        before = read_manifest(resumed).get("dp") if resumed and not options.dp else None
        plan = replace(plan, dp=before or cluster.num_workers(options.dp, device.label))
    else:
        refuse_too_many_workers(plan.dp, choice, device)
    tensor_parallel.refuse_too_many_ranks(plan.tp, choice, device)
    backend = make_backend(plan.model_settings.settings, plan.seed, device, plan.tp)
    if resumed:
        place = place_from(read_manifest(resumed), resumed)
        refuse_moved(place, resumed)
    else:
        place = plan_place(plan, backend.name, device.label, options.output_dir)
    lines = _plan_lines(plan, backend, device, choice.reason, place)
    if cluster:
        nodes = f"{cluster.num_nodes()} nodes of the Ray cluster at {cluster.address}"
        lines.append(f"workers   {plan.dp}, one {device.label} each, on {nodes}")
    return Job(plan, backend, device, choice, place, lines, cluster)


def _make_plan(options: argparse.Namespace, progress: Progress, workers: DecodeWorkers) -> EvalPlan:
    """Loads and checks settings, model folder and data; imports no torch.

    Raises:
        ModeltestError: Something the user has to mend.
    """
    from modeltest.backends.factory import check_model
    from modeltest.cli.options import load_settings
    from modeltest.runner.plan import EvalPlan, check_data
    from modeltest.tasks.factory import make_task

    model, task = load_settings(options)
    check_model(model.settings, model.where("model_path"))
    return EvalPlan(
        task_settings=task,
        model_settings=model,
        task=make_task(task.name, task.settings),
        data=check_data(task, options.limit, progress, workers),
        seed=options.seed,
        limit=options.limit,
        certified=options.certified,
        dp=options.dp or 1,
        tp=options.tp,
    )


def _plan_lines(
    plan: EvalPlan, backend: Backend, device: Device, reason: str, place: RunPlace
) -> list[str]:
    """What will run, for a person."""
    from modeltest.cli.progress import duration
    from modeltest.errors import one_line
    from modeltest.runner.plan import long_clips

    data, model = plan.data, plan.model_settings.settings
    num = len(data.samples)
    part = "" if num == data.available else f" of {data.available}"
    passed_over = sum(data.listing.passed_over.values())
    lines = [
        f"task      {plan.task_settings.name}: {num}{part} samples, "
        f"{duration(data.audio_s)} of audio, {data.listing.layout}"
        + (f", {passed_over} files passed over (no audio)" if passed_over else ""),
        f"model     {plan.model_settings.name}: {model.model_path or 'no model'}",
        f"device    {device.label} {device.facts()['name']} ({reason})",
        f"settings  {model.data_type}, attention {model.attention}, engine {model.engine}, "
        f"batch size {model.batch_size}, prompt {plan.task_settings.settings.prompt_format}",
        f"run       {place.run_folder}",
    ]
    warnings = [*device.warnings(model.data_type), *data.warnings]
    lines += [f"warning: {warning}" for warning in warnings]
    too_long = long_clips(data, backend.max_audio_s)
    if too_long:
        fate = plan.task_settings.settings.long_audio
        what = "will be cut" if fate == "truncate" else "will be errors (task.long_audio: truncate)"
        shown = ", ".join(too_long[:5]) + (", …" if len(too_long) > 5 else "")
        lines.append(
            f"warning: {len(too_long)} samples are longer than {backend.max_audio_s:g} s "
            f"and {what}: {shown}"
        )
    return [one_line(line) for line in lines]


def _run(job: Job, options: argparse.Namespace, progress: Progress, workers: DecodeWorkers) -> None:
    from modeltest.cli.run_file_log import run_file_log
    from modeltest.cli.signals import Interrupted
    from modeltest.runlog.layout import LOG_FOLDER, refuse_links
    from modeltest.runlog.lock import locked
    from modeltest.runlog.run_log import open_segment, read_run, stop_record
    from modeltest.runner.accuracy import warm_up_clips
    from modeltest.runner.logged_replies import LoggedReplies
    from modeltest.runner.resume import refuse_another_run
    from modeltest.runner.start import build_manifest, make_run_folder, start_run

    plan, place = job.plan, job.place
    of_model = plan.model_settings.settings.mm_model
    clips = warm_up_clips(plan.data.samples, of_model, job.backend, workers)
    manifest = build_manifest(plan, job.backend, job.device, place)
    for folder in (place.run_folder / LOG_FOLDER, place.results_folder, place.debug_folder):
        refuse_links(place.output_dir, folder)
    make_run_folder(place)
    with locked(place.run_folder):
        if options.resume:
            before = read_run(place.run_folder)
            refuse_another_run(before.manifest, manifest)
        else:
            start_run(place, manifest)
            before = read_run(place.run_folder)
        logged = LoggedReplies(before.samples)
        work = _work(job, before.manifest["identity_sha256"], logged, options.fail_on_error)
        with run_file_log(place.run_folder) as log, open_segment(place.run_folder) as segment:
            for line in (f"started: {shlex.join(sys.argv)}", *job.lines):
                log.info("%s", line)
            try:
                _evaluate(job, work, logged, segment, _Support(clips, progress, workers))
            except Interrupted as interruption:
                with suppress(StorageError):  # the signal's exit code counts
                    segment.append(stop_record(f"interrupted by {interruption}"))
                raise
            log.info("evaluated")


def _work(
    job: Job, identity_sha256: str, logged: LoggedReplies, bound: Decimal | int | None
) -> Work:
    from modeltest.runner.accuracy import Work

    plan = job.plan
    max_failed = int(bound * len(plan.data.samples)) if isinstance(bound, Decimal) else bound
    return Work(
        task=plan.task,
        samples=plan.data.samples,
        facts=plan.data.facts,
        batch_size=plan.model_settings.settings.batch_size,
        truncate_long=plan.task_settings.settings.long_audio == "truncate",
        identity_sha256=identity_sha256,
        done_keys=logged.keys,
        num_failed=logged.num_failed,
        max_failed=max_failed,
    )


def _evaluate(
    job: Job, work: Work, logged: LoggedReplies, segment: SegmentWriter, support: _Support
) -> None:
    from modeltest.runlog.run_log import phase_record

    peak_bytes = job.device.peak_memory_bytes()
    if len(work.done_keys) < len(work.samples):
        ask = _ask_cluster if job.cluster else _ask_workers if job.plan.dp > 1 else _ask
        peak_bytes = ask(job, work, logged, segment, support)
    segment.append(phase_record("end", 0.0, peak_memory_bytes=peak_bytes))


def _ask(
    job: Job, work: Work, logged: LoggedReplies, segment: SegmentWriter, support: _Support
) -> int:
    """Evaluates in this process; returns its highest memory use, bytes."""
    from modeltest.runlog.run_log import health_record, phase_record
    from modeltest.runner.accuracy import evaluate, warm_up
    from modeltest.runner.recovery import load

    segment.append(health_record("before", job.device.health()))
    start_s = time.perf_counter()
    load(job.backend, job.device)
    seconds = time.perf_counter() - start_s
    segment.append(phase_record("load", seconds, **job.backend.facts()))
    segment.append(phase_record("warm_up", warm_up(work.task, job.backend, support.clips)))
    # On a CPU the thread's work takes cores from the model: a quarter slower on two cores.
    ahead = not job.device.is_host
    evaluate(
        work,
        job.backend,
        job.device,
        segment,
        support.progress,
        logged=logged,
        workers=support.workers,
        prefetch=ahead,
    )
    segment.append(health_record("after", job.device.health()))
    peak_bytes = job.device.peak_memory_bytes()
    job.backend.close()
    return peak_bytes


def _ask_workers(
    job: Job, work: Work, _logged: LoggedReplies, segment: SegmentWriter, support: _Support
) -> int:
    """Evaluates in processes that load a model each; returns the highest memory use of one."""
    from modeltest.runner.parallel.evaluation import evaluate_on_this_host, make_job

    return evaluate_on_this_host(
        work,
        make_job(job.plan, job.choice),
        support.clips,
        job.device,
        segment,
        support.progress,
        size=job.plan.dp,
        run_folder=job.place.run_folder,
    )


def _ask_cluster(
    job: Job, work: Work, _logged: LoggedReplies, segment: SegmentWriter, support: _Support
) -> int:
    """Evaluates on a Ray cluster; returns the highest memory use of a worker."""
    from modeltest.runner.parallel.evaluation import make_job
    from modeltest.runner.parallel.on_cluster import evaluate_on_cluster

    if job.cluster is None:
        return 0
    with closing(job.cluster):
        return evaluate_on_cluster(
            work,
            make_job(job.plan, job.choice),
            support.clips,
            job.device,
            segment,
            support.progress,
            cluster=job.cluster,
            backend=job.backend,
            size=job.plan.dp,
            run_folder=job.place.run_folder,
        )


def _show_first_sample(job: Job) -> None:
    from modeltest.errors import one_line

    plan = job.plan
    sample, clips = plan.data.samples[0], plan.data.facts[0]
    print(f"prompt    {one_line(job.backend.render(plan.task.prompt(), len(sample.audio)))}")
    print(f"sample    {one_line(sample.sample_id)}, truth {one_line(sample.truth)}")
    for source, clip in zip(sample.audio, clips, strict=True):
        print(
            f"clip      {one_line(source.name)}: {clip.duration_s:.2f} s, "
            f"{clip.sampling_rate_hz} Hz, {clip.num_channels} channels, {clip.container}"
        )
    print(f"results   {one_line(str(job.place.result_file('result')))}")


def _failure_bound(text: str) -> int | Decimal:
    """`--fail-on-error`: a count as int, a percentage as an exact share.

    As a float, 29% of 100 would be 28.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(%?)", text)
    if not found or (not found[2] and "." in text) or (found[2] and float(found[1]) > 100):
        raise argparse.ArgumentTypeError(f"not a count or a percentage up to 100%: {text!r}")
    return Decimal(found[1]) / 100 if found[2] else int(found[1])
