"""Which class was taken for which."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

UNPARSED = "unparsed"
ERROR = "error"


@dataclass(frozen=True, slots=True)
class Confusion:
    """How often each truth got each answer.

    Attributes:
        labels: The truths, one row each, in the order of the task.
        counts: Shape `(len(labels), len(columns))`; a row's sum is its number of samples.
    """

    labels: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]

    @property
    def columns(self) -> tuple[str, ...]:
        """The answers: `labels`, then `unparsed` and `error`."""
        return (*self.labels, UNPARSED, ERROR)


def confusion(
    truths: Sequence[str],
    answers: Sequence[str | None],
    errors: Sequence[bool],
    labels: Sequence[str],
) -> Confusion:
    """Counts the answers of each truth.

    Args:
        truths: Right label of every sample.
        answers: Answer of every sample; None is unparsed.
        errors: `errors[i]` says that sample i failed, whatever its answer.
        labels: Every label, in the order of rows and columns.

    Raises:
        ValueError: The sequences differ in length, or a truth or answer is no label.
    """
    rows = {label: index for index, label in enumerate(labels)}
    unparsed, error = len(rows), len(rows) + 1
    counts = [[0] * (len(rows) + 2) for _ in rows]
    for truth, answer, failed in zip(truths, answers, errors, strict=True):
        unknown = {label for label in (truth, answer) if label is not None} - rows.keys()
        if unknown:
            raise ValueError(f"not a label of the task: {min(unknown)!r}")
        column = unparsed if answer is None else rows[answer]
        counts[rows[truth]][error if failed else column] += 1
    return Confusion(tuple(labels), tuple(map(tuple, counts)))
