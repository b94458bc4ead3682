"""From the words of `modeltest eval` to a job, and the plan in words."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace

from modeltest.audio.workers import DecodeWorkers
from modeltest.backends.factory import checked_model, make_backend, model_warnings
from modeltest.cli import tensor_parallel
from modeltest.cli.options import load_settings
from modeltest.cli.progress import duration
from modeltest.cli.service_options import in_chat_format, refuse_local_options
from modeltest.devices.factory import Choice, choose_for, make_device
from modeltest.errors import UsageError, one_line
from modeltest.protocols import Backend, Device, Progress
from modeltest.runlog.find import find_run
from modeltest.runlog.layout import RunPlace
from modeltest.runlog.lock import refuse_locked
from modeltest.runlog.manifest import place_from, read_manifest, refuse_moved
from modeltest.runlog.manifest_shape import check_eval_manifest
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
    resumed = _begun_run(options)
    plan = _eval_plan(options, progress, workers)
    choice, device = _device(plan, options)
    if plan.certified:
        device.use_deterministic_algorithms()
    cluster = Cluster(options.ray) if options.ray else None
    plan = replace(plan, dp=_num_workers(options, resumed, choice, device, cluster))
    backend = make_backend(plan.model_settings.settings, plan.seed, device, plan.tp)
    if resumed:
        # Its own: whether that is the run's is still to be found out.
        place = replace(resumed.place, tp=plan.tp)
    else:
        place = plan_place(plan, backend.name, device.label, options.output_dir)
    lines = _plan_lines(plan, backend, device, choice.reason, place)
    if cluster:
        nodes = f"{cluster.num_nodes()} nodes of the Ray cluster at {cluster.address}"
        lines.append(f"workers   {plan.dp}, one {device.label} each, on {nodes}")
    elif plan.dp > 1:
        lines.append(f"workers   {plan.dp} on this host")
    elif plan.tp > 1:
        lines.append(f"ranks     {plan.tp}, over which the model is split")
    return Job(plan, backend, device, choice, place, lines, cluster)


def _device(plan: EvalPlan, options: argparse.Namespace) -> tuple[Choice, Device]:
    settings = plan.model_settings.settings
    if not settings.is_service:
        return tensor_parallel.own_device(options)
    choice = choose_for(settings, options.device)
    return choice, make_device(choice)


@dataclass(frozen=True, slots=True)
class _BegunRun:
    """A run to be resumed: where it is, and with how many workers it was begun."""

    place: RunPlace
    dp: int


def _begun_run(options: argparse.Namespace) -> _BegunRun | None:
    if not options.resume:
        return None
    folder = find_run(options.resume, options.output_dir)
    refuse_locked(folder)
    manifest = read_manifest(folder)
    place = place_from(manifest, folder)
    refuse_moved(place, folder)
    check_eval_manifest(manifest, folder)
    return _BegunRun(place, manifest["dp"])


def _num_workers(
    options: argparse.Namespace,
    resumed: _BegunRun | None,
    choice: Choice,
    device: Device,
    cluster: Cluster | None,
) -> int:
    """As many as were asked for, else as a resumed run was begun with.

    Raises:
        DeviceError: The cluster has no such device.
        UsageError: There are too few devices.
    """
    recorded = resumed.dp if resumed and not options.dp else None
    asked = recorded or options.dp
    try:
        if cluster:
            return cluster.num_workers(asked, device.label)
        refuse_too_many_workers(asked or 1, choice, device, may_share=not recorded)
    except UsageError as error:
        if resumed and recorded:
            raise UsageError(f"run {resumed.place.run_id} was begun with {error}") from error
        raise
    return asked or 1


def _eval_plan(options: argparse.Namespace, progress: Progress, workers: DecodeWorkers) -> EvalPlan:
    """Loads and checks settings, model folder and data; imports no torch.

    Raises:
        ModeltestError: Something the user has to mend.
    """
    model, task = load_settings(options)
    model = checked_model(model)
    notes = model_warnings(model.settings)
    if model.settings.is_service:
        refuse_local_options(options)
        task, of_format = in_chat_format(task)
        notes = (*of_format, *notes)
    data = check_data(task, options.limit, progress, workers)
    return EvalPlan(
        task_settings=task,
        model_settings=model,
        task=make_task(task.name, task.settings),
        data=replace(data, warnings=(*data.warnings, *notes)),
        seed=options.seed,
        limit=options.limit,
        certified=options.certified,
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
        f"model     {plan.model_settings.name}: {model.whereabouts}",
        f"device    {device.label} {device.facts()['name']} ({reason})",
        f"settings  {model.in_words}, batch size {model.batch_size}, prompt "
        f"{plan.task_settings.settings.prompt_format}",
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
    print(f"sample    {one_line(sample.sample_id)}, truth {one_line(sample.truth) or 'unknown'}")
    for source, clip in zip(sample.audio, clips, strict=True):
        print(
            f"clip      {one_line(source.name)}: {clip.duration_s:.2f} s, "
            f"{clip.sampling_rate_hz} Hz, {clip.num_channels} channels, {clip.container}"
        )
    print(f"results   {one_line(str(job.place.result_file('result')))}")
