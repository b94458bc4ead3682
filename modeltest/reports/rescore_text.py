"""A run's replies by several answer rules, as the terminal shows them."""

from __future__ import annotations

from collections.abc import Sequence

from modeltest.errors import one_line
from modeltest.reports.console import COLUMNS, verdict_line
from modeltest.reports.published import published_lines
from modeltest.reports.rescore import Rescored
from modeltest.reports.summary import Summary
from modeltest.reports.terminal import shortened, table
from modeltest.runlog.run_log import RunContent

_LONGEST_REPLY = 40
_NOTHING_PUBLISHED = "published for this prompt: no figure is known (docs/protocols.md has others')"


def rescored_text(
    run: RunContent, summary: Summary, rescored: Rescored, rule: str | None = None
) -> str:
    """The verdict, a row per rule, where rules disagree, and what was published.

    Args:
        run: For the replies of the samples that are shown.
        summary: Of the run.
        rescored: Its replies by all rules.
        rule: Show this rule and ours alone, with the samples that it reads otherwise.
    """
    chosen = [each.name for each in rescored.rules if rule in {None, each.name}]
    names = list(dict.fromkeys((rescored.ours, *chosen)))
    parts = [verdict_line(summary), _figures_table(rescored, names), _legend(rescored, names)]
    parts.append(_pairs_table(rescored) if rule is None else _examples(run, rescored, rule))
    parts.append(published_lines(run.manifest) or _NOTHING_PUBLISHED)
    return "\n\n".join(part for part in parts if part)


def _figures_table(rescored: Rescored, names: Sequence[str]) -> str:
    rows = []
    for name in names:
        count = rescored.counts[name]
        accuracy, low, high = rescored.share(name)
        rows.append(
            [
                f"{name} *" if name == rescored.task_rule else name,
                _percent(accuracy),
                "-" if low is None or high is None else f"{_percent(low)} – {_percent(high)}",
                *map(str, (count.unparsed, count.differing[rescored.ours], count.won, count.lost)),
            ]
        )
    headers = ("rule", "acc %", "95 % interval", "unparsed", "differs", "won", "lost")
    return table([headers], rows, {0}, COLUMNS)


def _legend(rescored: Rescored, names: Sequence[str]) -> str:
    ours = rescored.ours
    lines = [
        f"{rescored.total} samples, {rescored.errors} failed; *: the rule of the run's task",
        "intervals: Wilson's; they take the clips of one speaker as independent",
        f"differs: answers that are not {ours}'s",
        f"won: right by this rule and not by {ours}; lost: the reverse",
    ]
    if rescored.num_read_otherwise:
        lines.append(
            f"warning: {rescored.num_read_otherwise} answers of the run were read by another "
            f"version of {rescored.task_rule}"
        )
    for rule in rescored.rules:
        own = rescored.own_share(rule.name)
        if rule.name in names and own is not None and own != rescored.share(rule.name)[0]:
            lines += [
                f"{rule.name}: {_percent(own)} % as {rule.tool} itself counts: it finds no label",
                "in some clips' paths and takes an unparsed reply for right there",
            ]
    return "\n".join(lines)


def _pairs_table(rescored: Rescored) -> str:
    """How many answers differ between any two rules; each pair stands once."""
    names = [rule.name for rule in rescored.rules]
    rows = []
    for place, name in enumerate(names[:-1]):
        counts = [rescored.counts[name].differing[other] for other in names[place + 1 :]]
        rows.append([name, *[""] * place, *map(str, counts)])
    shown = table([("", *names[1:])], rows, {0}, COLUMNS)
    return f"answers that differ between two rules\n{shown}"


def _examples(run: RunContent, rescored: Rescored, rule: str) -> str:
    count = rescored.counts[rule]
    if not count.examples:
        return f"{rule} reads every reply as {rescored.ours} does"
    readers = {each.name: each.read for each in rescored.rules}
    rows = []
    for place in count.examples:
        record = run.samples[place]
        reply = record["response"]["text"]
        answers = [readers[name](reply) or "-" for name in (rescored.ours, rule)]
        names = [one_line(each) for each in (record["sample_id"], record["truth"], *answers)]
        # Before its escapes, which make a reply of any length longer.
        rows.append([*names, shortened(one_line(reply[: _LONGEST_REPLY + 1]), _LONGEST_REPLY)])
    num_differing = count.differing[rescored.ours]
    head = f"{num_differing} replies that {rule} reads otherwise"
    if num_differing > len(rows):
        head += f", the first {len(rows)}"
    headers = ("sample", "truth", rescored.ours, rule, "reply")
    return f"{head}\n{table([headers], rows, set(range(len(headers))), None)}"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.2f}"
