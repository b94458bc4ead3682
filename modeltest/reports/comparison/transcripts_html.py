"""`compare.html` of two runs of a transcription task: where their replies are apart."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from modeltest.reports.comparison.agreement import withheld
from modeltest.reports.comparison.changed_columns import changed_columns, folders_of_both
from modeltest.reports.comparison.shown_run import ShownRun, report_address
from modeltest.reports.comparison.transcripts import TranscriptComparison, figure_texts
from modeltest.reports.html import TABLE_SCRIPTS, framed_page, script_json
from modeltest.reports.page.cells import number
from modeltest.reports.page.texts import Language, make_texts
from modeltest.runlog.run_log import RunContent


def transcripts_html(
    comparison: TranscriptComparison,
    runs: tuple[RunContent, RunContent],
    folder: Path,
    language: Language | None = None,
) -> bytes:
    """The page.

    Args:
        comparison: Of the runs.
        runs: A and B.
        folder: Where the page will be; clips and the runs' own pages are named from there.
        language: See `modeltest.reports.page.texts.make_texts`.
    """
    folder = folder.resolve()
    return framed_page(
        "comparison/transcripts.html.j2",
        outcome=f"accuracy_gap {comparison.gap:.6g}",
        withheld=withheld(zip("AB", comparison.verdicts, strict=True)),
        sentence=None,
        runs=[
            _shown(name, comparison, place, run, folder)
            for place, (name, run) in enumerate(zip("AB", runs, strict=True))
        ],
        different=comparison.differing,
        unknown=(),
        texts=make_texts(language),
        scripts=(*TABLE_SCRIPTS, "flips.js"),
        task=runs[0].manifest["task"]["name"],
        gap=comparison.gap,
        num_pairs=comparison.num_pairs,
        num_planned=comparison.num_planned,
        num_equal=comparison.num_equal,
        num_failed=comparison.num_failed,
        metrics=figure_texts(comparison),
        **_apart(comparison, folders_of_both(runs, folder)),
    )


def _apart(comparison: TranscriptComparison, folders: Sequence[str]) -> dict[str, Any]:
    pairs = comparison.apart
    columns = changed_columns(pairs, {"gap": [number(pair.gap) for pair in pairs]}, (), folders)
    return {
        "num_apart": len(pairs),
        "num_shown": columns.num_shown,
        "slices": columns.slices,
        "samples_json": script_json(columns.content),
    }


def _shown(
    name: str, comparison: TranscriptComparison, place: int, run: RunContent, folder: Path
) -> ShownRun:
    manifest = run.manifest
    where = (manifest["device"]["name"], manifest["place"].get("dtype"))
    return ShownRun(
        name=name,
        run_id=manifest["place"]["run_id"],
        model=manifest["model"]["name"],
        place=", ".join(str(part) for part in where),
        verdict=comparison.verdicts[place],
        report=report_address(run.folder, folder),
        manifest=manifest,
    )
