"""The words of the pages in English and Chinese; a reader switches, nothing is fetched."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

Language = Literal["en", "zh"]
LANGUAGES: tuple[Language, ...] = get_args(Language)
DEFAULT_LANGUAGE: Language = "en"
PARTS = ("perf.", "compare.")
"""How the keys of texts start that only some pages have."""

_TAGS: Mapping[Language, str] = {"en": "en", "zh": "zh-Hans"}


def all_texts() -> dict[Language, dict[str, str]]:
    """Every text by language and key; `{name}` stands for what is filled in."""
    folder = Path(__file__).parent
    return {
        language: json.loads((folder / f"texts_{language}.json").read_text(encoding="utf-8"))
        for language in LANGUAGES
    }


@dataclass(frozen=True, slots=True)
class Texts:
    """The words of one page, as it is before a script of the page changes the language.

    Attributes:
        language: Of the words in the markup.
        is_fixed: The reader's browser does not choose the language, only the reader does.
        by_language: As of `all_texts`.
    """

    language: Language
    is_fixed: bool
    by_language: Mapping[Language, Mapping[str, str]]

    @property
    def tag(self) -> str:
        """The language as HTML names it."""
        return _TAGS[self.language]

    def of_page(self, parts: Collection[str] = ()) -> dict[Language, dict[str, str]]:
        """Every text that a page may show, by language and key.

        Args:
            parts: Those of `PARTS` that the page has.
        """
        left_out = tuple(part for part in PARTS if part not in parts)
        return {
            language: {key: text for key, text in texts.items() if not key.startswith(left_out)}
            for language, texts in self.by_language.items()
        }

    def word(self, key: str, **values: Any) -> str:
        """A text with its values."""
        text = self.by_language[self.language][key]
        for name, value in values.items():
            text = text.replace(f"{{{name}}}", str(value))
        return text


def make_texts(language: Language | None = None) -> Texts:
    """The texts of a page.

    Args:
        language: Of the page; without it the page is in English until the reader's browser
            says that it prefers Chinese.
    """
    return Texts(language or DEFAULT_LANGUAGE, language is not None, all_texts())
