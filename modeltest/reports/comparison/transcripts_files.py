"""The files of a comparison of two runs of a transcription task."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from modeltest.reports.comparison.folder import FIGURES, PAGE, new_folder, write_files
from modeltest.reports.comparison.transcripts import TranscriptComparison
from modeltest.reports.comparison.transcripts_html import transcripts_html
from modeltest.reports.csv_files import csv_bytes
from modeltest.reports.page.texts import Language
from modeltest.runlog.run_log import RunContent

FIGURE_COLUMNS = (
    "run_a", "run_b", "validity_a", "validity_b", "figure", "value", "ci_low", "ci_high",
    "ci_method", "total",
)  # fmt: skip


def write_transcript_comparison(
    comparison: TranscriptComparison,
    runs: tuple[RunContent, RunContent],
    output_dir: Path,
    language: Language | None = None,
) -> dict[str, Path]:
    """Writes a comparison's files into a new folder below the output folder.

    Args:
        comparison: Of the runs.
        runs: A and B.
        output_dir: The folder above everything.
        language: See `modeltest.reports.page.texts.make_texts`.

    Returns:
        What a user looks for, and where it is.

    Raises:
        OSError: The disk refused.
        DataError: A folder is a link.
    """
    first, second = (run.manifest["place"]["run_id"] for run in runs)
    folder = new_folder((first, second), output_dir)
    files = {
        "figures": (FIGURES, agreement_csv(comparison, (first, second))),
        "page": (PAGE, transcripts_html(comparison, runs, folder, language)),
    }
    return write_files(folder, files)


def agreement_csv(comparison: TranscriptComparison, run_ids: tuple[str, str]) -> bytes:
    """`comparison.csv`: one row per figure; shares are fractions, not percentages.

    Args:
        comparison: Of the runs.
        run_ids: Of A and B.
    """
    first, second = comparison.verdicts
    shared = {
        "run_a": run_ids[0],
        "run_b": run_ids[1],
        "validity_a": first.validity,
        "validity_b": second.validity,
    }
    return csv_bytes(FIGURE_COLUMNS, ({**shared, **row} for row in _figures(comparison)))


def _figures(comparison: TranscriptComparison) -> Iterator[Mapping[str, Any]]:
    for name, value in (
        ("accuracy_gap", comparison.gap),
        ("same_words", comparison.num_equal),
        ("one_failed", comparison.num_failed),
    ):
        yield {"figure": name, "value": value, "total": comparison.num_pairs}
    for metric, *pair in comparison.figures:
        for name, each in zip("ab", pair, strict=True):
            if each is not None:
                yield {
                    "figure": f"{metric}_{name}",
                    "value": each.value,
                    "ci_low": each.ci_low,
                    "ci_high": each.ci_high,
                    "ci_method": each.ci_method,
                    "total": each.total,
                }
