"""What each kind of `compare.html` shows of both runs; `frame.html.j2` says what else it names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modeltest.records import Verdict
from modeltest.reports.page.clips import address_of

_REPORT = "report.html"


@dataclass(frozen=True, slots=True)
class ShownRun:
    """One of the two runs.

    Attributes:
        name: A or B.
        run_id: As the manifest has it.
        model: Name of its settings.
        place: Where it ran, for a person.
        verdict: Its own.
        report: Address of its page, percent-encoded, or empty.
        manifest: The whole of it.
    """

    name: str
    run_id: str
    model: str
    place: str
    verdict: Verdict
    report: str
    manifest: Mapping[str, Any]


def report_address(run_folder: Path, page_folder: Path) -> str:
    """Where a run's own page is from the page's folder; empty if it has none."""
    path = run_folder.resolve() / _REPORT
    return address_of(path, page_folder) if path.is_file() else ""
