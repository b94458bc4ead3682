"""`modeltest check`: what is missing, found without loading the weights."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from modeltest.cli.findings import Finding, show
from modeltest.cli.options import DEVICES, add_settings_options
from modeltest.errors import ModeltestError

if TYPE_CHECKING:
    from modeltest.records import Prompt
    from modeltest.settings.schema import ModelSettings

HELP = "check settings, data and this machine without loading the weights"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command line."""
    parser.add_argument("task", nargs="?", metavar="TASK", help="a task's name or .yaml file")
    parser.add_argument("model", nargs="?", metavar="MODEL", help="a model's name or .yaml file")
    parser.add_argument(
        "--device", choices=DEVICES, default="auto", help="the device that is meant"
    )
    parser.add_argument(
        "--npu-selfcheck",
        action="store_true",
        help="compute on the first NPU and compare with the CPU: what to run on a new machine",
    )
    add_settings_options(parser)


def execute(options: argparse.Namespace) -> int:
    """Prints one row per finding; exit 2 when something is bad.

    Raises:
        DeviceError: `--npu-selfcheck` without an NPU.
    """
    if options.npu_selfcheck:
        from modeltest.cli.npu_selfcheck import self_check

        return show(self_check())
    return show(_findings(options))


def _findings(options: argparse.Namespace) -> Iterator[Finding]:
    from modeltest.cli.machine_rows import machine_rows

    yield from machine_rows(options.device)
    if options.task:
        yield from _guarded("task", lambda: _task(options))
    if options.model:
        yield from _guarded("model", lambda: _model(options))


def _guarded(what: str, look: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """A user's mistake becomes a row, so that the other rows are still shown."""
    try:
        yield from look()
    except ModeltestError as error:
        for line in str(error).splitlines():
            yield Finding(what, "bad", line)


def _task(options: argparse.Namespace) -> Iterator[Finding]:
    from modeltest.cli.progress import duration, make_progress
    from modeltest.runner.plan import check_data
    from modeltest.settings.load import load_task, split_overrides

    _, overrides = split_overrides(options.overrides)
    task = load_task(options.task, overrides, options.config_dir)
    yield Finding("task", "ok", f"{task.name}: {task.files[0][0]}")
    data = check_data(task, None, make_progress())
    yield Finding(
        "data",
        "ok",
        f"{len(data.samples)} samples, {duration(data.audio_s)} of audio, {data.listing.layout}",
    )
    for warning in data.warnings:
        yield Finding("data", "warning", warning)


def _model(options: argparse.Namespace) -> Iterator[Finding]:
    from modeltest.backends.factory import checked_model, model_warnings
    from modeltest.settings.load import load_model, split_overrides

    overrides, _ = split_overrides(options.overrides)
    model = load_model(options.model, overrides, options.config_dir)
    yield Finding("model", "ok", f"{model.name}: {model.files[0][0]}")
    model = checked_model(model)
    for warning in model_warnings(model.settings):
        yield Finding("model", "warning", warning)
    if model.settings.is_service:
        yield _service(model.settings)
    _refuse_unaskable(model.settings, options)
    folder = model.settings.model_path
    if folder is not None:
        num_bytes = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
        yield Finding("weights", "ok", f"{folder}, {num_bytes / 1e9:.3g} GB of safetensors")


def _refuse_unaskable(settings: ModelSettings, options: argparse.Namespace) -> None:
    """Of another architecture, what transformers alone can tell; of Qwen2-Audio the files do.

    Raises:
        ModeltestError: It cannot be run here, or not be asked what the task asks.
    """
    from modeltest.backends.factory import is_another_architecture, make_backend
    from modeltest.devices.factory import choose, make_device

    if not is_another_architecture(settings):  # importing transformers takes seconds
        return
    try:
        backend = make_backend(settings, 0, make_device(choose("cpu")))
    except (ImportError, OSError):  # torch's or transformers', of which other rows tell
        return
    prompt = _prompt(options)
    if prompt is not None:
        backend.render(prompt, 1)


def _prompt(options: argparse.Namespace) -> Prompt | None:
    """The task's; None without a task, or where its own rows say what is wrong with it."""
    from modeltest.settings.load import load_task, split_overrides
    from modeltest.tasks.factory import make_task

    if not options.task:
        return None
    _, overrides = split_overrides(options.overrides)
    try:
        task = load_task(options.task, overrides, options.config_dir)
    except ModeltestError:
        return None
    return make_task(task.name, task.settings).prompt()


def _service(settings: ModelSettings) -> Finding:
    """Asks whether it is well and serves the model.

    Raises:
        ModelError: It is not, or does not.
    """
    from modeltest.backends.factory import make_backend
    from modeltest.devices.factory import choose_for, make_device

    backend = make_backend(settings, 0, make_device(choose_for(settings, "auto")))
    try:
        backend.load()
        facts = backend.facts()
    finally:
        backend.close()
    version = f", version {facts['version']}" if facts["version"] else ""
    return Finding("service", "ok", f"{facts['base_url']} serves {facts['model']}{version}")
