"""The files of a comparison of two accuracy runs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from modeltest.reports.comparison.accuracy import AccuracyComparison, SubsetComparison
from modeltest.reports.comparison.accuracy_html import accuracy_html
from modeltest.reports.comparison.folder import FIGURES, PAGE, new_folder, write_files
from modeltest.reports.comparison.pairs import ChangedSample
from modeltest.reports.comparison.wording import reason
from modeltest.reports.csv_files import csv_bytes, csv_parts
from modeltest.reports.page.texts import Language
from modeltest.runlog.run_log import RunContent

FIGURE_COLUMNS = (
    "run_a", "run_b", "verdict", "reasons", "margin", "subset", "figure", "value", "ci_low",
    "ci_high", "ci_method", "total",
)  # fmt: skip
FLIP_COLUMNS = (
    "sample_id", "audio", "truth", "change", "answer_a", "answer_b", "reply_a", "reply_b",
    "error_a", "error_b", "option_margin_a", "option_margin_b", "verdict",
)  # fmt: skip


def write_comparison(
    comparison: AccuracyComparison,
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
    folder = new_folder((comparison.first.run_id, comparison.second.run_id), output_dir)
    files: dict[str, tuple[str, bytes | Iterable[bytes]]] = {
        "figures": (FIGURES, figures_csv(comparison)),
        "flips": ("flips.csv", flips_csv(comparison)),
        "page": (PAGE, accuracy_html(comparison, runs, folder, language)),
    }
    return write_files(folder, files)


def figures_csv(comparison: AccuracyComparison) -> bytes:
    """`comparison.csv`: one row per figure; shares are fractions, not percentages."""
    shared = {
        "run_a": comparison.first.run_id,
        "run_b": comparison.second.run_id,
        "verdict": comparison.outcome,
        "reasons": reason(comparison),
        "margin": comparison.margin,
    }
    rows = ({**shared, **row} for row in _figures(comparison))
    return csv_bytes(FIGURE_COLUMNS, rows)


def flips_csv(comparison: AccuracyComparison) -> Iterator[bytes]:
    """`flips.csv`: what the runs do not say alike, regressions first; all that is known of it."""
    known = {key for sample in comparison.changed for key in sample.metadata}
    columns = (*FLIP_COLUMNS, *sorted(known - {*FLIP_COLUMNS}))
    rows = (
        {**sample.metadata, **_flip(sample), "verdict": comparison.outcome}
        for sample in comparison.changed
    )
    return csv_parts(columns, rows)


def _figures(comparison: AccuracyComparison) -> Iterator[dict[str, Any]]:
    for each in (comparison.overall, *comparison.subsets):
        for row in _subset_figures(each):
            yield {"subset": each.subset, "total": each.total, **row}
    whole = {"subset": comparison.overall.subset, "total": comparison.overall.total}
    for name, side in (("a", comparison.first), ("b", comparison.second)):
        yield {**whole, "figure": f"unparsed_{name}", "value": side.unparsed}
        yield {**whole, "figure": f"errors_{name}", "value": side.errors}
    others = sum(not sample.is_flip for sample in comparison.changed)
    yield {**whole, "figure": "other_answers", "value": others}
    yield {**whole, "figure": "same_replies", "value": comparison.num_same_replies}
    yield {**whole, "figure": "discordance", "value": comparison.discordance}
    yield {**whole, "figure": "design_effect", "value": comparison.design_effect}
    for needed in comparison.needed:
        for name, value in (
            ("if_equal", needed.if_equal),
            ("if_as_seen", needed.if_as_seen),
        ):
            figure = f"samples_needed_power_{needed.power:g}_{name}"
            yield {**whole, "figure": figure, "value": value}


def _subset_figures(each: SubsetComparison) -> Iterator[dict[str, Any]]:
    for name, value, spread in zip("ab", each.accuracies, each.spreads, strict=True):
        yield {
            "figure": f"accuracy_{name}",
            "value": value,
            "ci_low": spread.low,
            "ci_high": spread.high,
            "ci_method": spread.method,
        }
    yield {
        "figure": "difference",
        "value": each.difference,
        "ci_low": each.interval.low,
        "ci_high": each.interval.high,
        "ci_method": each.interval.method,
    }
    yield {"figure": "regressions", "value": each.num_regressions}
    yield {"figure": "improvements", "value": each.num_improvements}
    yield {"figure": "p_mcnemar", "value": each.p_value}
    if each.p_adjusted is not None:
        yield {"figure": "p_mcnemar_holm", "value": each.p_adjusted}


def _flip(sample: ChangedSample) -> Mapping[str, Any]:
    row: dict[str, Any] = {
        "sample_id": sample.sample_id,
        "audio": "|".join(clip["name"] for clip in sample.clips),
        "truth": sample.truth,
        "change": sample.change,
    }
    for name, reply in (("a", sample.first), ("b", sample.second)):
        row |= {
            f"answer_{name}": reply.answer,
            f"reply_{name}": reply.text,
            f"error_{name}": reply.error,
            f"option_margin_{name}": reply.option_margin,
        }
    return row
