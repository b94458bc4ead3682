"""From what the data says (a file name, a folder, a word) to a choice's label and metadata."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from modeltest.settings.schema import TaskSettings

NAME_DOES_NOT_MATCH = "no label: its name does not match label.pattern"

_SEPARATORS = re.compile(r"[\s_-]+")


@dataclass(frozen=True, slots=True)
class NameFacts:
    """What a file name tells.

    Attributes:
        word: The label as the name spells it.
        metadata: The other named groups of the pattern.
    """

    word: str
    metadata: Mapping[str, str]


class LabelReader:
    """Reads labels and metadata as a task's settings say.

    Attributes:
        labels: Every label that can be right, in the order of the choices.
    """

    def __init__(self, settings: TaskSettings) -> None:
        self.labels = tuple(choice.label for choice in settings.choices)
        self._pattern = re.compile(settings.label.pattern)
        self._rename = settings.label.rename
        texts = {_folded(choice.text): choice.label for choice in settings.choices}
        self._by_word = texts | {_folded(label): label for label in self.labels}

    def choice(self, word: str) -> str | None:
        """Finds the choice that a word of the data means.

        Args:
            word: A label as the data spells it. Upper case, spaces, hyphens and underscores
                make no difference.

        Returns:
            The choice's label, or None where it is none of them.
        """
        return self._by_word.get(_folded(self.renamed("label", word)))

    def renamed(self, key: str, value: str) -> str:
        """What the settings call a value of a metadata key."""
        return self._rename.get(key, {}).get(value, value)

    def read_stem(self, stem: str) -> NameFacts | None:
        """Reads a file's name by the settings' pattern.

        Args:
            stem: The file's name without folder and ending.

        Returns:
            What it tells, or None where the pattern does not match all of it.
        """
        match = self._pattern.fullmatch(stem)
        if match is None:
            return None
        groups = {key: value for key, value in match.groupdict().items() if value is not None}
        word = groups.pop("label", "")
        return NameFacts(word, self.named(groups))

    def named(self, metadata: Mapping[str, str]) -> dict[str, str]:
        """Metadata with its values as the settings call them, empty ones left out."""
        return {key: self.renamed(key, value) for key, value in metadata.items() if value}

    def not_a_choice(self, word: str) -> str:
        """Says that a word is none of the choices."""
        return f"no label: {word!r} is none of {', '.join(self.labels)}"


def metadata_text(value: object) -> str:
    """A value of JSON or of a data set as metadata: `27.0` is `27`, what is unknown is empty."""
    if isinstance(value, float):
        return f"{value:.15g}" if math.isfinite(value) else ""
    return str(value).strip() if isinstance(value, (str, int)) else ""


def _folded(word: str) -> str:
    return _SEPARATORS.sub("", word).casefold()
