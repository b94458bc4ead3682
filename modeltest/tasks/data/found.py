"""What a data folder holds: samples, and everything that is wrong with it, all at once."""

from __future__ import annotations

import re
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from modeltest.records import Sample
from modeltest.tasks.data.packed import Packed, pack_samples

MAX_NAMED_PROBLEMS = 20

_KIND_ENDS = re.compile(r": | \(")


@dataclass(frozen=True, slots=True)
class Problem:
    """Why one clip cannot be evaluated.

    Attributes:
        name: What a user recognises the clip by (a path below the data folder, or a row).
        what: What is wrong, its kind first: `no label: …`, `duplicate: …`, `missing: …`.
    """

    name: str
    what: str


@dataclass(frozen=True, slots=True)
class Listing:
    """What was found in a data folder, before any clip was opened.

    Attributes:
        samples: Every labelled clip, in the order of the sample ids.
        layout: How the data was found to be laid out, in words.
        passed_over: Ending (`.md`) → count of files that are no audio by their ending.
        problems: Clips that cannot be evaluated.
        warnings: What a user should know, a line each, though the run can go on.
    """

    samples: Sequence[Sample]
    layout: str
    passed_over: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    problems: tuple[Problem, ...] = ()
    warnings: tuple[str, ...] = ()


def usable(found: Iterable[Sample | Problem], problems: list[Problem]) -> Iterator[Sample]:
    """The samples among what was found; the problems join `problems` meanwhile."""
    for each in found:
        if isinstance(each, Problem):
            problems.append(each)
        else:
            yield each


def without_duplicates(samples: Iterable[Sample]) -> tuple[Packed[Sample], list[Problem]]:
    """Sorts samples by id and takes out those whose id an earlier one has.

    Args:
        samples: Each is packed as it comes.

    Returns:
        The samples that stay, and a problem for each that does not.
    """
    # One text per sample instead of a pair: an id holds no control character.
    names: list[str] = []
    packed = pack_samples(_named(samples, names))
    kept = array("L")
    problems = []
    first_id = first_name = None
    for number in sorted(range(len(names)), key=names.__getitem__):
        sample_id, _, name = names[number].partition("\0")
        if sample_id == first_id:
            problems.append(Problem(name, f"duplicate: {first_name} is {sample_id!r} too"))
        else:
            first_id, first_name = sample_id, name
            kept.append(number)
    return packed.ordered(kept), problems


def _named(samples: Iterable[Sample], names: list[str]) -> Iterator[Sample]:
    for sample in samples:
        names.append(f"{sample.sample_id}\0{sample.audio[0].name}")
        yield sample


def report_problems(problems: Sequence[Problem]) -> str:
    """One block of text on all problems: counts by kind, then up to 20 of them by name.

    Args:
        problems: One or more, from the listing and from opening the clips.

    Returns:
        Lines without a final newline, fit for a DataError.
    """
    kinds = Counter(_KIND_ENDS.split(problem.what)[0] for problem in problems)
    counts = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
    noun = "clip" if len(problems) == 1 else "clips"
    lines = [f"{len(problems)} {noun} cannot be evaluated ({counts}):"]
    ordered = sorted(problems, key=lambda problem: (problem.name, problem.what))
    lines += [f"  {problem.name}: {problem.what}" for problem in ordered[:MAX_NAMED_PROBLEMS]]
    if len(ordered) > MAX_NAMED_PROBLEMS:
        lines.append(f"  and {len(ordered) - MAX_NAMED_PROBLEMS} more")
    return "\n".join(lines)
