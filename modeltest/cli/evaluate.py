"""`modeltest eval`: accuracy of a model on a task."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

from modeltest.cli import tensor_parallel
from modeltest.cli.options import add_model_options, non_negative_int, positive_int
from modeltest.errors import EXIT_OK, UsageError

if TYPE_CHECKING:
    from modeltest.cli.evaluate_plan import Job
    from modeltest.cli.outcome import Outcome

HELP = "evaluate the accuracy of a model on a task"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command line."""
    parser.add_argument("task", metavar="TASK", help="a task's name or .yaml file")
    parser.add_argument("model", metavar="MODEL", help="a model's name or .yaml file")
    add_model_options(parser)
    parser.add_argument(
        "--bs", type=positive_int, metavar="N", help="samples per batch (default: the model file's)"
    )
    parser.add_argument(
        "--tp",
        type=tensor_parallel.number_or_auto,
        choices=(tensor_parallel.AUTO, *tensor_parallel.SIZES),
        help="tensor parallel: one model split over so many devices (or CPU processes), which "
        f"find each other by port MASTER_PORT, or {tensor_parallel.DEFAULT_PORT}; auto: over all "
        "visible devices of the kind that is chosen, 1 on a CPU; 1 if left out, with --resume as "
        "the run was begun",
    )
    parser.add_argument(
        "--dp",
        type=positive_int,
        metavar="N",
        help="data parallel: N processes with a model each, one per device (or N on a CPU); "
        "1 if left out, with --ray all of the cluster's devices",
    )
    parser.add_argument(
        "--ray",
        nargs="?",
        const="auto",
        metavar="ADDRESS",
        help="data parallel on a Ray cluster: the one that $RAY_ADDRESS names, that this host "
        "belongs to, or HOST:PORT; put it behind TASK and MODEL",
    )
    parser.add_argument(
        "--limit",
        type=positive_int,
        metavar="N",
        help="evaluate the first N samples only; the verdict is then LIMITED",
    )
    parser.add_argument("--seed", type=non_negative_int, default=0, metavar="N", help="random seed")
    parser.add_argument(
        "--output-dir", type=Path, default=Path("outputs"), metavar="DIR", help="where results go"
    )
    parser.add_argument(
        "--resume",
        metavar="RUN",
        help="continue an interrupted run: its folder, its id, or 'last'",
    )
    parser.add_argument(
        "--fail-on-error",
        type=_failure_bound,
        metavar="N|F%",
        help="end the run when more than N samples, or F percent of them, failed "
        "(default: run to the end; any failed sample makes the run INVALID either way)",
    )
    parser.add_argument(
        "--stop-at-answer",
        action="store_true",
        help="end a reply that began with an option's letter and name: faster, the same "
        "answers, shorter texts (sets task.stop_at_answer)",
    )
    parser.add_argument(
        "--certified",
        action="store_true",
        help="hash the weights whole, not only their headers (reads every byte once), and take "
        "deterministic operators where the device has them",
    )
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="show the plan, the prompt, the first sample and where results will go; run nothing",
    )


def execute(options: argparse.Namespace) -> int:
    """Evaluates and reports; settings and data are checked before anything is loaded."""
    from modeltest.cli.evaluate_plan import show_first_sample
    from modeltest.cli.outcome import show, show_plan
    from modeltest.cli.resume_command import resumable

    if (code := tensor_parallel.other_role(options)) is not None:
        return code
    with prepared(options) as (job, work):
        show_plan(job.lines)
        if options.dry_run:
            show_first_sample(job)
            return EXIT_OK
        tensor_parallel.announce(job.place.run_folder)
        return resumable(job.place.run_folder, lambda: show(work()))


@contextmanager
def prepared(options: argparse.Namespace) -> Iterator[tuple[Job, Callable[[], Outcome]]]:
    """Checks everything and loads nothing.

    Yields:
        What will be done, and the call that does it and writes the reports. The call raises
        `ModeltestError` for what the user has to mend, a lost device or a full disk.

    Raises:
        ModeltestError: Something the user has to mend.
    """
    from modeltest.audio.workers import DecodeWorkers, workers_for_this_machine
    from modeltest.cli.disk_space import saying_what_to_free
    from modeltest.cli.evaluate_plan import make_job
    from modeltest.cli.evaluate_run import run
    from modeltest.cli.outcome import write_outcome
    from modeltest.cli.progress import make_progress
    from modeltest.runlog.layout import check_writable

    if not options.dry_run:
        check_writable(options.output_dir)
    progress = make_progress()
    with DecodeWorkers(workers_for_this_machine()) as workers:
        job = make_job(options, progress, workers)

        def work() -> Outcome:
            with saying_what_to_free(job.place.run_folder):
                run(job, options, progress, workers)
                return write_outcome(job.place.run_folder, add_index_line=True)

        yield job, work


def take_one_rank(options: argparse.Namespace) -> None:
    """Without a command line of its own, this process cannot be started once more per rank.

    Raises:
        UsageError: Several ranks are asked for.
    """
    if options.tp not in {None, 1}:
        raise UsageError(
            f"--tp {options.tp} starts the command once per rank: run `modeltest eval … --tp "
            f"{options.tp}` in a shell and load_run what it leaves; --dp works from Python"
        )
    options.tp = 1


def _failure_bound(text: str) -> int | Decimal:
    """`--fail-on-error`: a count as int, a percentage as an exact share.

    As a float, 29% of 100 would be 28.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(%?)", text)
    if not found or (not found[2] and "." in text) or (found[2] and float(found[1]) > 100):
        raise argparse.ArgumentTypeError(f"not a count or a percentage up to 100%: {text!r}")
    return Decimal(found[1]) / 100 if found[2] else int(found[1])
