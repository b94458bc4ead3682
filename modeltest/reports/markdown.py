"""`modeltest report RUN --md`: a run as a block of GitHub-flavoured Markdown.

What comes from data, replies or settings is shown as it is only where no reading of Markdown
could make more of it; else as code, in which nothing is a link, a mention or HTML.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from modeltest.errors import one_line
from modeltest.records import Verdict
from modeltest.reports.command_line import begun_with, joined, without_option
from modeltest.reports.console import of_all_classes, percent, result_cells
from modeltest.reports.headline import Headline, accuracy_headline, sweep_headline
from modeltest.reports.performance.console import point_cells, point_headers
from modeltest.reports.performance.summary import SweepSummary
from modeltest.reports.published import NOT_A_GATE, published_values
from modeltest.reports.summary import Summary
from modeltest.runlog.run_log import RunContent
from modeltest.runlog.sweep_log import SweepContent

# Letters and digits of any script, and marks that mean nothing where they stand. What looks like
# a list's number, a link or a reference to an issue (GH-1) is not plain.
_PLAIN = re.compile(
    r"(?!\d+[.)](?: |$))(?:[^\W_]|[ ,;%()'–/]|[.:](?= |$)|(?<=\d)\.(?=\d)|(?<=\w)=(?=\w))*"
)
_COMMIT = re.compile(r"(?=\d*[a-f])[0-9a-f]{7,}", re.IGNORECASE)
_SPELLED = re.compile(r"[`|\\&<>\n]")
_LONGEST = 500
_PACKAGES = ("torch", "torch_npu", "transformers")


def accuracy_markdown(run: RunContent, summary: Summary) -> str:
    """The block of a run of `modeltest eval`."""
    manifest, place = run.manifest, run.manifest["place"]
    names = manifest["task"]["name"], manifest["model"]["name"]
    samples = f"{summary.num_done} of {manifest['data']['num_available']} samples"
    means = [f"{each.metric} {percent(each)} %" for each in of_all_classes(summary)]
    subsets = dict.fromkeys(each.subset for each in summary.rates)
    headers, rows = result_cells(
        summary, [name for name in subsets if name == "all" or name.startswith("class=")]
    )
    facts = {
        "task": f"{shown(names[0])}, version {shown(manifest['task']['settings']['version'])}",
        "model": shown(names[1]),
        "settings": f"{shown(place['dtype'])}, batch size {place['batch_size']}, attention "
        f"{shown(manifest['model']['settings']['attention'])}, tp {place['tp']}, dp "
        f"{manifest['dp']}",
        "device": f"{shown(place['device_label'])} {shown(manifest['device']['name'])}",
    }
    parts = [
        _heading(names),
        *_verdict(summary.verdict),
        f"{_headline(accuracy_headline(summary))}; {', '.join([samples, *means])}.",
        _table(headers, rows),
        *_published(manifest),
        *_origin(manifest, facts),
    ]
    return "\n\n".join(parts)


def sweep_markdown(content: SweepContent, summary: SweepSummary) -> str:
    """The block of a run of `modeltest perf`."""
    manifest, sweep = content.manifest, content.manifest["sweep"]
    facts = {
        "model": shown(manifest["model"]["name"]),
        "settings": f"{shown(summary.dtype)}, attention {shown(manifest['attention'])}, engine "
        f"{shown(manifest['engine'])}, replies of at most {sweep['max_new_tokens']} tokens",
        "device": f"{shown(summary.device)} {shown(summary.device_name)}",
    }
    headline = sweep_headline(summary)
    where = f", best valid point: {shown(headline.where)}" if headline.where else ""
    parts = [
        _heading(("speed", manifest["model"]["name"])),
        *_verdict(summary.verdict),
        f"{_headline(headline)}{where}.",
        _table(point_headers(summary), [point_cells(row) for row in summary.rows]),
        *_origin(manifest, facts),
    ]
    return "\n\n".join(parts)


def shown(value: object) -> str:
    """Text in which nothing is markup: as it is where that is plain to see, else as code."""
    text = one_line(str(value))
    text = text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
    if text and _PLAIN.fullmatch(text) and not _COMMIT.search(text) and text.strip() == text:
        return text
    return as_code(text)


def as_code(text: str) -> str:
    """A line as code, fit for a cell of a table, too."""
    if text.strip() in {"", "-"}:
        return "–"
    if not _SPELLED.search(text):
        return f"`{text}`"
    # A backtick cannot be escaped in code, nor a bar in a cell without changing code elsewhere.
    safe = "".join(c if c.isalnum() or c == " " else f"&#{ord(c)};" for c in text)
    return f"<code>{safe}</code>"


def _heading(names: Iterable[str]) -> str:
    return f"### {' · '.join(map(shown, names))}"


def _verdict(verdict: Verdict) -> list[str]:
    lines = [f"- {shown(reason)}" for reason in verdict.reasons]
    return [f"**{verdict.validity}**", *(["\n".join(lines)] if lines else [])]


def _headline(headline: Headline) -> str:
    if headline.value is None:
        return (
            f"**{headline.metric}**: {'not measured' if headline.in_percent else 'no valid point'}"
        )
    value = f"{headline.value_in_words}{' %' if headline.in_percent else ''}"
    text = f"**{headline.metric}: {value}**"
    if headline.ci_low is None:
        return text
    return f"{text} (95 % interval {headline.interval_in_words}, {shown(headline.ci_method)})"


def _table(headers: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [headers, ["---", *["---:"] * (len(headers) - 1)], *(map(shown, row) for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _published(manifest: Mapping[str, Any]) -> list[str]:
    rows = [(each.percent, each.model, each.where) for each in published_values(manifest)]
    head = f"{NOT_A_GATE[0].upper()}{NOT_A_GATE[1:]}."
    return [head, _table(("acc %", "model", "source"), rows)] if rows else []


def _origin(manifest: Mapping[str, Any], facts: Mapping[str, str]) -> list[str]:
    """What ran on what, and how to do it again."""
    place = manifest["place"]
    facts = {
        **facts,
        "software": _software(manifest),
        "run": f"`{place['run_id']}`, {as_code(one_line(str(manifest['started'])))}",
    }
    rows = ["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in facts.items())]
    command = joined(without_option(begun_with(manifest), "--output-dir"))
    if not command:
        return ["\n".join(rows)]
    longest = max((len(run) for run in re.findall("`+", command)), default=0)
    fence = "`" * max(3, longest + 1)
    return ["\n".join(rows), f"To reproduce:\n\n{fence}bash\n{command}\n{fence}"]


def _software(manifest: Mapping[str, Any]) -> str:
    tool = manifest["tool"]
    commit = f" ({as_code(one_line(tool['commit']))})" if tool.get("commit") else ""
    changed = " with local changes" if tool.get("dirty") else ""
    parts = [f"modeltest {shown(tool['version'])}{commit}{changed}"]
    packages = manifest.get("packages")
    versions = packages if isinstance(packages, dict) else {}
    parts += [f"{shown(name)} {shown(versions[name])}" for name in _PACKAGES if versions.get(name)]
    if manifest.get("python"):
        parts.append(f"Python {shown(manifest['python'])}")
    return ", ".join(parts)
