"""Carries a job out: into the run's log, in this process or by workers."""

from __future__ import annotations

import argparse
import shlex
import time
from contextlib import closing, suppress
from dataclasses import dataclass
from decimal import Decimal

from modeltest.audio.workers import DecodeWorkers
from modeltest.cli.evaluate_plan import Job
from modeltest.cli.options import started_as
from modeltest.cli.outcome import indexed_if_it_fails, warn_of_torn
from modeltest.cli.run_file_log import run_file_log
from modeltest.cli.signals import Interrupted
from modeltest.cli.tensor_parallel import dismiss_ranks
from modeltest.errors import StorageError
from modeltest.protocols import Progress
from modeltest.records import Audio
from modeltest.runlog.layout import LOG_FOLDER, refuse_links
from modeltest.runlog.lock import locked
from modeltest.runlog.probes import missing_probes
from modeltest.runlog.run_log import (
    RunContent,
    health_record,
    open_segment,
    phase_record,
    read_run,
    stop_record,
)
from modeltest.runlog.segment import SegmentWriter
from modeltest.runner.accuracy import Work, evaluate, warm_up, warm_up_clips
from modeltest.runner.logged_replies import LoggedReplies
from modeltest.runner.parallel.evaluation import (
    ParallelEvaluation,
    evaluate_on_this_host,
    worker_job,
)
from modeltest.runner.parallel.on_cluster import evaluate_on_cluster
from modeltest.runner.recovery import load
from modeltest.runner.resume import refuse_another_run, refuse_unfit_log
from modeltest.runner.sentinels import ask_probes
from modeltest.runner.start import build_manifest, make_run_folder, start_run


@dataclass(frozen=True, slots=True)
class _Support:
    """What helps an evaluation along: clips to warm up on, progress, decoding."""

    clips: list[Audio]
    progress: Progress
    workers: DecodeWorkers


def run(job: Job, options: argparse.Namespace, progress: Progress, workers: DecodeWorkers) -> None:
    """Evaluates what the log does not have yet.

    Raises:
        ModeltestError: Something the user has to mend, a lost device, a full disk.
    """
    plan, place = job.plan, job.place
    of_model = plan.model_settings.settings.mm_model
    clips = warm_up_clips(plan.data.samples, of_model, job.backend, workers)
    manifest = build_manifest(plan, job.backend, job.device, place)
    manifest["argv"] = started_as(options)
    for folder in (place.run_folder / LOG_FOLDER, place.results_folder, place.debug_folder):
        refuse_links(place.output_dir, folder)
    make_run_folder(place)
    with locked(place.run_folder):
        if options.resume:
            before = read_run(place.run_folder)
            refuse_another_run(before.manifest, manifest)
            refuse_unfit_log(before)
            warn_of_torn(before.torn)
        else:
            start_run(place, manifest)
            before = read_run(place.run_folder)
        work = _work(job, before, options.fail_on_error)
        with (
            indexed_if_it_fails(place.run_folder),
            run_file_log(place.run_folder) as log,
            open_segment(place.run_folder) as segment,
        ):
            for line in (f"started: {shlex.join(started_as(options))}", *job.lines):
                log.info("%s", line)
            try:
                _evaluate(job, work, segment, _Support(clips, progress, workers))
            except (Interrupted, KeyboardInterrupt) as interruption:
                with suppress(StorageError):  # the signal's exit code counts
                    signal_name = str(interruption) or "SIGINT"
                    segment.append(stop_record(f"interrupted by {signal_name}"))
                raise
            log.info("evaluated")


def _work(job: Job, before: RunContent, bound: Decimal | int | None) -> Work:
    plan = job.plan
    max_failed = int(bound * len(plan.data.samples)) if isinstance(bound, Decimal) else bound
    return Work(
        task=plan.task,
        samples=plan.data.samples,
        facts=plan.data.facts,
        batch_size=plan.model_settings.settings.batch_size,
        truncate_long=plan.task_settings.settings.long_audio == "truncate",
        identity_sha256=before.manifest["identity_sha256"],
        logged=LoggedReplies(before.samples),
        max_failed=max_failed,
        probes=missing_probes(before.manifest, before.probes),
    )


def _evaluate(job: Job, work: Work, segment: SegmentWriter, support: _Support) -> None:
    peak_bytes = job.device.peak_memory_bytes()
    if work.lacks_samples or work.probes:
        ask = _ask_workers if job.cluster or job.plan.dp > 1 else _ask
        peak_bytes = ask(job, work, segment, support)
    else:
        dismiss_ranks(job.device, job.plan.tp)
    segment.append(phase_record("end", 0.0, peak_memory_bytes=peak_bytes))


def _ask(job: Job, work: Work, segment: SegmentWriter, support: _Support) -> int:
    """Evaluates in this process; returns its highest memory use, bytes."""
    segment.append(health_record("before", job.device.health()))
    start_s = time.perf_counter()
    load(job.backend, job.device)
    seconds = time.perf_counter() - start_s
    segment.append(phase_record("load", seconds, **job.backend.facts()))
    segment.append(phase_record("warm_up", warm_up(work.task, job.backend, support.clips)))
    # On a CPU the thread's work takes cores from the model: a quarter slower on two cores.
    ahead = not job.device.is_host
    is_whole = not work.lacks_samples or evaluate(
        work,
        job.backend,
        job.device,
        segment,
        support.progress,
        workers=support.workers,
        prefetch=ahead,
    )
    if is_whole:
        ask_probes(
            work, job.backend, job.device, segment, support.progress, workers=support.workers
        )
    segment.append(health_record("after", job.device.health()))
    if num_retries := job.backend.facts().get("num_retries"):
        segment.append(phase_record("asked_again", 0.0, num_retries=num_retries))
    peak_bytes = job.device.peak_memory_bytes()
    job.backend.close()
    return peak_bytes


def _ask_workers(job: Job, work: Work, segment: SegmentWriter, support: _Support) -> int:
    """Evaluates by workers with a model each; returns the highest memory use of one, bytes."""
    evaluation = ParallelEvaluation(
        work=work,
        job=worker_job(job.plan, job.choice),
        clips=support.clips,
        device=job.device,
        log=segment,
        progress=support.progress,
        size=job.plan.dp,
        run_folder=job.place.run_folder,
    )
    if job.cluster is None:
        return evaluate_on_this_host(evaluation)
    with closing(job.cluster):
        return evaluate_on_cluster(evaluation, job.cluster, job.backend)
