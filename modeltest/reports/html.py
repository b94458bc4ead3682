"""`report.html`: one file to read in a browser, nothing fetched from anywhere."""

from __future__ import annotations

import base64
import functools
import hashlib
import html
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modeltest.errors import one_line
from modeltest.metrics.class_figures import OF_CLASS
from modeltest.metrics.confusion import Confusion
from modeltest.records import Aggregate
from modeltest.reports.console import interval, percent
from modeltest.reports.page.clips import EmbeddedClip, embedded_elements
from modeltest.reports.page.sample_columns import SampleColumns, sample_columns
from modeltest.reports.page.texts import Language, Texts, make_texts
from modeltest.reports.page.timing import timing_plot
from modeltest.reports.published import published_values
from modeltest.reports.summary import Summary
from modeltest.runlog.run_log import RunContent

if TYPE_CHECKING:
    import jinja2

_FOLDER = Path(__file__).parent
_PAGE_FOLDER = _FOLDER / "page"
TABLE_SCRIPTS = ("frame.js", "view.js", "table.js", "detail.js", "player.js")
"""What a page with a table of samples needs besides the script that describes its columns."""
_WORDS_OF: Mapping[str, tuple[str, ...]] = {
    "performance": ("perf.",),
    "comparison": ("compare.", "perf."),
}
_HEAT_STEPS = 6
_BAR_LEFT, _BAR_WIDTH = 10, 100
_STATUSES = {"c": "correct", "w": "wrong", "u": "unparsed", "e": "error", "a": "answered"}


def report_html(
    run: RunContent,
    summary: Summary,
    language: Language | None = None,
    *,
    clips_are_embedded: bool = False,
) -> bytes:
    """The page: verdict, figures, confusion matrix, slices, every sample, times, manifest.

    Args:
        run: What is reported.
        summary: Its figures.
        language: See `modeltest.reports.page.texts.make_texts`.
        clips_are_embedded: `with_clips` adds the clips, the page links no files.
    """
    return framed_page(
        "report.html.j2",
        verdict=summary.verdict,
        manifest=run.manifest,
        texts=make_texts(language),
        scripts=(*TABLE_SCRIPTS, "samples.js"),
        run=run,
        percent=percent,
        interval=interval,
        points=_points,
        published=published_values(run.manifest),
        timing=timing_plot(run),
        **_figures(summary),
        **_samples(sample_columns(run, clips_are_embedded)),
    )


def _figures(summary: Summary) -> dict[str, Any]:
    """What the template names of a run's figures."""
    name, headline = summary.headline
    rates, metrics = summary.rates, _metrics(summary.rates)
    rows = [
        {metric: summary.value(subset, metric) for metric in metrics}
        | {"subset": subset, "bar": _bar(summary.value(subset, name))}
        for subset in dict.fromkeys(aggregate.subset for aggregate in rates)
    ]
    return {
        "summary": summary,
        "headline": {"name": name, "aggregate": headline},
        "confusion": _confusion_table(summary.confusion) if summary.confusion else None,
        "rows": rows,
        "metrics": metrics,
        "has_forest": any(row["bar"] for row in rows),
        "classes": _class_rows(summary),
        "class_metrics": OF_CLASS,
        "speed": summary.speed,
    }


def _samples(columns: SampleColumns) -> dict[str, Any]:
    """What it names of the samples; the columns, of a long run larger than all else, go here."""
    return {
        "slices": columns.subsets,
        "statuses": _status_counts(columns),
        "num_shown": columns.num_shown,
        "samples_json": script_json(columns.content),
    }


def with_clips(page: bytes, clips: Iterable[EmbeddedClip]) -> Iterator[bytes]:
    """A page that was made for embedded clips, and the clips, in parts; one is held at a time."""
    head, end, tail = page.rpartition(b"</body>")
    yield head
    yield from embedded_elements(clips)
    yield end + tail


def framed_page(
    template: str,
    *,
    texts: Texts,
    scripts: Sequence[str] = ("frame.js",),
    filters: Mapping[str, Callable[..., Any]] | None = None,
    **values: Any,
) -> bytes:
    """A page in the frame of all pages: verdict first, switches, manifest last.

    Args:
        template: File below the folder of reports.
        texts: The page's words.
        scripts: Files below `page/`, in this order.
        filters: Further filters of the template.
        values: What else the template names; the frame itself names `verdict` and `manifest`
            where a template does not say otherwise.
    """
    style = (_PAGE_FOLDER / "page.css").read_text(encoding="utf-8")
    script = "".join(
        (_PAGE_FOLDER / name).read_text(encoding="utf-8") for name in (*scripts, "start.js")
    )
    page = _template(template, json_lines=_json_lines, **(filters or {})).render(
        **_words(texts),
        **values,
        texts=texts,
        texts_json=script_json(texts.of_page(_WORDS_OF.get(Path(template).parts[0], ()))),
        style=_markup(style),
        script=_markup(script),
        policy=_policy(style, script),
    )
    return page.encode("utf-8", errors="backslashreplace")


@functools.cache  # compiling a page takes as long as all other reports of a small run together
def _template(name: str, **filters: Callable[..., Any]) -> jinja2.Template:
    """A page's template: it escapes what it is given, and fails on what it is not given."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FOLDER),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
        finalize=_shown,
    )
    environment.filters.update(filters)
    return environment.get_template(name)


def _shown(value: Any) -> Any:
    is_text = isinstance(value, str) and not hasattr(value, "__html__")
    return one_line(value) if is_text else value


def _json_lines(manifest: Mapping[str, Any]) -> list[str]:
    return json.dumps(manifest, indent=2, sort_keys=True, ensure_ascii=True).split("\n")


def _words(texts: Texts) -> dict[str, Callable[..., Any]]:
    """What templates call for words that a script of the page can put into another language."""

    def marked(key: str, counted: bool = False, **values: Any) -> Any:
        mark = f' data-t="{_escaped(key)}"'
        if values:
            mark += f' data-v="{_escaped(json.dumps(values))}"'
        return _markup(mark + (" data-counted" if counted else ""))

    def t(key: str, **values: Any) -> Any:
        word = _escaped(texts.word(key, **values))
        return _markup(f"<span{marked(key, **values)}>{word}</span>")

    def label(key: str, **values: Any) -> Any:
        mark = f' data-l="{_escaped(key)}"'
        if values:
            mark += f' data-v="{_escaped(json.dumps(values))}"'
        return _markup(f'{mark} aria-label="{_escaped(texts.word(key, **values))}"')

    return {"t": t, "marked": marked, "label": label, "word": texts.word}


def _escaped(text: str) -> str:
    return html.escape(one_line(text))


def _markup(text: str) -> Any:
    """Text that a template must not escape: our own or escaped, never as a run brought it."""
    from markupsafe import Markup

    return Markup(text)


def _policy(style: str, script: str) -> str:
    """What a browser lets the page do: its own style and script, playing clips, nothing else."""
    return (
        f"default-src 'none'; style-src '{_source(style)}'; script-src '{_source(script)}'; "
        "img-src data:; media-src 'self' file: blob:; base-uri 'none'; form-action 'none'"
    )


def _source(text: str) -> str:
    digest = hashlib.sha256(text.encode("utf-8")).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"


def script_json(value: Any) -> Any:
    """JSON inside a script element; nothing in it can end the element or start another."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return _markup(text)


def _metrics(aggregates: list[Aggregate]) -> list[str]:
    return list(dict.fromkeys(aggregate.metric for aggregate in aggregates))


def _bar(found: Aggregate | None) -> dict[str, str] | None:
    """A share with its interval on a line from 0 to 1, in the units of the picture."""
    if found is None or found.value is None or found.ci_low is None or found.ci_high is None:
        return None
    places = {"low": found.ci_low, "at": found.value, "high": found.ci_high}
    if not all(0 <= place <= 1 for place in places.values()):
        return None
    return {name: f"{_BAR_LEFT + _BAR_WIDTH * place:.1f}" for name, place in places.items()}


def _confusion_table(confusion: Confusion) -> dict[str, Any]:
    rows = []
    for number, (label, counts) in enumerate(zip(confusion.labels, confusion.counts, strict=True)):
        total = sum(counts)
        cells = [
            {
                "count": count,
                "kind": "hit" if place == number else "miss",
                "heat": -(-count * _HEAT_STEPS // total) if total else 0,
            }
            for place, count in enumerate(counts)
        ]
        recall = f"{100 * counts[number] / total:.1f} %" if total else ""
        rows.append(
            {"label": label, "number": number, "cells": cells, "total": total, "recall": recall}
        )
    return {"labels": confusion.labels, "columns": confusion.columns, "rows": rows}


def _class_rows(summary: Summary) -> list[dict[str, Any]]:
    subsets = dict.fromkeys(each.subset for each in summary.class_figures if each.subset != "all")
    return [
        {metric: summary.value(subset, metric) for metric in OF_CLASS}
        | {"label": subset.removeprefix("class=")}
        for subset in subsets
    ]


def _points(share: float) -> str:
    """A difference of shares in percentage points."""
    return f"{100 * share:+.2f}"


def _status_counts(columns: SampleColumns) -> list[dict[str, Any]]:
    codes = columns.content["status"]
    counts = [
        {"code": code, "key": key, "count": codes.count(code)} for code, key in _STATUSES.items()
    ]
    missed = sum(codes.count(code) for code in "wue")
    return [{"code": "wue", "key": "missed", "count": missed}, *(c for c in counts if c["count"])]
