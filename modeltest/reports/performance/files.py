"""Writes all reports of a sweep; each file is whole or absent."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from modeltest.errors import DataError
from modeltest.reports.index import append_row
from modeltest.reports.page.texts import Language
from modeltest.reports.performance.csv_files import (
    atb_benchmark_csv,
    benchmark_csv,
    performance_csv,
    sweep_index_row,
)
from modeltest.reports.performance.html import performance_html
from modeltest.reports.performance.plots import sweep_plots
from modeltest.reports.performance.summary import SweepSummary
from modeltest.runlog.atomic import write_atomically
from modeltest.runlog.layout import refuse_links
from modeltest.runlog.manifest import performance_place_from, refuse_moved
from modeltest.runlog.sweep_log import SweepContent


def write_performance_reports(
    content: SweepContent, summary: SweepSummary, language: Language | None = None
) -> dict[str, Path]:
    """Writes the reports of a sweep from its manifest and log.

    Args:
        content: What is reported.
        summary: Its figures.
        language: Of report.html; None leaves it to the reader's browser.

    Returns:
        What a user looks for, and where it is.

    Raises:
        OSError: The disk refused; files that were there before are intact.
        DataError: The run was taken out of its output folder, or a folder is a link.
    """
    place = performance_place_from(content.manifest, content.folder)
    refuse_moved(place, content.folder)
    folder, model = place.run_folder, place.model
    refuse_links(place.output_dir, folder)
    plots = sweep_plots(content, summary)
    files = {
        "benchmark": (folder / "benchmark.csv", benchmark_csv(summary)),
        "performance": (folder / f"{model}_performance.csv", performance_csv(summary)),
        **{name: (folder / f"{name}.png", plot.png) for name, plot in plots.items()},
        "report": (folder / "report.html", performance_html(content, summary, plots, language)),
    }
    for path, data in files.values():
        write_atomically(path, data)
    return {name: path for name, (path, _) in files.items()}


def write_atb_benchmark(summary: SweepSummary, path: Path) -> None:
    """Writes the ten-column benchmark file, in place of an older one as the original does.

    Raises:
        OSError: The disk refused.
        DataError: The path is a link or a folder.
    """
    if path.is_symlink() or path.is_dir():
        raise DataError(f"ATB_LLM_BENCHMARK_FILEPATH: {path} is a symbolic link or a folder")
    write_atomically(path, atb_benchmark_csv(summary))


def add_sweep_to_index(
    content: SweepContent,
    summary: SweepSummary,
    enter: Callable[[Path, Mapping[str, Any]], None] = append_row,
) -> None:
    """Enters the sweep's line in `index.csv`: `append_row`, or `correct_row` after a rebuild.

    Raises:
        OSError: The disk refused; the run and its reports are whole without it.
    """
    place = performance_place_from(content.manifest, content.folder)
    path = str(place.run_folder.relative_to(place.output_dir))
    row = sweep_index_row(content, summary, path)
    enter(place.index_file, row)
