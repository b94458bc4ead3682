"""`modeltest parity`: does the model compute the same on two sides, and where not?"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modeltest.cli.options import add_model_options, positive_int
from modeltest.errors import (
    EXIT_INVALID,
    EXIT_OK,
    DataError,
    StorageError,
    UsageError,
    one_line,
)

if TYPE_CHECKING:
    from modeltest.cli.parity_sides import Pair
    from modeltest.metrics.parity.comparison import Comparison
    from modeltest.protocols import Progress
    from modeltest.runner.parity.place import ParityPlace
    from modeltest.runner.parity.probe_set import ProbeSet
    from modeltest.runner.parity.sides import Observed

HELP = "compare a model with itself elsewhere, stage by stage: PASS, or where drift begins"
DEFAULT_TASK, DEFAULT_SAMPLES, DEFAULT_LAYERS = "vocalsound_mini", 12, 2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command line."""
    parser.add_argument("model", metavar="MODEL", help="a model's name or .yaml file")
    add_model_options(parser)
    parser.add_argument(
        "--bs", type=positive_int, metavar="N", help="batch size (default: the model file's)"
    )
    against = parser.add_mutually_exclusive_group()
    against.add_argument(
        "--reference",
        metavar="SIDE|FILE",
        help="side A: a device, or what is other than MODEL's side as "
        "device=cpu,dtype=fp32,engine=stock,attention=eager,bs=1,model=NAME; or a recorded file "
        "(default: the embedded model's shipped record)",
    )
    against.add_argument(
        "--batch-invariance",
        metavar="N,N",
        help="one side at two batch sizes, the first of which is the reference",
    )
    parser.add_argument(
        "--record",
        type=Path,
        metavar="FILE",
        help="keep the reference in a file, for another machine; without --reference it is "
        "MODEL's side, and nothing is compared",
    )
    parser.add_argument(
        "--task", metavar="TASK", help=f"whose clips and question (default: {DEFAULT_TASK})"
    )
    parser.add_argument(
        "--limit",
        type=positive_int,
        default=DEFAULT_SAMPLES,
        metavar="N",
        help="samples, spread evenly over the classes",
    )
    parser.add_argument(
        "--layers",
        type=positive_int,
        default=DEFAULT_LAYERS,
        metavar="N",
        help="compare every layer, each also from the reference's input, for the N samples with "
        "the shortest clips",
    )
    parser.add_argument(
        "--output-dir", type=Path, default=Path("outputs"), metavar="DIR", help="where results go"
    )


@dataclass(frozen=True, slots=True)
class Job:
    """What a check is made of, once everything was examined.

    Attributes:
        pair: The sides.
        probes: What they are asked.
        layers: Ids of the samples of which every layer is compared.
        notes: What a reader of the result should know.
    """

    pair: Pair
    probes: ProbeSet
    layers: frozenset[str]
    notes: tuple[str, ...]


def execute(options: argparse.Namespace) -> int:
    """Compares; settings, clips and record are examined before anything is loaded.

    Returns:
        0 for PASS, 3 for FAIL; 0 where the reference was only recorded.
    """
    from modeltest.cli.progress import make_progress
    from modeltest.runlog.layout import check_writable
    from modeltest.runner.parity.place import plan_parity_place

    check_writable(options.output_dir)
    if options.record is not None:
        _refuse_unwritable(options.record)
    progress = make_progress()
    job = _make_job(options, progress)
    for line in job.pair.lines(job.probes):
        print(line, file=sys.stderr)
    observed = _reference(job, progress)
    if options.record is not None:
        _record(options.record, job, observed)
    if job.pair.tested is None:
        return EXIT_OK
    place = plan_parity_place(job.pair.model_name, options.output_dir)
    return _compare(job, observed, place, progress)


def _make_job(options: argparse.Namespace, progress: Progress) -> Job:
    from modeltest.cli.parity_sides import make_pair
    from modeltest.runner.parity.probe_set import ask_about, find_all, pick, spread_over_classes

    pair = make_pair(options)
    samples = find_all(pair.task)
    recorded = pair.recorded
    if recorded is not None:
        chosen = pick(samples, [sample.sample_id for sample in recorded.trace.samples])
    else:
        chosen = spread_over_classes(samples, options.limit)
    probes = ask_about(pair.task, pair.asked, chosen, pair.hears, progress)
    if recorded is not None:
        return Job(pair, probes, frozenset(recorded.given), pair.check_record(probes))
    return Job(pair, probes, probes.shortest(options.layers), pair.notes)


def _reference(job: Job, progress: Progress) -> Observed:
    from dataclasses import replace

    from modeltest.runner.parity.sides import Observed, observe

    recorded = job.pair.recorded
    if recorded is None:
        return observe(job.pair.reference, job.probes, job.layers, None, progress)
    samples = zip(job.probes.samples, recorded.trace.samples, strict=True)
    answered = tuple(
        replace(trace, answer=job.probes.answer(sample, trace.text)) for sample, trace in samples
    )
    return Observed(replace(recorded.trace, samples=answered), recorded.given)


def _refuse_unwritable(record: Path) -> None:
    """Makes sure that the reference can be kept, before it is computed.

    Raises:
        DataError: It cannot, or the file is there already.
    """
    from modeltest.runlog.layout import check_writable

    if record.exists() or record.is_symlink():
        raise DataError(one_line(f"--record {record}: is there already; choose another name"))
    try:
        check_writable(record.parent)
    except DataError as error:
        raise DataError(str(error).replace("--output-dir", "--record", 1)) from error


def _record(path: Path, job: Job, observed: Observed) -> None:
    from modeltest.runner.parity.record import write_record

    record = job.pair.as_record(job.probes, observed)
    try:
        write_record(path, record)
    except OSError as error:
        raise StorageError(
            one_line(f"--record {path}: cannot be written ({error.strerror})")
        ) from error
    size = path.stat().st_size
    print(f"reference recorded: {one_line(str(path))}, {size} bytes", file=sys.stderr)


def _compare(job: Job, observed: Observed, place: ParityPlace, progress: Progress) -> int:
    from modeltest.metrics.parity.comparison import compare
    from modeltest.reports.parity import parity_text
    from modeltest.reports.terminal import terminal_columns
    from modeltest.runner.parity.sides import observe

    tested = job.pair.tested
    if tested is None:
        raise UsageError("there is nothing to compare with")
    layers = job.layers if observed.given else frozenset()
    seen = observe(tested, job.probes, layers, observed.given, progress)
    comparison = compare(observed.trace, seen.trace)
    _write(job, comparison, place)
    notes = [*job.notes, f"results: {place.run_folder}"]
    print(parity_text(comparison, notes, terminal_columns()))
    return EXIT_OK if comparison.outcome == "PASS" else EXIT_INVALID


def _write(job: Job, comparison: Comparison, place: ParityPlace) -> None:
    """The tables, what they were made of, and the line in the index."""
    import json

    from modeltest.reports.index import append_row
    from modeltest.reports.parity import comparison_facts, index_row, samples_csv, stages_csv
    from modeltest.runlog.atomic import write_atomically
    from modeltest.runlog.layout import PARITY_NAME, refuse_links
    from modeltest.runner.start import make_run_folder

    refuse_links(place.output_dir, place.run_folder)
    make_run_folder(place)
    facts: dict[str, Any] = {**comparison_facts(comparison), **job.pair.facts(job.probes)}
    text = json.dumps(facts, indent=2, sort_keys=True, ensure_ascii=True)
    for name, content in (
        ("parity.csv", stages_csv(place.run_id, comparison)),
        ("parity_samples.csv", samples_csv(place.run_id, comparison)),
        (PARITY_NAME, text.encode() + b"\n"),
    ):
        write_atomically(place.run_folder / name, content)
    path = str(place.run_folder.relative_to(place.output_dir))
    row = index_row(place.run_id, comparison, {**job.pair.index_columns(job.probes), "path": path})
    try:
        append_row(place.index_file, row)
    except OSError as error:  # the tables are whole without it
        print(f"modeltest: warning: not entered in index.csv: {error}", file=sys.stderr)
