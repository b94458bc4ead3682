"""modeltest from Python, for notebooks and scripts: evaluate, measure, look at a run.

`evaluate` and `measure` do what `modeltest eval` and `modeltest perf` do, by the same code. They
print nothing on standard output, take no signals, and say how far they are on standard error.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from modeltest.cli import evaluate as evaluate_command
from modeltest.cli import perf as perf_command
from modeltest.cli.keywords import parse
from modeltest.reports.run import Run, open_run
from modeltest.runlog.find import find_run
from modeltest.runlog.layout import MANIFEST_NAME

__all__ = ["Run", "evaluate", "load_run", "measure"]
BATCH_SIZES = (1, 2, 4, 8, 16)


def evaluate(task: str | Path, model: str | Path, **options: Any) -> Run:
    """The accuracy of a model on a task: `modeltest eval TASK MODEL`.

    Args:
        task: A task's name or .yaml file.
        model: A model's name or .yaml file.
        **options: The options of `modeltest eval --help`, `-` written `_`: `limit=20`,
            `certified=True`, `set={"task.prompt_format": "chat"}`. None and False leave one out.

    Returns:
        The run, whatever its verdict.

    Raises:
        TypeError: There is no such option.
        ModeltestError: Something to mend; what was evaluated before is kept, and `resume=` goes
            on from there, as it does after a KeyboardInterrupt.
    """
    parsed = parse(("evaluate", "eval"), evaluate_command, [task, model], options)
    evaluate_command.take_one_rank(parsed)
    with evaluate_command.prepared(parsed) as (job, work):
        return _done(job.place.run_folder, work)


def measure(
    model: str | Path | None = None,
    *,
    batch_sizes: int | Iterable[int] = BATCH_SIZES,
    **options: Any,
) -> Run:
    """The speed of a model, batch size by batch size: `modeltest perf MODEL`.

    Args:
        model: A model's name or .yaml file; the embedded model when left out.
        batch_sizes: One or several; of a service, numbers of requests in flight.
        **options: The other options of `modeltest perf --help`, as for `evaluate`.

    Returns:
        The run, whatever its verdict.

    Raises:
        TypeError: There is no such option.
        ModeltestError: Something to mend; what was measured before is kept, and `resume=` goes
            on from there, as it does after a KeyboardInterrupt.
    """
    words = [] if model is None else [model]
    keywords = {"batch_sizes": batch_sizes, **options}
    parsed = parse(("measure", "perf"), perf_command, words, keywords, {"bs": "batch_sizes"})
    with perf_command.prepared(parsed) as (job, work):
        return _done(job.place.run_folder, work)


def load_run(run: str | Path, output_dir: str | Path = "outputs") -> Run:
    """A run from its log; every line's checksum is verified, and nothing is written.

    Args:
        run: Its folder, its id, or `last`.
        output_dir: Where ids and `last` are looked for.

    Raises:
        UsageError: There is no such run.
        DataError: Its manifest or log cannot be read.
    """
    return open_run(find_run(str(run), Path(output_dir)))


def _done(folder: Path, work: Callable[[], object]) -> Run:
    try:
        work()
    except BaseException:
        if (folder / MANIFEST_NAME).is_file():
            print(f"modeltest: to continue: the same call with resume={str(folder)!r}",
                  file=sys.stderr)  # fmt: skip
        raise
    return open_run(folder)
