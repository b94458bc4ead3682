"""From a name on the command line to frozen settings.

Reads files and, for `${VAR}` and `$MODELTEST_CONFIG_DIR`, the environment; writes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from modeltest.errors import SettingsError, one_line
from modeltest.settings.layers import ReadFile, merge, read_with_parents
from modeltest.settings.overrides import override_layer, split_overrides
from modeltest.settings.path_values import PATH_KEYS, expand_paths
from modeltest.settings.paths import Kind, find_file, is_name
from modeltest.settings.schema import ModelSettings, TaskSettings
from modeltest.settings.validation import validated
from modeltest.settings.wording import KeyPath

__all__ = ["Loaded", "load_model", "load_task", "split_overrides"]

S = TypeVar("S", ModelSettings, TaskSettings)


@dataclass(frozen=True)
class Loaded(Generic[S]):
    """Validated settings and where they came from.

    Attributes:
        name: Stem of the file.
        settings: The settings with parents, overrides and variables resolved.
        files: Every file read with its SHA-256 in hex, the child first.
        overrides: The `--set` values, as given.
        origins: Per key path where it was written.
    """

    name: str
    settings: S
    files: tuple[ReadFile, ...]
    overrides: tuple[str, ...]
    origins: Mapping[KeyPath, str]

    def where(self, key: str) -> str:
        """Says where a top-level key was written, `FILE:LINE:COLUMN`, for a message."""
        return self.origins.get((key,), str(self.files[0][0]))


def load_model(
    name: str, overrides: Sequence[str] = (), config_dir: Path | None = None
) -> Loaded[ModelSettings]:
    """Loads a model's settings.

    Args:
        name: Name, or path of a `.yaml` file.
        overrides: `KEY=VALUE` or `model.KEY=VALUE` each; a later one wins.
        config_dir: The folder of `--config-dir`.

    Raises:
        UsageError: The name is unknown.
        SettingsError: A file or an override cannot be used.
    """
    return _load("model", ModelSettings, name, overrides, config_dir)


def load_task(
    name: str, overrides: Sequence[str] = (), config_dir: Path | None = None
) -> Loaded[TaskSettings]:
    """Loads a task's settings.

    Args:
        name: Name, or path of a `.yaml` file.
        overrides: `KEY=VALUE` or `task.KEY=VALUE` each; a later one wins.
        config_dir: The folder of `--config-dir`.

    Raises:
        UsageError: The name is unknown.
        SettingsError: A file or an override cannot be used.
    """
    return _load("task", TaskSettings, name, overrides, config_dir)


def _load(
    kind: Kind, schema: type[S], name: str, overrides: Sequence[str], config_dir: Path | None
) -> Loaded[S]:
    path = find_file(kind, name, config_dir)
    if not is_name(path.stem):
        raise SettingsError(
            f"{one_line(str(path))}: results are filed under the file's name; rename it to 1 to "
            "100 letters, digits, '.', '_' and '-', a letter, digit or '_' first"
        )
    layer, files = read_with_parents(kind, path, config_dir)
    for text in overrides:
        layer = merge(override_layer(text), layer)
    layer = expand_paths(layer, PATH_KEYS[kind])
    settings = validated(schema, layer)
    return Loaded(path.stem, settings, files, tuple(overrides), layer.origins)
