"""Accuracies that others published for a run's prompt and rule, as reports show them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from modeltest.errors import one_line

NOT_A_GATE = "published for this prompt; measured elsewhere, no gate: no verdict depends on it"


@dataclass(frozen=True, slots=True)
class Published:
    """What somebody published for the run's task, as its settings recorded it.

    Attributes:
        value: Accuracy, a fraction.
        model: Whose it is.
        source: Where it was published.
        note: What else a reader has to know, or empty.
    """

    value: float
    model: str
    source: str
    note: str

    @property
    def percent(self) -> str:
        """The accuracy in percent, with two decimals like the run's own."""
        return f"{100 * self.value:.2f}"

    @property
    def where(self) -> str:
        """The source, with the note behind it."""
        return f"{self.source} ({self.note})" if self.note else self.source


def published_values(manifest: Mapping[str, Any]) -> tuple[Published, ...]:
    """What the manifest of an accuracy run has; older ones have nothing."""
    found = manifest["task"]["settings"].get("published", ())
    return tuple(
        Published(each["value"], each["model"], each["source"], each.get("note", ""))
        for each in found
    )


def published_lines(manifest: Mapping[str, Any]) -> str:
    """The figures for a terminal, a line each below what they are; empty where there are none."""
    return "\n".join(_lines(published_values(manifest)))


def _lines(published: tuple[Published, ...]) -> Iterator[str]:
    if published:
        yield f"{NOT_A_GATE}:"
    for each in published:
        yield f"  {one_line(f'{each.percent} %  {each.model}: {each.where}')}"
