"""What a user chooses of a page; without a choice every rebuild gives the same bytes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from modeltest.reports.page.clips import EmbeddedClip
from modeltest.reports.page.texts import Language


@dataclass(frozen=True, slots=True)
class PageChoice:
    """How report.html is made.

    Attributes:
        language: Of the page; None leaves it to the reader's browser.
        clips: What goes into the page; None links the files where they are.
    """

    language: Language | None = None
    clips: Iterable[EmbeddedClip] | None = None
