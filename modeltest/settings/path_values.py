"""`${VAR}` and `~` in path values, and only there."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from modeltest.errors import SettingsError
from modeltest.settings.layers import Layer
from modeltest.settings.paths import Kind, assets_dir
from modeltest.settings.wording import KeyPath, dotted, shortened

PATH_KEYS: dict[Kind, tuple[tuple[str, ...], ...]] = {
    "model": (
        ("model_path",),
        ("mm_model", "warm_up_audio_path"),
        ("verify",),
        ("request", "media_folder"),
    ),
    "task": (("local_dataset_path",),),
}

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^${}]*))?\}")
_ASSETS_VARIABLE = "MODELTEST_ASSETS"
_SECRET = re.compile(r"KEY|TOKEN|SECRET|PASS|CREDENTIAL|AUTH|COOKIE", re.IGNORECASE)


def looks_secret(name: str) -> bool:
    """Whether an environment variable or a setting of this name may hold a secret."""
    return _SECRET.search(name) is not None


def expand_paths(layer: Layer, keys: tuple[tuple[str, ...], ...]) -> Layer:
    """Expands the path values of a layer; what is no text stays for the validation.

    `${VAR}` is the environment's value, `${VAR:-default}` the default where the variable
    is unset or empty, `${MODELTEST_ASSETS}` always the embedded assets. A value that ends
    up empty is unset: null, or dropped from a list. Relative paths stay relative to the
    working directory.

    Args:
        layer: All settings of one file and its overrides.
        keys: Key paths of a path or a list of paths.

    Raises:
        SettingsError: A variable is not set, or a `${` is not a variable.
    """
    for key_path in keys:
        parents: list[dict[str, Any]] = [layer.values]
        for key in key_path[:-1]:
            inner = parents[-1].get(key)
            parents.append(inner if isinstance(inner, dict) else {})
        if key_path[-1] in parents[-1]:
            layer = _with_expanded(layer, key_path, parents[-1][key_path[-1]])
    return layer


def _with_expanded(layer: Layer, key_path: tuple[str, ...], value: Any) -> Layer:
    if not isinstance(value, list):
        expanded = _expanded(value, layer, key_path)
        return Layer(_replaced(layer.values, key_path, expanded), layer.origins)
    origins = dict(layer.origins)
    items: list[Any] = []
    for index, item in enumerate(value):
        item_path: KeyPath = (*key_path, index)
        expanded = _expanded(item, layer, item_path)
        if expanded is not None or item is None:
            kept_path: KeyPath = (*key_path, len(items))
            origins[kept_path] = layer.origin(item_path)
            items.append(expanded)
    return Layer(_replaced(layer.values, key_path, items), origins)


def _replaced(values: dict[str, Any], key_path: tuple[str, ...], value: Any) -> dict[str, Any]:
    key, *rest = key_path
    return {**values, key: _replaced(values[key], tuple(rest), value) if rest else value}


def _expanded(value: Any, layer: Layer, key_path: KeyPath) -> Any:
    if not isinstance(value, str):
        return value
    place = f"{layer.origin(key_path)}: key '{dotted(key_path)}'"
    if "${" in _VARIABLE.sub("", value):
        raise SettingsError(
            f"{place}: '{shortened(value)}' holds a ${{ that is no variable; "
            "write ${VAR} or ${VAR:-default}"
        )
    text = _VARIABLE.sub(lambda match: _variable(match, place), value)
    if "\0" in text:
        raise SettingsError(f"{place}: a path cannot hold a NUL character; delete it")
    try:
        return str(Path(text).expanduser()) if text else None
    except RuntimeError:
        raise SettingsError(
            f"{place}: no home folder is known for '{shortened(text)}'; write the path out"
        ) from None


def _variable(match: re.Match[str], place: str) -> str:
    name, default = match[1], match[2]
    if name == _ASSETS_VARIABLE:
        return str(assets_dir())
    if looks_secret(name):  # paths are shown and recorded
        raise SettingsError(f"{place}: {name} may hold a secret; use another variable")
    value = os.environ.get(name)
    if value is None and default is None:
        raise SettingsError(
            f"{place}: the environment variable {name} is not set; set it, "
            f"or write ${{{name}:-default}}"
        )
    return value or default or ""
