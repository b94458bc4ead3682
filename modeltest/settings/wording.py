"""Words that the messages of this package share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any

from modeltest.errors import one_line

KeyPath = tuple[str | int, ...]

_LONGEST_QUOTE = 60


def dotted(path: KeyPath) -> str:
    """Spells a key path as messages show it: `choices[0].letter`."""
    spelled = ""
    for part in path:
        if isinstance(part, int):
            spelled += f"[{part}]"
        else:
            spelled += f".{part}" if spelled else part
    return one_line(spelled)


def shortened(text: str) -> str:
    """Keeps a quotation in a message short and on one line."""
    text = one_line(text)
    return text if len(text) <= _LONGEST_QUOTE else text[: _LONGEST_QUOTE - 1] + "…"


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Returns the known word that was probably meant: similar, or started and not finished."""
    words = list(known)
    close = get_close_matches(word, words, n=1)
    longer = [other for other in words if word and other.startswith(word)]
    return next(iter([*close, *longer]), None)


def found(value: Any) -> str:
    """Says in plain words what stands in the file: `the string 'eight'`."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return f"the value {str(value).lower()}"
    if isinstance(value, int | float):
        return f"the number {value}"
    if isinstance(value, str):
        return f"the string '{shortened(value)}'"
    return "a mapping" if isinstance(value, Mapping) else "a list"


def one_of(words: Iterable[str]) -> str:
    """Joins alternatives: `bf16, fp16 or fp32`."""
    *first, last = words
    return f"{', '.join(first)} or {last}" if first else last
