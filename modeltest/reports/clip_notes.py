"""What the audio front door noted of clips, as one line per kind for the verdict's reasons."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

# By a part of the note that only its kind has. Cut clips have a line of their own.
_KINDS: Mapping[str, str] = {
    "declares no length": "clips declare no length: a cut at their end would not show",
    "after its end": "clips have bytes behind their end, which are not heard",
    "named .": "clips are named as another format than they have",
    "peak ": "clips go beyond full scale",
    "padded ": "clips are too short for the model and were padded",
}


class ClipNotes:
    """Counts clips by kind of note."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()

    def add(self, clips: Iterable[Mapping[str, Any]]) -> None:
        """Takes the clips of one sample record."""
        for clip in clips:
            if clip["note"]:
                self._counts.update(kind for kind in _KINDS if kind in clip["note"])

    def lines(self) -> list[str]:
        """`3 clips declare no length: …`, in a fixed order."""
        return [
            f"{self._counts[kind]} {said}" for kind, said in _KINDS.items() if self._counts[kind]
        ]
