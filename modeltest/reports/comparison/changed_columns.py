"""The samples of which two runs do not say the same, as columns for the table of their page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from modeltest.errors import one_line
from modeltest.reports.comparison.pairs import CHANGES, Change, ChangedSample, Record, Reply
from modeltest.reports.page.cells import (
    MAX_NAME,
    SliceNames,
    TextBudget,
    clip_cell,
    cut,
    label_or_text,
    left_out,
    number,
)
from modeltest.reports.page.clips import clip_folders
from modeltest.reports.page.sample_columns import MAX_SAMPLES
from modeltest.runlog.run_log import RunContent

_CODES: Mapping[Change, str] = {change: change[0] for change in CHANGES}
_KEYS: Mapping[Change, str] = {
    "regression": "compare.change.regression",
    "improvement": "compare.change.improvement",
    "other_answer": "compare.change.other",
}


class SampleOfBoth(Protocol):
    """A sample with what both runs say of it."""

    @property
    def index(self) -> int:
        """Its place in the task's order."""

    @property
    def sample_id(self) -> str:
        """Its name."""

    @property
    def clips(self) -> tuple[Record, ...]:
        """Records of its clips."""

    @property
    def truth(self) -> str:
        """The right label, or the reference."""

    @property
    def subsets(self) -> tuple[str, ...]:
        """Those of the task's that it belongs to."""

    @property
    def first(self) -> Reply:
        """What A says."""

    @property
    def second(self) -> Reply:
        """What B says."""


@dataclass(frozen=True, slots=True)
class ChangedColumns:
    """The samples of a page.

    Attributes:
        content: Columns of equal length, those of both runs below `sides`, and what they share;
            `page/flips.js` reads it.
        slices: Names of the slices, as `content["subsets"]` counts them.
        num_shown: How many samples there are.
    """

    content: dict[str, Any]
    slices: list[str]
    num_shown: int


def changed_columns(
    samples: Sequence[SampleOfBoth],
    own: Mapping[str, Sequence[Any]],
    labels: Sequence[str],
    folders: Sequence[str],
) -> ChangedColumns:
    """All samples in their order, or of very many the first `MAX_SAMPLES`.

    Texts are cut so that all of them have about `MAX_TEXT_BYTES`, and are fit for one line.

    Args:
        samples: Of a comparison.
        own: Further columns of the same length, by name.
        labels: Of the task.
        folders: Where the clips are.
    """
    shown = samples[:MAX_SAMPLES]
    budget = TextBudget()
    for sample in shown:
        for reply in (sample.first, sample.second):
            budget.add(reply.text)
            budget.add(reply.error)
    longest, places = budget.longest, {label: place for place, label in enumerate(labels)}
    slices = SliceNames()
    content = {
        **{name: list(column[:MAX_SAMPLES]) for name, column in own.items()},
        "labels": [one_line(label) for label in labels],
        "folders": list(folders),
        "embedded": False,
        "index": [sample.index for sample in shown],
        "id": [cut(sample.sample_id, MAX_NAME) for sample in shown],
        "truth": [label_or_text(sample.truth, places, MAX_NAME) for sample in shown],
        "clips": [[clip_cell(clip) for clip in sample.clips] for sample in shown],
        "subsets": [slices.places(sample.subsets) for sample in shown],
        "sides": [
            _side([sample.first for sample in shown], places, longest),
            _side([sample.second for sample in shown], places, longest),
        ],
    }
    return ChangedColumns({**content, "slices": slices.names}, slices.names, len(shown))


def change_codes(changed: Sequence[ChangedSample]) -> list[str]:
    """What became of each sample, a letter as `page/flips.js` knows it."""
    return [_CODES[sample.change] for sample in changed]


def folders_of_both(runs: Sequence[RunContent], folder: Path) -> list[str]:
    """Where a page in the folder finds the clips of two runs, likeliest first."""
    found = (
        address for run in runs for address in clip_folders(run.manifest, (run.folder, folder))
    )
    return list(dict.fromkeys(found))


def change_counts(changed: Sequence[ChangedSample]) -> list[dict[str, Any]]:
    """How many samples changed in which way, for the filter of the table."""
    found = [sample.change for sample in changed[:MAX_SAMPLES]]
    return [
        {
            "code": code,
            "key": _KEYS[change],
            "count": found.count(change),
        }
        for change, code in _CODES.items()
    ]


def _side(replies: Sequence[Reply], places: Mapping[str, int], longest: int) -> dict[str, Any]:
    return {
        "answer": [
            None if reply.answer is None else label_or_text(reply.answer, places, MAX_NAME)
            for reply in replies
        ],
        "text": [cut(reply.text, longest) for reply in replies],
        "left_out": [left_out(reply.text, longest) for reply in replies],
        "error": [cut(reply.error, longest) for reply in replies],
        "margin": [number(reply.option_margin) for reply in replies],
        "logits": [[number(logit) for logit in reply.option_logits] for reply in replies],
    }
