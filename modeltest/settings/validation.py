"""From a layer to frozen settings; every problem in plain words, where it was written."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from modeltest.errors import SettingsError, one_line
from modeltest.settings.layers import Layer
from modeltest.settings.service_schema import SERVED
from modeltest.settings.wording import KeyPath, dotted, found, nearest, one_of

S = TypeVar("S", bound=BaseModel)

_EXPECTED = {
    "int_type": "a whole number",
    "float_type": "a number",
    "finite_number": "a number",
    "string_type": "text",
    "path_type": "a path",
    "model_type": "a mapping",
    "dict_type": "a mapping",
    "tuple_type": "a list",
}
_FORMS = {
    r"^[A-Z]$": "one capital letter",
    r"^\d{1,3}-\d{1,3}$": "a range of years such as 18-25",
}


def validated(schema: type[S], layer: Layer) -> S:
    """Validates the settings of one file with its parents and overrides.

    Args:
        schema: Shape of the settings.
        layer: The values, paths expanded.

    Raises:
        SettingsError: One line per problem, each with file, line and key.
    """
    try:
        return schema.model_validate(layer.values)
    except ValidationError as error:
        problems = [
            _line(problem, schema, layer)
            for problem in error.errors(include_url=False)
            if not _is_consequence(problem)
        ]
        raise SettingsError("\n".join(problems)) from None


def _is_consequence(problem: ErrorDetails) -> bool:
    """Whether a list counts as too short only because its items have problems."""
    return problem["type"] == "too_short" and len(problem["input"]) >= problem["ctx"]["min_length"]


def _line(problem: ErrorDetails, schema: type[BaseModel], layer: Layer) -> str:
    path: KeyPath = problem["loc"]
    return f"{layer.origin(path)}: key '{dotted(path)}': {_what(problem, schema)}"


def _what(problem: ErrorDetails, schema: type[BaseModel]) -> str:
    kind, value, context = problem["type"], problem["input"], problem.get("ctx", {})
    if kind == "extra_forbidden":
        return _unknown_key(problem["loc"], schema)
    if kind == "missing":
        return "missing; add it"
    if kind == "literal_error":
        valid = re.findall(r"'([^']*)'", context["expected"])
        return _not_one_of([word for word in valid if word != SERVED], value)
    if kind in _EXPECTED:
        return f"expected {_EXPECTED[kind]}, found {found(value)}; {_advice(kind, value)}"
    return _outside_limits(problem) or f"{_reason(problem)}; correct it"


def _outside_limits(problem: ErrorDetails) -> str | None:
    kind, value, context = problem["type"], problem["input"], problem.get("ctx", {})
    if kind == "string_pattern_mismatch":
        form = _FORMS.get(context["pattern"], f"text that matches {context['pattern']}")
        return f"expected {form}, found {found(value)}; correct it"
    if kind == "string_too_short":
        return "expected text, found an empty string; write it"
    if kind == "too_short":
        return f"expected {context['min_length']} items or more, found {len(value)}; add some"
    if kind == "greater_than_equal":
        return f"expected {context['ge']} or more, found {found(value)}; raise it"
    if kind == "less_than_equal":
        return f"expected {context['le']:g} or less, found {found(value)}; lower it"
    return None


def _reason(problem: ErrorDetails) -> str:
    """Returns the words of a validator of ours, else those of pydantic."""
    if problem["type"] == "value_error":
        return one_line(str(problem["ctx"]["error"]))
    return one_line(problem["msg"])


def _advice(kind: str, value: Any) -> str:
    if value is None:
        return "write a value or delete the key"
    if kind == "int_type" and isinstance(value, str) and re.fullmatch(r"[-+]?[0-9]+", value):
        return "write it without quotes"
    if kind in ("string_type", "path_type"):
        return "put it in quotes"
    if kind == "tuple_type":
        return "write [a, b], or one `- item` per line"
    return f"write {_EXPECTED[kind]}"


def _not_one_of(valid: list[str], value: Any) -> str:
    close = nearest(value, valid) if isinstance(value, str) else None
    hint = f"did you mean '{close}'?" if close else "write one of them"
    return f"expected {one_of(valid)}, found {found(value)}; {hint}"


def _unknown_key(path: KeyPath, schema: type[BaseModel]) -> str:
    valid = list(_fields_at(schema, path[:-1]))
    close = nearest(str(path[-1]), valid)
    hint = f"did you mean '{close}'?" if close else f"valid keys: {', '.join(valid)}"
    return f"unknown key; {hint}"


def _fields_at(schema: type[BaseModel], path: KeyPath) -> Mapping[str, Any]:
    """Returns the fields of the model that sits at a key path of the schema."""
    annotation: Any = schema
    for part in path:
        if isinstance(part, int):
            annotation = get_args(annotation)[0]
        else:
            annotation = annotation.model_fields[part].annotation
    fields: Mapping[str, Any] = annotation.model_fields
    return fields
