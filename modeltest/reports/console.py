"""What the terminal shows at the end of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from tabulate import tabulate
from termcolor import colored

from modeltest.errors import one_line
from modeltest.records import Aggregate, ValidityName
from modeltest.reports.summary import Summary

_COLOURS: Mapping[ValidityName, str] = {
    "VALID": "green",
    "LIMITED": "yellow",
    "INVALID": "red",
    "INCOMPLETE": "red",
}


def verdict_line(summary: Summary) -> str:
    """The first line of the output: the word, coloured on a terminal, and the reasons."""
    verdict = summary.verdict
    word = colored(verdict.validity, _COLOURS[verdict.validity], attrs=["bold"])
    reasons = one_line("; ".join(verdict.reasons))
    return f"{word}: {reasons}" if reasons else word


def result_table(summary: Summary) -> str:
    """The figures with their intervals, unparsed and failed samples, per subset."""
    subsets = list(dict.fromkeys(each.subset for each in summary.rates))
    rows = _transcripts if summary.confusion is None else _accuracy
    return rows(summary, subsets)


def _accuracy(summary: Summary, subsets: Sequence[str]) -> str:
    rows = []
    for subset in subsets:
        accuracy = summary.value(subset, "acc")
        legacy = summary.value(subset, "acc_legacy")
        counted = accuracy or legacy
        if counted is None:
            continue
        rows.append(
            [
                one_line(subset), counted.total, counted.correct, percent(accuracy),
                interval(accuracy), percent(legacy), counted.unparsed, counted.errors,
            ]
        )  # fmt: skip
    headers = ["subset", "total", "correct", "acc %", "95 % interval", "acc_legacy %",
               "unparsed", "errors"]  # fmt: skip
    return _table(headers, rows)


def _transcripts(summary: Summary, subsets: Sequence[str]) -> str:
    rows = []
    for subset in subsets:
        rate, exact = summary.value(subset, "wer"), summary.value(subset, "exact_match")
        answered = summary.value(subset, "answered_rate")
        if answered is None:
            continue
        rows.append(
            [
                one_line(subset), answered.total, percent(rate), interval(rate), percent(exact),
                percent(answered), answered.unparsed, answered.errors,
            ]
        )  # fmt: skip
    headers = ["subset", "total", "wer %", "95 % interval", "exact %", "answered %", "unparsed",
               "errors"]  # fmt: skip
    return _table(headers, rows)


def _table(headers: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    align = ("left", *["right"] * (len(headers) - 1))
    return tabulate(rows, headers, tablefmt="simple", disable_numparse=True, colalign=align)


def speed_line(summary: Summary) -> str:
    """How fast the evaluation was, in one line."""
    parts = []
    for metric, form in (
        ("load_s", "loaded in {:.1f} s"),
        ("eval_s", "evaluated in {:.1f} s"),
        ("samples_per_s", "{:.2f} samples/s"),
        ("audio_seconds_per_s", "{:.1f} s of audio per second"),
    ):
        aggregate = summary.value("all", metric)
        if aggregate is not None and aggregate.value is not None:
            parts.append(form.format(aggregate.value))
    return ", ".join(parts)


def path_lines(paths: Mapping[str, Path]) -> str:
    """Where the files are, relative to the working directory where that is shorter."""
    here = Path.cwd()
    shown = {
        name: path.relative_to(here) if path.is_relative_to(here) else path
        for name, path in paths.items()
    }
    width = max(len(name) for name in shown)
    return "\n".join(f"{name:<{width}}  {one_line(str(path))}" for name, path in shown.items())


def percent(aggregate: Aggregate | None) -> str:
    """A fraction in percent, or a dash where nothing was measured."""
    if aggregate is None or aggregate.value is None:
        return "-"
    return f"{100 * aggregate.value:.2f}"


def interval(aggregate: Aggregate | None) -> str:
    """The interval in percent, or a dash."""
    if aggregate is None or aggregate.ci_low is None or aggregate.ci_high is None:
        return "-"
    return f"{100 * aggregate.ci_low:.2f} – {100 * aggregate.ci_high:.2f}"
