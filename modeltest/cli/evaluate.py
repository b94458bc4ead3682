"""`modeltest eval`: accuracy of a model on a task."""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modeltest.cli.options import add_model_options, non_negative_int, positive_int
from modeltest.errors import EXIT_INCOMPLETE, EXIT_INVALID, EXIT_OK

if TYPE_CHECKING:
    from modeltest.protocols import Backend, Device, Progress
    from modeltest.records import ValidityName
    from modeltest.runlog.layout import RunPlace
    from modeltest.runner.plan import EvalPlan

HELP = "evaluate the accuracy of a model on a task"

_EXIT_CODES: dict[ValidityName, int] = {
    "VALID": EXIT_OK,
    "LIMITED": EXIT_OK,
    "INVALID": EXIT_INVALID,
    "INCOMPLETE": EXIT_INCOMPLETE,
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command line."""
    parser.add_argument("task", metavar="TASK", help="a task's name or .yaml file")
    parser.add_argument("model", metavar="MODEL", help="a model's name or .yaml file")
    add_model_options(parser)
    parser.add_argument(
        "--bs", type=positive_int, metavar="N", help="samples per batch (default: the model file's)"
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
        "--dry-run",
        action="store_true",
        help="show the plan, the prompt, the first sample and where results will go; run nothing",
    )


def execute(options: argparse.Namespace) -> int:
    """Evaluates and reports; settings and data are checked before anything is loaded."""
    from modeltest.cli.progress import make_progress
    from modeltest.devices.factory import choose, make_device

    progress = make_progress()
    plan = make_plan(options, progress)
    choice = choose(options.device)
    device = make_device(choice)
    backend = _make_backend(plan, device)
    from modeltest.runner.start import plan_place

    place = plan_place(plan, backend.name, device.label, options.output_dir)
    lines = plan_lines(plan, backend, device, choice.reason, place)
    for line in lines:
        print(line, file=sys.stderr)
    if options.dry_run:
        _show_first_sample(plan, backend, place)
        return EXIT_OK
    _run(plan, backend, device, place, progress, lines)
    return finish(place.run_folder)


def make_plan(options: argparse.Namespace, progress: Progress) -> EvalPlan:
    """Loads and checks settings, model folder and data; imports no torch.

    Raises:
        ModeltestError: Something the user has to mend.
    """
    from modeltest.backends.factory import check_model
    from modeltest.cli.options import load_settings
    from modeltest.runner.plan import EvalPlan, check_data
    from modeltest.tasks.factory import make_task

    model, task = load_settings(options)
    model_path = check_model(model.settings, model.where("model_path"))
    return EvalPlan(
        task_settings=task,
        model_settings=model,
        task=make_task(task.name, task.settings),
        data=check_data(task.name, task.settings, options.limit, progress),
        model_path=model_path,
        seed=options.seed,
        limit=options.limit,
    )


def plan_lines(
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
        f"model     {plan.model_settings.name}: {plan.model_path}",
        f"device    {device.label} {device.facts()['name']} ({reason})",
        f"settings  {model.data_type}, attention {model.attention}, batch size "
        f"{model.batch_size}, prompt {plan.task_settings.settings.prompt_format}",
        f"run       {place.run_folder}",
    ]
    lines += [f"warning: {warning}" for warning in data.warnings]
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


def finish(run_folder: Path) -> int:
    """Reports a run from its log and turns the verdict into the exit code."""
    from modeltest.reports.console import path_lines, result_table, speed_line, verdict_line
    from modeltest.reports.files import add_to_index, write_reports
    from modeltest.reports.summary import summarise
    from modeltest.runlog.run_log import read_run

    run = read_run(run_folder)
    summary = summarise(run)
    paths = write_reports(run, summary)
    add_to_index(run, summary)
    print(verdict_line(summary))
    print(f"\n{result_table(summary)}\n\n{speed_line(summary)}\n\n{path_lines(paths)}")
    return _EXIT_CODES[summary.verdict.validity]


def _make_backend(plan: EvalPlan, device: Device) -> Backend:
    from modeltest.backends.factory import make_backend

    return make_backend(plan.model_settings.settings, plan.model_path, plan.seed, device)


def _run(
    plan: EvalPlan,
    backend: Backend,
    device: Device,
    place: RunPlace,
    progress: Progress,
    plan_text: list[str],
) -> None:
    from modeltest.cli.run_file_log import run_file_log
    from modeltest.runlog.run_log import open_segment, phase_record
    from modeltest.runner.accuracy import Work, evaluate, warm_up, warm_up_clips
    from modeltest.runner.start import start_run

    clips = warm_up_clips(plan.data.samples, plan.model_settings.settings.mm_model, backend)
    started = start_run(plan, backend, device, place)
    work = Work(
        task=plan.task,
        samples=plan.data.samples,
        facts=plan.data.facts,
        batch_size=plan.model_settings.settings.batch_size,
        truncate_long=plan.task_settings.settings.long_audio == "truncate",
        identity_sha256=started.identity_sha256,
    )
    with run_file_log(place.run_folder) as log, open_segment(place.run_folder) as segment:
        log.info("started: %s", shlex.join(sys.argv))
        for line in plan_text:
            log.info("%s", line)
        start_s = time.perf_counter()
        backend.load()
        segment.append(phase_record("load", time.perf_counter() - start_s, **backend.facts()))
        warm_up_s = warm_up(work, backend, clips)
        segment.append(phase_record("warm_up", warm_up_s))
        log.info("loaded and warmed up in %.2f s", time.perf_counter() - start_s)
        evaluate(work, backend, segment, progress)
        segment.append(phase_record("end", 0.0, peak_memory_bytes=device.peak_memory_bytes()))
        log.info("evaluated %d samples", len(work.samples))
    backend.close()


def _show_first_sample(plan: EvalPlan, backend: Backend, place: RunPlace) -> None:
    from modeltest.errors import one_line

    sample, clips = plan.data.samples[0], plan.data.facts[0]
    prompt: Any = backend.render(plan.task.prompt(), len(sample.audio))
    print(f"prompt    {one_line(prompt)}")
    print(f"sample    {one_line(sample.sample_id)}, truth {sample.truth}")
    for source, clip in zip(sample.audio, clips, strict=True):
        print(
            f"clip      {one_line(source.name)}: {clip.duration_s:.2f} s, "
            f"{clip.sampling_rate_hz} Hz, {clip.num_channels} channels, {clip.container}"
        )
    print(f"results   {place.result_file('result')}")
