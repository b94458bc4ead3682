"""Values of a table on a page: fit for JSON, for one line, and short enough for a browser."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from modeltest.errors import one_line

MAX_NAME = 1_000
MAX_TEXT_BYTES = 1_000_000
_LONGEST = (10_000, 5_000, 2_000, 1_000, 500, 250, 120, 60)
_ENVELOPE = re.compile(r"[A-Za-z0-9_-]{1,256}")


class TextBudget:
    """How long each text of a page may be, so that all have about `MAX_TEXT_BYTES` as UTF-8."""

    def __init__(self) -> None:
        self._whole_bytes = 0  # of texts that are never cut, as most are
        self._sums = dict.fromkeys(_LONGEST, 0.0)

    def add(self, text: str) -> None:
        """Takes note of one text."""
        num_bytes = len(text) if text.isascii() else len(text.encode("utf-8", "backslashreplace"))
        if len(text) <= _LONGEST[-1]:
            self._whole_bytes += num_bytes
            return
        for longest in _LONGEST:
            self._sums[longest] += num_bytes * min(1.0, longest / len(text))

    @property
    def longest(self) -> int:
        """Characters of the longest text."""
        left = MAX_TEXT_BYTES - self._whole_bytes
        fitting = (each for each, sum_ in self._sums.items() if sum_ <= left)
        return next(fitting, _LONGEST[-1])


def cut(text: str, longest: int) -> str:
    """The start of a text, fit for one line."""
    return one_line(text[:longest])


def left_out(text: str, longest: int) -> int:
    """How many characters `cut` leaves out."""
    return max(0, len(text) - longest)


def number(value: float | None) -> float | None:
    """A figure with the digits that a reader can use."""
    return None if value is None else float(f"{value:.6g}")


def label_or_text(value: str, places: Mapping[str, int], longest: int) -> int | str:
    """A label by its place; what is no label as its text."""
    return places.get(value, cut(value, longest))


def clip_cell(clip: Mapping[str, Any], by_digest: bool = False) -> list[Any]:
    """Name, both lengths in s, shape, note and digest of a clip, as `page/player.js` reads it."""
    shape = clip.get("envelope", "")
    return [
        cut(clip["name"], MAX_NAME),
        number(clip["duration_s"]),
        number(clip["heard_s"]),
        shape if _ENVELOPE.fullmatch(shape) else "",
        cut(clip["note"], MAX_NAME),
        clip["sha256"] if by_digest else "",
    ]


class SliceNames:
    """Names of slices as columns count them; classes have a filter of their own."""

    def __init__(self) -> None:
        self._places: dict[str, int] = {}

    def places(self, subsets: list[str] | tuple[str, ...]) -> list[int]:
        """Of the subsets of one sample."""
        return [
            self._places.setdefault(one_line(name), len(self._places))
            for name in dict.fromkeys(subsets)
            if not name.startswith("class=")
        ]

    @property
    def names(self) -> list[str]:
        """Each once, in the order of their numbers."""
        return list(self._places)
