"""`--set KEY=VALUE`: which file it is for, and the layer it becomes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel

from modeltest.errors import UsageError, one_line
from modeltest.settings.layers import Layer
from modeltest.settings.paths import Kind
from modeltest.settings.schema import ModelSettings, TaskSettings
from modeltest.settings.wording import KeyPath, nearest, shortened
from modeltest.settings.yaml_text import read_value

# What may be written by mistake: a password in an address, a key in place of its variable's name.
_MAY_BE_SECRET = re.compile(r"(?<=://)[^\s/]*(?=@)|(?<=api_key_env=).*")
SCHEMAS: dict[Kind, type[BaseModel]] = {"model": ModelSettings, "task": TaskSettings}


def split_overrides(sets: Sequence[str]) -> tuple[list[str], list[str]]:
    """Sorts the values of `--set` by the file that they override.

    A prefix `model.` or `task.` decides; without one, the schema that alone knows the
    top-level key.

    Args:
        sets: `KEY=VALUE` each, in the order given.

    Returns:
        Those of the model file and those of the task file, as given.

    Raises:
        UsageError: No `=`, or a key that neither or both of the files know.
    """
    by_kind: dict[Kind, list[str]] = {"model": [], "task": []}
    for text in sets:
        kind, keys, _ = _parts(text)
        by_kind[kind or _kind_of(keys[0], text)].append(text)
        if kind is not None and keys[0] not in SCHEMAS[kind].model_fields:
            raise _unknown(keys[0], list(SCHEMAS[kind].model_fields), text)
    return by_kind["model"], by_kind["task"]


def override_layer(text: str) -> Layer:
    """Turns one `--set` into a layer; only checks that the value is YAML.

    Args:
        text: `KEY=VALUE`, the key with or without its `model.` or `task.`.

    Raises:
        UsageError: No key or no `=`.
        SettingsError: The value is not strict YAML.
    """
    _, keys, value_text = _parts(text)
    where = _where(text)
    values: Any = read_value(value_text, where)
    for key in reversed(keys):
        values = {key: values}
    origins: dict[KeyPath, str] = {keys[: i + 1]: where for i in range(len(keys))}
    return Layer(values, origins)


def _parts(text: str) -> tuple[Kind | None, tuple[str, ...], str]:
    key_text, equals, value_text = text.partition("=")
    keys = tuple(key_text.strip().split("."))
    kind = next((kind for kind in SCHEMAS if kind == keys[0]), None)
    if kind is not None:
        keys = keys[1:]
    if not equals or not keys or not all(keys):
        raise UsageError(f"{_where(text)}: expected KEY=VALUE, such as model.batch_size=4")
    return kind, keys, value_text


def _kind_of(key: str, text: str) -> Kind:
    knowing: list[Kind] = [kind for kind in SCHEMAS if key in SCHEMAS[kind].model_fields]
    if len(knowing) > 1:
        raise UsageError(
            f"{_where(text)}: both the model and the task know '{key}'; "
            f"write model.{key} or task.{key}"
        )
    if not knowing:
        raise _unknown(key, [name for s in SCHEMAS.values() for name in s.model_fields], text)
    return knowing[0]


def _unknown(key: str, valid: list[str], text: str) -> UsageError:
    close = nearest(key, valid)
    hint = f"did you mean '{close}'?" if close else f"valid keys: {', '.join(valid)}"
    return UsageError(f"{_where(text)}: unknown key '{one_line(key)}'; {hint}")


def _where(text: str) -> str:
    return f"--set {shortened(_MAY_BE_SECRET.sub('…', text))}"
