"""The files of a comparison of two performance runs."""

from __future__ import annotations

from pathlib import Path

from modeltest.errors import one_line
from modeltest.reports.comparison.folder import FIGURES, PAGE, new_folder, write_files
from modeltest.reports.comparison.sweeps import Comparison
from modeltest.reports.comparison.sweeps_html import Sweep, sweeps_html
from modeltest.reports.csv_files import csv_bytes
from modeltest.reports.page.texts import Language

POINT_COLUMNS = (
    "run_a", "run_b", "verdict", "reasons", "tolerance", "batch_size", "mode", "a_tokens_per_s",
    "b_tokens_per_s", "ratio", "ci_low", "ci_high", "outcome", "reason",
)  # fmt: skip


def write_sweep_comparison(
    comparison: Comparison,
    sweeps: tuple[Sweep, Sweep],
    output_dir: Path,
    language: Language | None = None,
) -> dict[str, Path]:
    """Writes a comparison's files into a new folder below the output folder.

    Args:
        comparison: Of the sweeps.
        sweeps: A and B.
        output_dir: The folder above everything.
        language: See `modeltest.reports.page.texts.make_texts`.

    Returns:
        What a user looks for, and where it is.

    Raises:
        OSError: The disk refused.
        DataError: A folder is a link.
    """
    first, second = (content.manifest["place"]["run_id"] for content, _ in sweeps)
    folder = new_folder((first, second), output_dir)
    files = {
        "figures": (FIGURES, points_csv(comparison, (first, second))),
        "page": (PAGE, sweeps_html(comparison, sweeps, folder, language)),
    }
    return write_files(folder, files)


def points_csv(comparison: Comparison, run_ids: tuple[str, str]) -> bytes:
    """`comparison.csv`: one row per point that both sweeps planned; the tolerance is a share.

    Args:
        comparison: Of the sweeps.
        run_ids: Of A and B.
    """
    shared = {
        "run_a": run_ids[0],
        "run_b": run_ids[1],
        "verdict": comparison.outcome,
        "reasons": one_line("; ".join(comparison.withheld)),
        "tolerance": comparison.tolerance,
    }
    rows = []
    for point in comparison.points:
        low, high = point.interval or (None, None)
        measured = {
            "batch_size": point.batch_size,
            "mode": point.mode,
            "a_tokens_per_s": point.first,
            "b_tokens_per_s": point.second,
            "ratio": point.ratio,
            "ci_low": low,
            "ci_high": high,
            "outcome": point.outcome,
            "reason": point.reason,
        }
        rows.append({**shared, **measured})
    return csv_bytes(POINT_COLUMNS, rows)
