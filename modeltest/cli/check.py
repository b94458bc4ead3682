"""`modeltest check`: what is missing, found without loading the weights."""

from __future__ import annotations

import argparse
import os
import platform
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from typing import TYPE_CHECKING, Literal

from modeltest.cli.options import DEVICES, add_settings_options
from modeltest.errors import EXIT_OK, EXIT_USAGE, ModeltestError

if TYPE_CHECKING:
    from modeltest.devices.probe import Probe

HELP = "check settings, data and this machine without loading the weights"

_MARKS = {"ok": "✓", "warning": "!", "bad": "✗"}
_COLOURS = {"ok": "green", "warning": "yellow", "bad": "red"}
_OLDEST_TRANSFORMERS = (4, 46, 2)


@dataclass(frozen=True, slots=True)
class Finding:
    """One row: what was looked at, how it stands, and what to do about it."""

    what: str
    state: Literal["ok", "warning", "bad"]
    detail: str
    advice: str = ""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command line."""
    parser.add_argument("task", nargs="?", metavar="TASK", help="a task's name or .yaml file")
    parser.add_argument("model", nargs="?", metavar="MODEL", help="a model's name or .yaml file")
    parser.add_argument(
        "--device", choices=DEVICES, default="auto", help="the device that is meant"
    )
    add_settings_options(parser)


def execute(options: argparse.Namespace) -> int:
    """Prints one row per finding; exit 2 when something is bad."""
    from termcolor import colored

    from modeltest.errors import one_line

    bad = 0
    for finding in _findings(options):
        mark = colored(_MARKS[finding.state], _COLOURS[finding.state])
        print(f"{mark} {finding.what:<13} {one_line(finding.detail)}")
        if finding.advice:
            print(f"  {'':<13} {one_line(finding.advice)}")
        bad += finding.state == "bad"
    if bad:
        print(f"{bad} of the checks failed", file=sys.stderr)
    return EXIT_USAGE if bad else EXIT_OK


def _findings(options: argparse.Namespace) -> Iterator[Finding]:
    yield _python()
    yield _transformers()
    yield _sound()
    yield from _device(options.device)
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


def _python() -> Finding:
    return Finding("python", "ok", f"{platform.python_version()} ({sys.executable})")


def _transformers() -> Finding:
    try:
        version = metadata.version("transformers")
    except metadata.PackageNotFoundError:
        return Finding("transformers", "bad", "not installed", "pip install transformers")
    release = tuple(int(part) for part in version.split(".")[:3] if part.isdigit())
    if release < _OLDEST_TRANSFORMERS:
        return Finding("transformers", "bad", version, "needs 4.46.2 or newer")
    return Finding("transformers", "ok", version)


def _sound() -> Finding:
    from modeltest.audio.decode import audio_rule_facts

    versions = {k: v for k, v in audio_rule_facts().items() if k != "rule"}
    facts = ", ".join(f"{name} {version}" for name, version in versions.items())
    return Finding("audio", "ok", facts)


def _device(requested: str) -> Iterator[Finding]:
    from modeltest.devices.factory import choose
    from modeltest.devices.probe import probe

    found = probe()
    yield _torch(found)
    try:
        choice = choose(requested, found)
    except ModeltestError as error:
        yield Finding("device", "bad", str(error))
        return
    state: Literal["ok", "warning"] = "warning" if choice.broken_torch_npu else "ok"
    advice = "install CANN and source its set_env.sh" if choice.broken_torch_npu else ""
    visible = {
        name: os.environ[name]
        for name in ("ASCEND_RT_VISIBLE_DEVICES", "CUDA_VISIBLE_DEVICES")
        if name in os.environ
    }
    shown = "".join(f", {name}={value}" for name, value in visible.items())
    yield Finding("device", state, f"{choice.kind} ({choice.reason}){shown}", advice)


def _torch(found: Probe) -> Finding:
    if found.torch_version:
        npu = "with" if found.torch_npu else "without"
        return Finding("torch", "ok", f"{found.torch_version}, {npu} torch_npu")
    if found.torch_npu:  # the device's row says what comes of it
        return Finding("torch", "warning", found.error)
    advice = "CPU: pip install torch==2.13.0; Ascend: the pair that matches CANN"
    return Finding("torch", "bad", found.error, advice)


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
    from modeltest.backends.factory import check_model
    from modeltest.settings.load import load_model, split_overrides

    overrides, _ = split_overrides(options.overrides)
    model = load_model(options.model, overrides, options.config_dir)
    yield Finding("model", "ok", f"{model.name}: {model.files[0][0]}")
    check_model(model.settings, model.where("model_path"))
    folder = model.settings.model_path
    if folder is not None:
        num_bytes = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
        yield Finding("weights", "ok", f"{folder}, {num_bytes / 1e9:.3g} GB of safetensors")
