"""Whether sample records speak of the labels and slices of their run's task."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from modeltest.errors import DataError, one_line


class TaskFit:
    """What the records of a run may name; asked for every record of a long log."""

    def __init__(self, manifest: Mapping[str, Any]) -> None:
        """Takes labels and slices from an accuracy run's manifest."""
        labels = manifest["labels"]
        self._labels = frozenset(labels)
        self._is_free_text = not labels
        self._keys = frozenset((*manifest["task"]["settings"]["slices"]["by"], "age"))
        # Most records name the same few subsets.
        self._subsets = {f"class={label}" for label in labels}

    def check(self, record: Mapping[str, Any], segment: Path) -> None:
        """Makes sure that a record fits.

        Raises:
            DataError: It does not, so it is no record of this run.
        """
        fits = self._is_free_text or self._labels.issuperset(_labels_in(record))
        if not (fits and all(map(self._is_subset, record["subsets"]))):
            raise DataError(
                one_line(f"{segment}: sample {record['sample_id'][:100]} ")
                + "has labels or slices that the manifest's task has not; the log or the "
                "manifest was edited"
            )

    def _is_subset(self, name: str) -> bool:
        if name in self._subsets:
            return True
        key, equals, _ = name.partition("=")
        if not equals or key not in self._keys:
            return False
        self._subsets.add(name)
        return True


def _labels_in(record: Mapping[str, Any]) -> list[str]:
    answers = [value for value in record["score"].values() if type(value) is str]
    return [record["truth"], *answers]
