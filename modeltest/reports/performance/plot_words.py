"""The words of a plot: drawn in English, and remembered as texts of the page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from modeltest.reports.page.texts import Texts


@dataclass(frozen=True, slots=True)
class Phrase:
    """A text of the page.

    Attributes:
        key: Of the text.
        values: What is filled in.
    """

    key: str
    values: Mapping[str, str] = field(default_factory=dict)


class PlotWords:
    """What a drawing calls for its words.

    Args:
        english: The texts in the language of the PNG files.

    Attributes:
        phrases: Which text of the page the words are that were drawn.
    """

    def __init__(self, english: Texts) -> None:
        self._english = english
        self.phrases: dict[str, Phrase] = {}

    def __call__(self, key: str, **values: str) -> str:
        """The words to draw."""
        words = self._english.word(key, **values)
        self.phrases[words] = Phrase(key, values)
        return words
