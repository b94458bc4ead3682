"""From the words of `modeltest eval` to a job, and the plan in words."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace

from modeltest.audio.workers import DecodeWorkers
from modeltest.backends.factory import check_model, make_backend
from modeltest.cli import tensor_parallel
from modeltest.cli.options import load_settings
from modeltest.cli.progress import duration
from modeltest.devices.factory import Choice, choose, make_device
from modeltest.errors import one_line
from modeltest.protocols import Backend, Device, Progress
from modeltest.runlog.find import find_run
from modeltest.runlog.layout import RunPlace
from modeltest.runlog.lock import refuse_locked
from modeltest.runlog.manifest import place_from, read_manifest, refuse_moved
from modeltest.runner.parallel.evaluation import refuse_too_many_workers
from modeltest.runner.parallel.ray_crew import Cluster
from modeltest.runner.plan import EvalPlan, check_data, long_clips
from modeltest.runner.start import plan_place
from modeltest.tasks.factory import make_task


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


def make_job(options: argparse.Namespace, progress: Progress, workers: DecodeWorkers) -> Job:
    """Checks settings, model folder, data and device; loads no weights.

    Raises:
        ModeltestError: Something the user has to mend.
    """
    resumed = find_run(options.resume, options.output_dir) if options.resume else None
    if resumed:
        refuse_locked(resumed)
    plan = _eval_plan(options, progress, workers)
    choice = choose(options.device)
    device = make_device(choice, tensor_parallel.device_index())
    if plan.certified:
        device.use_deterministic_algorithms()
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


def _eval_plan(options: argparse.Namespace, progress: Progress, workers: DecodeWorkers) -> EvalPlan:
    """Loads and checks settings, model folder and data; imports no torch.

    Raises:
        ModeltestError: Something the user has to mend.
    """
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


def show_first_sample(job: Job) -> None:
    """Prints what the first sample would be asked."""
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
