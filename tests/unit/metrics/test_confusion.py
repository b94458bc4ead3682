"""The confusion table."""

from __future__ import annotations

import pytest

from modeltest.metrics.confusion import confusion

LABELS = ("cough", "sigh")


def test_counts() -> None:
    table = confusion(
        truths=["cough", "cough", "cough", "sigh", "sigh", "cough"],
        answers=["cough", "sigh", None, "sigh", None, "cough"],
        errors=[False, False, False, False, True, True],
        labels=LABELS,
    )
    assert table.labels == LABELS
    assert table.columns == ("cough", "sigh", "unparsed", "error")
    assert table.counts == ((1, 1, 1, 1), (0, 1, 0, 1))


def test_nothing_to_count() -> None:
    assert confusion([], [], [], LABELS).counts == ((0, 0, 0, 0), (0, 0, 0, 0))


def test_unknown_labels_are_refused() -> None:
    with pytest.raises(ValueError, match="'yawn'"):
        confusion(["yawn"], ["cough"], [False], LABELS)
    with pytest.raises(ValueError, match="'yawn'"):
        confusion(["cough"], ["yawn"], [False], LABELS)
    with pytest.raises(ValueError, match="zip"):
        confusion(["cough"], [], [False], LABELS)
