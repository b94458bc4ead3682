"""Options that several commands share, and how they become settings."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from modeltest.errors import UsageError, one_line

if TYPE_CHECKING:
    from modeltest.settings.load import Loaded
    from modeltest.settings.schema import ModelSettings, TaskSettings

_OPTION_KEYS = {
    "dtype": "data_type",
    "attention": "attention",
    "engine": "engine",
    "bs": "batch_size",
}
MAX_NUMBER = 2**31 - 1
DEVICES = ("auto", "npu", "cuda", "cpu")


def add_settings_options(parser: argparse.ArgumentParser) -> None:
    """Declares `--set` and `--config-dir`."""
    parser.add_argument(
        "--set",
        dest="overrides",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="override one setting, for example task.prompt_format=chat; may be repeated",
    )
    add_config_dir(parser)


def add_config_dir(parser: argparse.ArgumentParser) -> None:
    """Declares `--config-dir`."""
    parser.add_argument(
        "--config-dir",
        type=Path,
        metavar="DIR",
        help="folder with model/ and task/ settings files, searched before the built-in ones",
    )


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """Declares device, precision, attention and overrides."""
    parser.add_argument(
        "--device", choices=DEVICES, default="auto", help="auto takes npu, then cuda, then cpu"
    )
    parser.add_argument(
        "--dtype", choices=("bf16", "fp16", "fp32"), help="precision (default: the model file's)"
    )
    parser.add_argument(
        "--attention",
        choices=("sdpa", "eager", "flash_attention_2"),
        help="attention implementation (default: the model file's)",
    )
    parser.add_argument(
        "--engine",
        choices=("fast", "stock"),
        help="stock: the processor's own features and transformers' generate, for reference and "
        "for other architectures than Qwen2-Audio (default: the model file's)",
    )
    add_settings_options(parser)


def add_max_input_length(parser: argparse.ArgumentParser) -> None:
    """Declares `--max-input-length`."""
    parser.add_argument(
        "--max-input-length",
        type=positive_int,
        metavar="N",
        help="refuse clips whose request has more tokens than this",
    )


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """Declares where results go, `--resume` and `--dry-run`."""
    parser.add_argument(
        "--output-dir", type=Path, default=Path("outputs"), metavar="DIR", help="where results go"
    )
    parser.add_argument(
        "--resume",
        metavar="RUN",
        help="continue an interrupted run: its folder, its id, or 'last'",
    )
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="show the plan, the prompt and where results will go; run nothing",
    )


def add_language(parser: argparse.ArgumentParser, page: str) -> None:
    """Declares `--lang`, the language of a page."""
    parser.add_argument(
        "--lang",
        choices=("en", "zh"),
        help=f"language of {page} (default: what the reader's browser prefers)",
    )


def started_as(options: argparse.Namespace) -> list[str]:
    """The command line that the options are of; of the Python interface one that says the same."""
    return getattr(options, "started_as", None) or sys.argv


def load_settings(
    options: argparse.Namespace,
) -> tuple[Loaded[ModelSettings], Loaded[TaskSettings]]:
    """Loads both settings files with `--set` and the options that stand for a setting.

    Raises:
        ModeltestError: A name is unknown or a file cannot be used.
    """
    from modeltest.settings.load import load_task, split_overrides

    model_sets, task_sets = split_overrides(options.overrides)
    if getattr(options, "stop_at_answer", False):
        task_sets.append("task.stop_at_answer=true")
    model = _load_model(options, model_sets)
    return model, load_task(options.task, task_sets, options.config_dir)


def load_model_settings(options: argparse.Namespace) -> Loaded[ModelSettings]:
    """Loads a model's settings for a command that has no task.

    Raises:
        ModeltestError: The name is unknown, the file cannot be used, or `--set` is for a task.
    """
    from modeltest.settings.load import split_overrides

    model_sets, task_sets = split_overrides(options.overrides)
    if task_sets:
        raise UsageError(f"--set {one_line(task_sets[0])}: {options.command} has no task")
    return _load_model(options, model_sets)


def _load_model(options: argparse.Namespace, sets: list[str]) -> Loaded[ModelSettings]:
    from modeltest.settings.load import load_model

    for option, key in _OPTION_KEYS.items():
        value = getattr(options, option, None)  # not every command has every option
        if value is not None:
            sets.append(f"model.{key}={value}")
    return load_model(options.model, sets, options.config_dir)


def positive_int(text: str) -> int:
    """A whole number from 1, for argparse."""
    return at_least(1)(text)


def at_least(least: int) -> Callable[[str], int]:
    """A whole number from `least`, for argparse."""

    def whole_number(text: str) -> int:
        value = _whole_number(text)
        if not least <= value <= MAX_NUMBER:
            raise argparse.ArgumentTypeError(
                f"must be at least {least} and at most {MAX_NUMBER}: {text}"
            )
        return value

    return whole_number


def non_negative_int(text: str) -> int:
    """A whole number from 0, for argparse."""
    value = _whole_number(text)
    if not 0 <= value <= MAX_NUMBER:
        raise argparse.ArgumentTypeError(f"must be from 0 to {MAX_NUMBER}: {text}")
    return value


def positive_seconds(text: str) -> float:
    """A time above 0 s and below a day, for argparse."""
    try:
        value = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"not a number of seconds: {text!r}") from None
    if not 0 < value < 86_400:
        raise argparse.ArgumentTypeError(f"must be above 0 and below 86400: {text}")
    return value


def _whole_number(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"not a whole number: {text!r}") from None
