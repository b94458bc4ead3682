"""What the terminal shows at the end of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from termcolor import colored

from modeltest.errors import one_line
from modeltest.records import Aggregate, ValidityName
from modeltest.reports.summary import Summary
from modeltest.reports.terminal import cells, fold, shortened, table

COLUMNS = 80
"""What a terminal shows at least, and what tables keep to."""

_COLOURS: Mapping[ValidityName, str] = {
    "VALID": "green",
    "LIMITED": "yellow",
    "INVALID": "red",
    "INCOMPLETE": "red",
}
_ACCURACY = (
    "subset", "total", "correct", "acc %", "95 % interval", "acc_legacy %", "unparsed", "errors",
)  # fmt: skip
_TRANSCRIPTS = (
    "subset", "total", "wer %", "95 % interval", "exact %", "answered %", "unparsed", "errors",
)  # fmt: skip
_TWO_LINES = {
    "acc_legacy %": ("legacy", "acc %"),
    "answered %": ("answered", "%"),
    "95 % interval": ("95 %", "interval"),
    "unparsed": ("un-", "parsed"),
}
_SHORTEST_NAME = 12


def verdict_line(summary: Summary, columns: int | None = None) -> str:
    """The first line of the output: the word, coloured on a terminal, and the reasons.

    Args:
        summary: The run's figures.
        columns: Cells of a line; None leaves it one line.
    """
    verdict = summary.verdict
    return coloured_verdict(verdict.validity, "; ".join(verdict.reasons), columns)


def coloured_verdict(validity: ValidityName, reasons: str, columns: int | None) -> str:
    """A verdict's word, coloured on a terminal, and reasons, which may be anything."""
    line = f"{validity}: {one_line(reasons)}" if reasons else validity
    word = colored(validity, _COLOURS[validity], attrs=["bold"])
    return word + fold(line, columns, "  ").removeprefix(validity)


def result_table(summary: Summary) -> str:
    """The figures with their intervals, unparsed and failed samples, per subset; 80 columns."""
    subsets = list(dict.fromkeys(each.subset for each in summary.rates))
    names, rows = result_cells(summary, subsets)
    headers = list(zip(*(_TWO_LINES.get(name, ("", name)) for name in names), strict=True))
    shown = [[one_line(cell).replace(" – ", "–") for cell in row] for row in rows]
    others = table([line[1:] for line in headers], [row[1:] for row in shown], (), 0)
    room = COLUMNS - 1 - max(map(cells, others.splitlines()))
    shown = [[shortened(row[0], max(room, _SHORTEST_NAME)), *row[1:]] for row in shown]
    return table(headers, shown, {0}, COLUMNS)


def result_cells(summary: Summary, subsets: Sequence[str]) -> tuple[Sequence[str], list[list[str]]]:
    """Headers, and a row for each of the subsets that has figures; names are as recorded."""
    of_labels = summary.confusion is not None
    row_of = _accuracy if of_labels else _transcript
    rows = [row for subset in subsets if (row := row_of(summary, subset))]
    return (_ACCURACY if of_labels else _TRANSCRIPTS), rows


def method_line(summary: Summary) -> str:
    """How the headline's interval was computed, and the means over the classes."""
    _, headline = summary.headline
    method = headline.ci_method if headline else ""
    parts = [f"95 % interval: {method}"] if method else []
    parts += [f"{each.metric} {percent(each)} %" for each in of_all_classes(summary)]
    return ", ".join(parts)


def of_all_classes(summary: Summary) -> list[Aggregate]:
    """Macro-F1 and balanced accuracy, where there are classes."""
    return [each for each in summary.class_figures if each.subset == "all"]


def _accuracy(summary: Summary, subset: str) -> list[str]:
    accuracy = summary.value(subset, "acc")
    legacy = summary.value(subset, "acc_legacy")
    counted = accuracy or legacy
    if counted is None:
        return []
    return [
        subset, str(counted.total), str(counted.correct), percent(accuracy), interval(accuracy),
        percent(legacy), str(counted.unparsed), str(counted.errors),
    ]  # fmt: skip


def _transcript(summary: Summary, subset: str) -> list[str]:
    rate, exact = summary.value(subset, "wer"), summary.value(subset, "exact_match")
    answered = summary.value(subset, "answered_rate")
    if answered is None:
        return []
    return [
        subset, str(answered.total), percent(rate), interval(rate), percent(exact),
        percent(answered), str(answered.unparsed), str(answered.errors),
    ]  # fmt: skip


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
