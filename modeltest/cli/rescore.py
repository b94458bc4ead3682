"""`modeltest rescore`: a run's stored replies by the answer rules of other tools."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modeltest.errors import DataError, StorageError, UsageError, one_line

if TYPE_CHECKING:
    from collections.abc import Callable

    from modeltest.reports.rescore import Rule
    from modeltest.runlog.run_log import RunContent
    from modeltest.tasks.answers import Choice
    from modeltest.tasks.rules import ReadAnswer

HELP = "score a run's stored replies by other tools' answer rules; asks no model"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command line."""
    parser.add_argument("run", metavar="RUN", help="a run's folder or id, or 'last'")
    parser.add_argument(
        "--rule",
        metavar="NAME",
        help="show this rule and the replies that it reads otherwise: original, aisbench, lmms, "
        "ultraeval, official, helm or letter_or_name (default: all rules)",
    )
    parser.add_argument(
        "--output-dir", type=Path, default=Path("outputs"), metavar="DIR", help="where runs are"
    )


def execute(options: argparse.Namespace) -> int:
    """Prints the table and writes it beside the run's reports, which stay as they are.

    Returns:
        The exit code that the run's verdict stands for.
    """
    from modeltest.cli.outcome import EXIT_CODES
    from modeltest.reports.console import path_lines
    from modeltest.reports.rescore import rescore, write_tables
    from modeltest.reports.rescore_text import rescored_text
    from modeltest.reports.summary import summarise
    from modeltest.runlog.find import find_run
    from modeltest.runlog.run_log import read_run
    from modeltest.tasks.rules import OURS

    _refuse_unknown(options.rule)
    folder = find_run(options.run, options.output_dir)
    run = read_run(folder)
    choices = _choices(run)
    summary = summarise(run)
    task_rule = str(run.manifest["task"]["settings"].get("answer", OURS))
    rescored = rescore(run, _rules(choices), task_rule)
    try:
        paths = write_tables(run, summary, rescored)
    except OSError as error:
        raise StorageError(
            f"the tables of {folder} cannot be written ({error}); mend the cause and try again"
        ) from error
    print(f"{rescored_text(run, summary, rescored, options.rule)}\n\n{path_lines(paths)}")
    return EXIT_CODES[summary.verdict.validity]


def _refuse_unknown(rule: str | None) -> None:
    from modeltest.tasks.rules import RULES

    if rule is not None and rule not in RULES:
        raise UsageError(f"--rule {one_line(rule)}: unknown rule; known: {', '.join(RULES)}")


def _rules(choices: tuple[Choice, ...]) -> list[Rule]:
    from modeltest.reports.rescore import Rule
    from modeltest.tasks.rules import RULES

    return [
        Rule(
            name=name,
            tool=rule.tool,
            read=_with(choices, rule.read),
            own_truth=_with(choices, rule.own_truth) if rule.own_truth else None,
        )
        for name, rule in RULES.items()
    ]


def _with(choices: tuple[Choice, ...], read: ReadAnswer) -> Callable[[str], str | None]:
    return lambda text: read(text, choices)


def _choices(run: RunContent) -> tuple[Choice, ...]:
    """The options of the run's task, of whose labels the log speaks.

    Raises:
        UsageError: The task has none.
        DataError: They are not what a task can have, or not those of the run's labels.
    """
    from modeltest.settings.schema import ChoiceSettings
    from modeltest.tasks.answers import Choice

    labels = run.manifest["labels"]
    if not labels:
        name = one_line(run.manifest["task"]["name"])
        raise UsageError(
            f"{run.folder}: is a run of {name}, a transcription task without options; give a run "
            "of a multiple-choice task"
        )
    items: Any = run.manifest["task"]["settings"].get("choices", [])
    try:
        found = [ChoiceSettings(**item) for item in items]
    except (TypeError, ValueError) as error:
        raise DataError(
            f"{run.folder}: task.settings.choices of its manifest cannot be used; is it a run?"
        ) from error
    if [choice.label for choice in found] != labels:
        raise DataError(f"{run.folder}: its choices are not those of its labels; is it a run?")
    return tuple(Choice(each.letter, each.label, each.text, each.words) for each in found)
