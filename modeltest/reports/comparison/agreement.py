"""What two runs have to have in common, and how it is said when they have not."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from modeltest.errors import one_line
from modeltest.records import Verdict

Difference = tuple[str, str, str]
"""What differs, A's value, B's value; for a person."""

_LONGEST_VALUE = 40


def differences(first: Any, second: Any, name: str = "") -> Iterator[Difference]:
    """Where two values of JSON differ: the path of keys, A's value, B's value."""
    if isinstance(first, Mapping) and isinstance(second, Mapping):
        for key in sorted({*first, *second}):
            inner = f"{name}.{key}" if name else str(key)
            yield from differences(first.get(key), second.get(key), inner)
    elif first != second:
        yield name, shown(first), shown(second)


def refusal(found: Iterable[Difference]) -> str:
    """Says why two runs have nothing to do with each other, in one line."""
    lines = "; ".join(f"{name}: A has {a}, B has {b}" for name, a, b in found)
    return one_line(f"these runs cannot be compared, they differ in {lines}")


def withheld(verdicts: Iterable[tuple[str, Verdict]]) -> tuple[str, ...]:
    """Why there is no verdict on two runs: which of them is not VALID, with its first reason.

    The run's own report has all of its reasons.
    """
    return tuple(_reason(name, each) for name, each in verdicts if each.validity != "VALID")


def shown(value: Any) -> str:
    """A value for a person, cut where it is long."""
    text = "nothing" if value is None else str(value)
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}…"


def _reason(name: str, verdict: Verdict) -> str:
    first = f": {verdict.reasons[0]}" if verdict.reasons else ""
    others = len(verdict.reasons) - 1
    more = f", and {others} more reasons" if others > 0 else ""
    return f"{name} is {verdict.validity}{first}{more}"
