"""Settings before validation: plain mappings that know where each key was written."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modeltest.errors import SettingsError, UsageError, one_line
from modeltest.settings.paths import Kind, find_file
from modeltest.settings.wording import KeyPath, found
from modeltest.settings.yaml_text import MAX_BYTES, decode_text, read_yaml

MAX_PARENTS = 5

ReadFile = tuple[Path, str]


@dataclass(frozen=True)
class Layer:
    """One mapping of settings.

    Attributes:
        values: The mapping as YAML gives it.
        origins: Per key path where it was written: `FILE:LINE:COLUMN`, or `--set KEY=VALUE`.
            A path without an entry was written with the nearest path above it.
    """

    values: dict[str, Any]
    origins: dict[KeyPath, str]

    def origin(self, path: KeyPath) -> str:
        """Says where a key was written, for the start of a message."""
        while path not in self.origins and path:
            path = path[:-1]
        return self.origins[path]


def merge(upper: Layer, lower: Layer) -> Layer:
    """Lays one layer over another: mappings merge key by key, the rest replaces."""
    replaced: set[KeyPath] = set()
    values = _merged(upper.values, lower.values, (), replaced)
    kept = {
        path: origin
        for path, origin in lower.origins.items()
        if not any(path[:length] in replaced for length in range(1, len(path) + 1))
    }
    return Layer(values, {**kept, **upper.origins})


def _merged(
    upper: Mapping[str, Any], lower: Mapping[str, Any], path: KeyPath, replaced: set[KeyPath]
) -> dict[str, Any]:
    values = dict(lower)
    for key, value in upper.items():
        below = values.get(key)
        if isinstance(value, dict) and isinstance(below, dict):
            values[key] = _merged(value, below, (*path, key), replaced)
        else:
            values[key] = value
            replaced.add((*path, key))
    return values


def read_with_parents(
    kind: Kind, path: Path, config_dir: Path | None
) -> tuple[Layer, tuple[ReadFile, ...]]:
    """Reads a settings file and those it `extends`, merged into one layer.

    Args:
        kind: Which settings.
        path: The file.
        config_dir: The folder of `--config-dir`.

    Returns:
        The layer without `extends`, and every file read with its SHA-256 in hex, the
        child first.

    Raises:
        SettingsError: A file cannot be used, or the chain of parents is circular or too long.
    """
    chain = [path]
    layer, digest = _read(path)
    files = [(path, digest)]
    while "extends" in layer.values:
        origin = layer.origin(("extends",))
        layer, parent_name = _without_extends(layer, origin)
        parent = _parent(kind, parent_name, config_dir, chain[-1].parent, origin)
        _refuse_bad_chain(chain, parent, origin)
        chain.append(parent)
        parent_layer, digest = _read(parent)
        files.append((parent, digest))
        layer = merge(layer, parent_layer)
    return layer, tuple(files)


def _read(path: Path) -> tuple[Layer, str]:
    where = one_line(str(path))
    if path.exists() and not path.is_file():
        raise SettingsError(f"{where}: not a file; name a .yaml file")
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise SettingsError(f"{where}: cannot be read: {error.strerror}") from None
    values, positions = read_yaml(decode_text(raw, where), where)
    origins: dict[KeyPath, str] = {(): where}
    origins.update((path, f"{where}:{line}:{column}") for path, (line, column) in positions.items())
    return Layer(values, origins), hashlib.sha256(raw).hexdigest()


def _without_extends(layer: Layer, origin: str) -> tuple[Layer, str]:
    values = dict(layer.values)
    name = values.pop("extends")
    if not isinstance(name, str) or not name:
        raise SettingsError(
            f"{origin}: key 'extends': expected the name of a settings file, found {found(name)}; "
            "write one name, or delete the key"
        )
    origins = {path: place for path, place in layer.origins.items() if path != ("extends",)}
    return Layer(values, origins), name


def _parent(kind: Kind, name: str, config_dir: Path | None, beside: Path, origin: str) -> Path:
    try:
        return find_file(kind, name, config_dir, beside)
    except UsageError as error:
        raise SettingsError(f"{origin}: key 'extends': {error}") from None


def _refuse_bad_chain(chain: list[Path], parent: Path, origin: str) -> None:
    problem = None
    if parent.resolve() in [path.resolve() for path in chain]:
        problem = "goes round in a circle"
    elif len(chain) > MAX_PARENTS:
        problem = f"has more than {MAX_PARENTS} parents"
    if problem:
        steps = " → ".join(one_line(path.stem) for path in [*chain, parent])
        raise SettingsError(f"{origin}: key 'extends': {problem}: {steps}; shorten the chain")
