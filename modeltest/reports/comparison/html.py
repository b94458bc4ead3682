"""`compare.html`: one file to read in a browser, nothing fetched from anywhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modeltest.records import Verdict
from modeltest.reports.comparison.agreement import Difference
from modeltest.reports.comparison.wording import Sentence
from modeltest.reports.html import framed_page
from modeltest.reports.page.clips import address_of
from modeltest.reports.page.texts import Language, make_texts

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


def comparison_page(  # noqa: PLR0913  (what every page of two runs shows)
    template: str,
    *,
    outcome: str,
    withheld: Sequence[str],
    sentence: Sentence | None,
    runs: Sequence[ShownRun],
    different: Sequence[Difference],
    unknown: Sequence[str] = (),
    language: Language | None = None,
    scripts: Sequence[str] = ("frame.js",),
    **values: Any,
) -> bytes:
    """The page of two runs: the verdict, both of them, what differs, both manifests.

    Args:
        template: File below the folder of reports, with what the kind of runs has of its own.
        outcome: The verdict's word, or the figure that stands in its place.
        withheld: Why there is none whatever the figures are.
        sentence: What the word says; None where the word stands alone.
        runs: A and B.
        different: What may differ and does.
        unknown: What could not be compared.
        language: See `modeltest.reports.page.texts.make_texts`.
        scripts: As of `framed_page`.
        values: What else the template names.
    """
    return framed_page(
        template,
        texts=make_texts(language),
        scripts=scripts,
        outcome=outcome,
        withheld=withheld,
        sentence=sentence,
        runs=runs,
        different=different,
        unknown=unknown,
        **values,
    )
