"""Where settings files and the embedded model and clips are found."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Literal

from modeltest.errors import UsageError, one_line
from modeltest.settings.wording import nearest

Kind = Literal["task", "model"]

CONFIG_DIR_VARIABLE = "MODELTEST_CONFIG_DIR"

_PACKAGE = Path(__file__).parents[1]
_LONGEST_NAME_BYTES = 100


def is_name(text: str) -> bool:
    """Whether a model's or task's name can be part of a path and of a line."""
    fits = len(text.encode("utf-8", "replace")) <= _LONGEST_NAME_BYTES
    return fits and re.fullmatch(r"\w[\w.-]*", text) is not None


def assets_dir() -> Path:
    """Returns the folder of the embedded model and clips, `${MODELTEST_ASSETS}` in files."""
    return _PACKAGE / "assets"


def built_in_dir() -> Path:
    """Returns the shipped settings: in the wheel, else beside the package in a checkout."""
    in_wheel, in_checkout = _PACKAGE / "_builtin_config", _PACKAGE.parent / "config"
    return in_wheel if (in_wheel / "model").is_dir() else in_checkout


def known_names(kind: Kind, config_dir: Path | None = None) -> list[str]:
    """Lists the names that the command line accepts, sorted, each once.

    Args:
        kind: Which settings.
        config_dir: The folder of `--config-dir`, with `task/` and `model/` below it.

    Raises:
        UsageError: A settings folder that was asked for is not one.
    """
    return sorted(_files_by_name(kind, config_dir))


def find_file(kind: Kind, name: str, config_dir: Path | None = None, beside: Path = Path()) -> Path:
    """Finds the file of a name, which may also be a path that ends in `.yaml`.

    Args:
        kind: Which settings.
        name: Name or path.
        config_dir: The folder of `--config-dir`; it goes before `$MODELTEST_CONFIG_DIR`,
            which goes before the shipped settings.
        beside: The folder that a relative path starts from.

    Raises:
        UsageError: There is no such file; the message names what exists.
    """
    if name.endswith(".yaml"):
        path = beside / Path(name)
        if path.exists():
            return path
        known = one_line(", ".join(known_names(kind, config_dir)))
        raise UsageError(f"{one_line(str(path))}: no such file; {kind}s known by name: {known}")
    files = _files_by_name(kind, config_dir)
    if name in files:
        return files[name]
    close = nearest(name, files)
    hint = f"did you mean '{one_line(close)}'? " if close else ""
    known = one_line(", ".join(sorted(files)))
    raise UsageError(f"unknown {kind} '{one_line(name)}'; {hint}{kind.capitalize()}s: {known}")


def _files_by_name(kind: Kind, config_dir: Path | None) -> dict[str, Path]:
    files: dict[str, Path] = {}
    for folder in _folders(config_dir):
        for path in sorted((folder / kind).glob("[!.]*.yaml")):
            files.setdefault(path.stem, path)
    return files


def _folders(config_dir: Path | None) -> list[Path]:
    folders = []
    if config_dir is not None:
        folders.append(_checked(config_dir, f"--config-dir {config_dir}"))
    from_environment = os.environ.get(CONFIG_DIR_VARIABLE)
    if from_environment:
        where = f"{CONFIG_DIR_VARIABLE}={from_environment}"
        folders.append(_checked(Path(from_environment), where))
    return [*folders, built_in_dir()]


def _checked(folder: Path, where: str) -> Path:
    if not folder.is_dir():
        raise UsageError(f"{one_line(where)}: no such folder")
    if not any((folder / kind).is_dir() for kind in ("task", "model")):
        raise UsageError(
            f"{one_line(where)}: has neither a task/ nor a model/ folder; "
            "settings files go in one of them"
        )
    return folder
