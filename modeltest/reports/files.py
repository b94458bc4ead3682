"""Writes all reports of a run; each file is whole or absent."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from modeltest.reports.csv_files import (
    NUM_OF_A_PAIR,
    confusion_csv,
    index_row,
    pairs_csv,
    result_csv,
    samples_csv,
    slices_csv,
)
from modeltest.reports.html import report_html, with_clips
from modeltest.reports.index import append_row
from modeltest.reports.page.choice import PageChoice
from modeltest.reports.summary import Summary
from modeltest.reports.text import output_text
from modeltest.runlog.atomic import write_atomically
from modeltest.runlog.layout import refuse_links
from modeltest.runlog.manifest import place_from, refuse_moved
from modeltest.runlog.run_log import RunContent


def write_reports(
    run: RunContent, summary: Summary, choice: PageChoice | None = None
) -> dict[str, Path]:
    """Writes the reports of a run from its manifest and log.

    Args:
        run: What is reported.
        summary: Its figures.
        choice: Of report.html; None is the page that every rebuild gives.

    Returns:
        What a user looks for, and where it is.

    Raises:
        OSError: The disk refused; files that were there before are intact.
        DataError: The run was taken out of its output folder, or a folder is a link.
    """
    place = place_from(run.manifest, run.folder)
    files: dict[str, tuple[Path, bytes | Iterable[bytes]]] = {
        "results": (place.result_file("result"), result_csv(run, summary)),
    }
    if summary.confusion:
        files["confusion"] = (place.result_file("confusion"), confusion_csv(summary))
    if summary.slice_differences:
        files["slices"] = (place.result_file("slices"), slices_csv(run, summary))
    files["samples"] = (place.result_file("samples"), samples_csv(run, summary))
    if run.samples and len(run.samples[0]["clips"]) == NUM_OF_A_PAIR:
        files["pairs"] = (place.result_file("pairs"), pairs_csv(run, summary))
    files["replies"] = (place.output_file, output_text(run, summary))
    files["report"] = (
        place.run_folder / "report.html",
        _page(run, summary, choice or PageChoice()),
    )
    refuse_moved(place, run.folder)
    for path, _ in files.values():
        refuse_links(place.output_dir, path.parent)
    for path, content in files.values():
        write_atomically(path, content)
    return {name: path for name, (path, _) in files.items()}


def _page(run: RunContent, summary: Summary, choice: PageChoice) -> bytes | Iterable[bytes]:
    if choice.clips is None:
        return report_html(run, summary, choice.language)
    page = report_html(run, summary, choice.language, clips_are_embedded=True)
    return with_clips(page, choice.clips)


def add_to_index(
    run: RunContent, summary: Summary, enter: Callable[[Path, Mapping[str, Any]], None] = append_row
) -> None:
    """Enters the run's line in `index.csv`: `append_row`, or `correct_row` after a rebuild."""
    place = place_from(run.manifest, run.folder)
    row = index_row(run, summary, str(place.run_folder.relative_to(place.output_dir)))
    enter(place.index_file, row)
