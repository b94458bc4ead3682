"""The stored replies of a run, scored by several answer rules: figures and tables.

A function of the run's manifest and log and of the rules, which the caller brings.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from modeltest.metrics.intervals import wilson
from modeltest.reports.csv_files import csv_bytes, csv_parts
from modeltest.reports.summary import Summary
from modeltest.runlog.atomic import write_atomically
from modeltest.runlog.layout import refuse_links
from modeltest.runlog.manifest import place_from, refuse_moved
from modeltest.runlog.run_log import RunContent

MAX_SHOWN = 20
_FIGURE_COLUMNS = (
    "run", "validity", "reasons", "model", "task", "task_version", "rule", "tool", "is_task_rule",
    "acc", "ci_low", "ci_high", "ci_method", "acc_own_counting", "total", "correct", "unparsed",
    "errors", "won", "lost",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Rule:
    """One way to read answers, made ready for the run's options.

    Attributes:
        name: As in a task file.
        tool: Whose it is, for a person.
        read: From a reply to the label of an option, or None.
        own_truth: The label that the tool itself takes from a clip's path, where it counts an
            unparsed reply as right if it finds no label; None for tools that do not.
    """

    name: str
    tool: str
    read: Callable[[str], str | None]
    own_truth: Callable[[str], str | None] | None = None


@dataclass(slots=True)
class RuleCount:
    """What one rule makes of the replies; failed samples are never right and never unparsed.

    Attributes:
        correct: Replies that it finds right.
        unparsed: Replies of which it reads nothing.
        won: Right by it and not by ours.
        lost: Right by ours and not by it.
        own_correct: Right as its tool counts, where that is another way; else None.
        differing: By rule, samples of which the two read different answers.
        examples: Places of the first samples whose answer is not ours.
    """

    correct: int = 0
    unparsed: int = 0
    won: int = 0
    lost: int = 0
    own_correct: int | None = None
    differing: Counter[str] = field(default_factory=Counter)
    examples: list[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Rescored:
    """A run's replies by all rules.

    Attributes:
        rules: In the order of the tables; the first is ours, with which others are compared.
        task_rule: The rule by which the run's task is scored.
        counts: By the rules' names.
        total: Samples in the log.
        errors: Those that failed.
        num_read_otherwise: Answers in the log that the task's rule would not read today.
    """

    rules: tuple[Rule, ...]
    task_rule: str
    counts: Mapping[str, RuleCount]
    total: int
    errors: int
    num_read_otherwise: int

    @property
    def ours(self) -> str:
        """Name of the rule with which others are compared."""
        return self.rules[0].name

    def share(self, name: str) -> tuple[float | None, float | None, float | None]:
        """Accuracy by a rule with its 95 % interval (Wilson's), or Nones without samples."""
        if not self.total:
            return None, None, None
        correct = self.counts[name].correct
        return correct / self.total, *(wilson(correct, self.total) or (None, None))

    def own_share(self, name: str) -> float | None:
        """Accuracy as the rule's tool counts it, where that is another way."""
        own = self.counts[name].own_correct
        return own / self.total if own is not None and self.total else None


def rescore(run: RunContent, rules: Sequence[Rule], task_rule: str) -> Rescored:
    """Reads every stored reply by every rule, in one pass over the log.

    Args:
        run: Of a multiple-choice task.
        rules: Ours first.
        task_rule: The name of the rule by which the task is scored.
    """
    counts = {rule.name: RuleCount() for rule in rules}
    folder = _clip_folder(run.manifest)
    errors = num_read_otherwise = total = 0
    for place, record in enumerate(run.samples):
        answers = _answers(record, rules)
        total += 1
        errors += bool(record["response"]["error"])
        num_read_otherwise += answers.get(task_rule, ...) not in {..., record["score"]["answer"]}
        for rule in rules:
            _count(counts[rule.name], rule.name, answers, record, place)
            _count_as_its_tool(counts[rule.name], rule, answers, record, folder)
    return Rescored(
        rules=tuple(rules),
        task_rule=task_rule,
        counts=counts,
        total=total,
        errors=errors,
        num_read_otherwise=num_read_otherwise,
    )


def _answers(record: Mapping[str, Any], rules: Sequence[Rule]) -> dict[str, str | None]:
    response = record["response"]
    return {rule.name: None if response["error"] else rule.read(response["text"]) for rule in rules}


def _count(
    count: RuleCount,
    name: str,
    answers: Mapping[str, str | None],
    record: Mapping[str, Any],
    place: int,
) -> None:
    answer, ours = answers[name], next(iter(answers.values()))
    is_right, is_ours_right = answer == record["truth"], ours == record["truth"]
    count.correct += is_right
    count.unparsed += answer is None and not record["response"]["error"]
    count.won += is_right and not is_ours_right
    count.lost += is_ours_right and not is_right
    count.differing.update(other for other, read in answers.items() if read != answer)
    if answer != ours and len(count.examples) < MAX_SHOWN:
        count.examples.append(place)


def _count_as_its_tool(
    count: RuleCount,
    rule: Rule,
    answers: Mapping[str, str | None],
    record: Mapping[str, Any],
    folder: str | None,
) -> None:
    if rule.own_truth is None or folder is None:
        return
    path = f"{folder}/{record['clips'][0]['name']}"
    is_right = not record["response"]["error"] and answers[rule.name] == rule.own_truth(path)
    count.own_correct = (count.own_correct or 0) + is_right


def _clip_folder(manifest: Mapping[str, Any]) -> str | None:
    """Where the clips were files; None where they were rows of a table."""
    data = manifest["data"]
    folder, layout = data.get("folder"), str(data.get("layout"))
    is_of_files = layout == "folder" or layout.startswith("release tree")
    return folder if is_of_files and isinstance(folder, str) else None


def write_tables(run: RunContent, summary: Summary, rescored: Rescored) -> dict[str, Path]:
    """Writes `*_rescore.csv` and `*_rescore_samples.csv` beside the run's own reports.

    Returns:
        What a user looks for, and where it is.

    Raises:
        OSError: The disk refused; files that were there before are intact.
        DataError: The run was taken out of its output folder, or a folder is a link.
    """
    place = place_from(run.manifest, run.folder)
    refuse_moved(place, run.folder)
    refuse_links(place.output_dir, place.results_folder)
    figures, samples = place.result_file("rescore"), place.result_file("rescore_samples")
    write_atomically(figures, figures_csv(run, summary, rescored))
    write_atomically(samples, samples_csv(run, summary, rescored.rules))
    return {"rules": figures, "samples": samples}


def figures_csv(run: RunContent, summary: Summary, rescored: Rescored) -> bytes:
    """`*_rescore.csv`: a row per rule; `differs_from_<rule>` counts other answers than its."""
    manifest = run.manifest
    columns = (*_FIGURE_COLUMNS, *(f"differs_from_{rule.name}" for rule in rescored.rules))
    shared = {
        "run": manifest["place"]["run_id"],
        "validity": summary.verdict.validity,
        "reasons": "; ".join(summary.verdict.reasons),
        "model": manifest["model"]["name"],
        "task": manifest["task"]["name"],
        "task_version": manifest["task"]["settings"]["version"],
        "total": rescored.total,
        "errors": rescored.errors,
    }
    return csv_bytes(columns, ({**shared, **_row(rescored, rule)} for rule in rescored.rules))


def _row(rescored: Rescored, rule: Rule) -> dict[str, Any]:
    count = rescored.counts[rule.name]
    accuracy, low, high = rescored.share(rule.name)
    others = {f"differs_from_{other.name}": count.differing[other.name] for other in rescored.rules}
    return {
        "rule": rule.name,
        "tool": rule.tool,
        "is_task_rule": rule.name == rescored.task_rule,
        "acc": accuracy,
        "ci_low": low,
        "ci_high": high,
        "ci_method": "wilson" if low is not None else None,
        "acc_own_counting": rescored.own_share(rule.name),
        "correct": count.correct,
        "unparsed": count.unparsed,
        "won": count.won,
        "lost": count.lost,
        **others,
    }


def samples_csv(run: RunContent, summary: Summary, rules: Sequence[Rule]) -> Iterator[bytes]:
    """`*_rescore_samples.csv`: a row per sample, a column per rule with its answer, in parts."""
    columns = ("sample_id", "truth", "reply", *(rule.name for rule in rules), "error", "validity")
    rows = (
        {
            "sample_id": record["sample_id"],
            "truth": record["truth"],
            "reply": record["response"]["text"],
            **_answers(record, rules),
            "error": record["response"]["error"],
            "validity": summary.verdict.validity,
        }
        for record in run.samples
    )
    return csv_parts(columns, rows)
