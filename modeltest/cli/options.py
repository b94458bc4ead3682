"""Options that several commands share, and how they become settings."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

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
        help="stock: transformers' own generate on 30 s per clip, for reference "
        "(default: the model file's)",
    )
    add_settings_options(parser)


def load_settings(
    options: argparse.Namespace,
) -> tuple[Loaded[ModelSettings], Loaded[TaskSettings]]:
    """Loads both settings files with `--set` and the options that stand for a setting.

    Raises:
        ModeltestError: A name is unknown or a file cannot be used.
    """
    from modeltest.settings.load import load_model, load_task, split_overrides

    model_sets, task_sets = split_overrides(options.overrides)
    for option, key in _OPTION_KEYS.items():
        value = getattr(options, option)
        if value is not None:
            model_sets.append(f"model.{key}={value}")
    model = load_model(options.model, model_sets, options.config_dir)
    return model, load_task(options.task, task_sets, options.config_dir)


def positive_int(text: str) -> int:
    """A whole number from 1, for argparse."""
    value = _whole_number(text)
    if not 1 <= value <= MAX_NUMBER:
        raise argparse.ArgumentTypeError(f"must be at least 1 and at most {MAX_NUMBER}: {text}")
    return value


def non_negative_int(text: str) -> int:
    """A whole number from 0, for argparse."""
    value = _whole_number(text)
    if not 0 <= value <= MAX_NUMBER:
        raise argparse.ArgumentTypeError(f"must be from 0 to {MAX_NUMBER}: {text}")
    return value


def _whole_number(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"not a whole number: {text!r}") from None
