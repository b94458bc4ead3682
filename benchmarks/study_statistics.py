"""How often the 95 % intervals of accuracy runs hold, by simulation with known truths.

    python benchmarks/study_statistics.py [--scale 1] [--only wilson,speakers] [--write FILE]

Each study draws many runs of which the truth is known, computes the interval that a run's report
would have, and counts how many hold the truth. Drawn are only the replies' being right or wrong;
intervals come from the functions that reports call. Seeded: the same scale gives the same table
with the same numpy.

A row with a target says 94–96; the exit code is 1 when such a row is outside by more than twice
the simulation's own standard error. --scale multiplies the number of simulated runs.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import math
import platform
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom
from scipy.stats import t as student

from modeltest import __version__
from modeltest.metrics.class_figures import MACRO_F1, class_counts, figures_of_all
from modeltest.metrics.cluster_bootstrap import MIN_CLUSTERS
from modeltest.metrics.intervals import share_spread, wilson
from modeltest.metrics.slice_differences import (
    SliceDifference,
    difference_standard_error,
    holm,
    slice_differences,
)
from modeltest.records import Score

SEED = 20261123
CLIPS = 6
TARGET = (0.94, 0.96)
_PACKAGES = ("numpy", "scipy")

Generator = np.random.Generator


@dataclass(frozen=True, slots=True)
class Share:
    """A share of simulated runs, with its target if there is one.

    Attributes:
        value: 0 to 1.
        num_runs: How many were simulated; None for a share that was computed exactly.
        has_target: It should lie within `TARGET`.
    """

    value: float
    num_runs: int | None = None
    has_target: bool = False

    @property
    def error(self) -> float:
        """Standard error of the simulation."""
        spread = self.value * (1 - self.value)
        return math.sqrt(spread / self.num_runs) if self.num_runs else 0.0

    @property
    def is_met(self) -> bool:
        """Whether the target is met, as far as so many runs can tell."""
        low, high = TARGET
        slack = 2 * self.error
        return not self.has_target or low - slack <= self.value <= high + slack

    def __str__(self) -> str:
        """In percent; an exclamation mark where the target is missed."""
        text = f"{100 * self.value:.1f}"
        if self.num_runs:
            text += f" ± {100 * self.error:.1f}"
        return text if self.is_met else f"{text} (!)"


@dataclass(frozen=True, slots=True)
class Table:
    """What a study found.

    Attributes:
        title: Of its section.
        text: What was simulated, and what the columns say.
        header: Of the columns.
        rows: Cells; a `Share` knows whether it is as wanted.
    """

    title: str
    text: str
    header: tuple[str, ...]
    rows: tuple[tuple[object, ...], ...]

    def markdown(self) -> str:
        """The section."""
        lines = [self.header, ("---",) * len(self.header), *self.rows]
        table = "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)
        return f"## {self.title}\n\n{self.text}\n\n{table}\n"

    @property
    def is_met(self) -> bool:
        """Whether all targets are met."""
        cells = (cell for row in self.rows for cell in row)
        return all(cell.is_met for cell in cells if isinstance(cell, Share))


# ---- Intervals of one run -------------------------------------------------------------------


def wilson_coverage(_: Generator, __: float) -> Table:
    """Wilson's interval for independent samples; computed, not simulated."""
    rows = []
    for total in (120, 1800, 3591):
        for share in (0.5, 0.8, 0.936):
            first, last = binom.interval(1 - 1e-9, total, share)
            likely = np.arange(int(first), int(last) + 1)
            weights = binom.pmf(likely, total, share)
            ends = [wilson(int(successes), total) or (0.0, 1.0) for successes in likely]
            holds = np.array([low <= share <= high for low, high in ends])
            width = weights @ np.array([high - low for low, high in ends]) / weights.sum()
            held = Share(float(weights @ holds / weights.sum()), has_target=True)
            rows.append((total, share, held, f"{100 * width / 2:.2f}"))
    return Table(
        "Independent samples: Wilson",
        "Share of runs whose Wilson interval holds the true accuracy, summed over the binomial "
        "distribution: no simulation. It jumps between one number of right answers and the next, "
        "hence not 95.0 everywhere.",
        ("samples", "true accuracy", "intervals that hold it, %", "half width, points"),
        tuple(rows),
    )


def speaker_coverage(generator: Generator, scale: float) -> Table:
    """The cluster bootstrap by speaker, and what Wilson's interval would do."""
    rows = []
    for num_speakers, accuracy, num_runs in (
        (600, 0.936, 1000),
        (600, 0.8, 500),
        (100, 0.936, 500),
        (20, 0.936, 500),
        (20, 0.8, 500),
    ):
        for correlation in (0.0, 0.1, 0.3):
            runs = round(num_runs * scale)
            held = _shares_held(generator, num_speakers, accuracy, correlation, runs)
            target = num_speakers == 600
            rows.append(
                (num_speakers, accuracy, correlation, Share(held[0], runs, target),
                 Share(held[1], runs), f"{held[2]:.2f}")
            )  # fmt: skip
    return Table(
        "Six clips of each speaker: cluster bootstrap",
        f"Each speaker has a share of right answers of their own (beta distribution), and {CLIPS} "
        "clips; the correlation is that between two clips of a speaker. Interval of `acc` as the "
        "report has it, Wilson's beside it, and how much wider the first is.",
        ("speakers", "true accuracy", "correlation", "cluster bootstrap holds, %",
         "Wilson holds, %", "width over Wilson's"),
        tuple(rows),
    )  # fmt: skip


def uneven_coverage(generator: Generator, scale: float) -> Table:
    """The same where speakers have one to eleven clips, and near 100 %."""
    rows = []
    for num_speakers, accuracy, is_uneven in (
        (600, 0.936, True),
        (600, 0.999, False),
        (100, 0.99, False),
        (100, 0.999, False),
        (20, 0.99, False),
        (12, 0.8, False),
    ):
        for correlation in (0.1, 0.3):
            runs = round(300 * scale)
            held = _shares_held(generator, num_speakers, accuracy, correlation, runs, is_uneven)
            clips = "1–11" if is_uneven else str(CLIPS)
            rows.append(
                (num_speakers, clips, accuracy, correlation, Share(held[0], runs),
                 Share(held[1], runs), f"{100 * held[3]:.0f}")
            )  # fmt: skip
    return Table(
        "Hard cases: uneven speakers, few speakers, hardly an error",
        "As above. Runs in which every answer is right have nothing to resample and get Wilson's "
        "interval; the last column says how many there are.",
        ("speakers", "clips of each", "true accuracy", "correlation", "report's interval holds, %",
         "Wilson holds, %", "runs without an error, %"),
        tuple(rows),
    )  # fmt: skip


def macro_f1_coverage(generator: Generator, scale: float) -> Table:
    """The interval of macro-F1, one clip of each class of each speaker."""
    rows = []
    runs, num_classes, accuracy = round(100 * scale), CLIPS, 0.936
    # A wrong answer is the next class or none, half of the time each.
    truth = 2 * accuracy / (1 + accuracy + (1 - accuracy) / 2)
    for num_speakers in (100, 600):
        for correlation in (0.0, 0.3):
            held = 0
            for _ in range(runs):
                low, high = _macro_f1_interval(
                    generator, num_speakers, num_classes, accuracy, correlation
                )
                held += low <= truth <= high
            rows.append((num_speakers, correlation, f"{truth:.4f}", Share(held / runs, runs)))
    return Table(
        "Macro-F1",
        "Six classes, one clip of each of every speaker, 93.6 % right; of the others half are "
        "unparsed and half taken for the next class.",
        ("speakers", "correlation", "true macro-F1", "intervals that hold it, %"),
        tuple(rows),
    )


def slice_coverage(generator: Generator, scale: float) -> Table:
    """Differences between slices: intervals, and false alarms with and without Holm."""
    rows = []
    runs = round(600 * scale)
    for num_women, num_speakers in ((300, 600), (60, 600), (10, 20)):
        for correlation in (0.0, 0.3):
            held = alarms = corrected = by_student = 0
            for _ in range(runs):
                sliced = _sliced(generator, num_women, num_speakers, 0.0, correlation)
                found = slice_differences(*sliced)
                held += _holds(found[0], 0.0)
                alarms += any(_is_below(each.p_value) for each in found)
                corrected += any(_is_below(each.p_holm) for each in found)
                by_student += any(map(_is_below, _student(*sliced)))
            counts = (held, alarms, corrected, by_student)
            rows.append(
                (num_women, num_speakers - num_women, correlation,
                 *(Share(count / runs, runs) for count in counts))
            )  # fmt: skip
    return Table(
        "Slices: differences and false alarms",
        "93.6 % right in every slice, so no difference is true. Women against men, and three age "
        "groups each against the rest, four differences a run. An alarm is a p-value below 5 %; "
        "with Holm's correction at most 5 % of runs should have any. Last the alarms of the test "
        "that is not taken: Student's t with the same standard errors and the smaller side's "
        "degrees of freedom, corrected likewise.",
        ("women", "men", "correlation", "women − men: intervals that hold 0, %",
         "runs with an alarm, uncorrected, %", "with Holm, %", "Student's t with Holm, %"),
        tuple(rows),
    )  # fmt: skip


def slice_power(generator: Generator, scale: float) -> Table:
    """True differences between slices: how often they are found."""
    rows = []
    runs = round(200 * scale)
    for num_women, num_speakers, difference, correlation in (
        (60, 600, -0.08, 0.3), (60, 600, 0.04, 0.3), (60, 600, -0.05, 0.0),
        (300, 600, -0.03, 0.3), (300, 600, 0.03, 0.3), (10, 20, -0.2, 0.3),
    ):  # fmt: skip
        held = seen = by_student = 0
        for _ in range(runs):
            sliced = _sliced(generator, num_women, num_speakers, difference, correlation)
            first = slice_differences(*sliced)[0]
            held += _holds(first, difference)
            seen += _is_below(first.p_holm)
            by_student += _is_below(_student(*sliced)[0])
        rows.append(
            (num_women, num_speakers - num_women, f"{100 * difference:+.0f}", correlation,
             *(Share(count / runs, runs) for count in (held, seen, by_student)))
        )  # fmt: skip
    return Table(
        "Slices: true differences",
        "As above, but women are right more or less often than the men's 93.6 %. Found is a "
        "difference with a p-value below 5 % by Holm. Student's t finds more where the smaller "
        "side is the better one: that is also where its false alarms come from.",
        ("women", "men", "women − men, points", "correlation", "intervals that hold it, %",
         "found, %", "by Student's t, %"),
        tuple(rows),
    )  # fmt: skip


def _holds(found: SliceDifference, truth: float) -> bool:
    """Without an interval nothing false is said."""
    return found.ci_low is None or found.ci_low <= truth <= (found.ci_high or 0)


def _is_below(p_value: float | None) -> bool:
    return p_value is not None and p_value < 0.05


def _right_answers(
    generator: Generator, counts: NDArray[np.int64], accuracy: float, correlation: float
) -> NDArray[np.int64]:
    """Right answers of each speaker, shape `(speakers,)`."""
    return generator.binomial(counts, _own_shares(generator, len(counts), accuracy, correlation))


def _own_shares(
    generator: Generator, num_speakers: int, accuracy: float, correlation: float
) -> NDArray[np.float64]:
    """What each speaker's clips are right with; beta(a, b) has correlation 1 / (a + b + 1)."""
    if not correlation:
        return np.full(num_speakers, accuracy)
    both = 1 / correlation - 1
    return generator.beta(accuracy * both, (1 - accuracy) * both, num_speakers)


def _shares_held(
    generator: Generator,
    num_speakers: int,
    accuracy: float,
    correlation: float,
    runs: int,
    is_uneven: bool = False,
) -> tuple[float, float, float, float]:
    """Shares held by the report's interval and by Wilson's; their widths' ratio; errorless runs."""
    held = wilson_held = errorless = 0
    width = wilson_width = 0.0
    for _ in range(runs):
        counts = np.full(num_speakers, CLIPS)
        if is_uneven:
            counts = generator.integers(1, 2 * CLIPS, num_speakers)
        right = _right_answers(generator, counts, accuracy, correlation)
        spread = share_spread(right.astype(float), counts.astype(float))
        low, high = wilson(int(right.sum()), int(counts.sum())) or (0.0, 1.0)
        held += (spread.low or 0.0) <= accuracy <= (1.0 if spread.high is None else spread.high)
        wilson_held += low <= accuracy <= high
        width += (spread.high or 1.0) - (spread.low or 0.0)
        wilson_width += high - low
        errorless += int(right.sum() == counts.sum())
    return held / runs, wilson_held / runs, width / wilson_width, errorless / runs


def _macro_f1_interval(
    generator: Generator, num_speakers: int, num_classes: int, accuracy: float, correlation: float
) -> tuple[float, float]:
    labels = [f"class {place}" for place in range(num_classes)]
    own = _own_shares(generator, num_speakers, accuracy, correlation)
    luck = generator.random((num_speakers, num_classes, 2))
    truths, scores, speakers = [], [], []
    for speaker in range(num_speakers):
        for place, label in enumerate(labels):
            is_right = luck[speaker, place, 0] < own[speaker]
            other = labels[(place + 1) % num_classes] if luck[speaker, place, 1] < 0.5 else None
            truths.append(label)
            scores.append(Score(label if is_right else other, is_right, None, False))
            speakers.append(speaker)
    counts = class_counts(truths, scores, [False] * len(truths), speakers, labels)
    row = next(each for each in figures_of_all(counts) if each.metric == MACRO_F1)
    return row.ci_low or 0.0, 1.0 if row.ci_high is None else row.ci_high


Sliced = tuple[Mapping[str, Mapping[str, NDArray[np.intp]]], NDArray[np.bool_], NDArray[np.int64]]
"""Places by key and value, whether each sample is right, and whose it is."""


def _sliced(
    generator: Generator,
    num_women: int,
    num_speakers: int,
    difference: float,
    correlation: float,
    accuracy: float = 0.936,
) -> Sliced:
    own = np.concatenate(
        [
            _own_shares(generator, num_women, accuracy + difference, correlation),
            _own_shares(generator, num_speakers - num_women, accuracy, correlation),
        ]
    )
    correct = (generator.random((num_speakers, CLIPS)) < own[:, np.newaxis]).ravel()
    speakers = np.repeat(np.arange(num_speakers), CLIPS)
    # Ages as in VocalSound's test split, in no order.
    ages = generator.permutation(num_speakers) * 100 // num_speakers
    slices = {
        "gender": {"female": speakers < num_women, "male": speakers >= num_women},
        "age": {
            "18-25": ages[speakers] < 25,
            "26-48": (ages[speakers] >= 25) & (ages[speakers] < 75),
            "49-80": ages[speakers] >= 75,
        },
    }
    places = {
        key: {value: np.flatnonzero(chosen) for value, chosen in values.items()}
        for key, values in slices.items()
    }
    return places, correct, speakers


def _student(
    places: Mapping[str, Mapping[str, NDArray[np.intp]]],
    correct: NDArray[np.bool_],
    speakers: NDArray[np.int64],
) -> list[float]:
    """Corrected p-values of the same differences by Student's t."""
    is_right, p_values = correct.astype(float), []
    everything = np.arange(len(is_right))
    for values in places.values():
        for chosen in list(values.values())[: 1 if len(values) == 2 else None]:
            rest = np.setdiff1d(everything, chosen)
            first, second = ((is_right[part], speakers[part]) for part in (chosen, rest))
            smaller = min(len(np.unique(part[1])) for part in (first, second))
            stderr = difference_standard_error(first, second)
            if smaller >= MIN_CLUSTERS and stderr:
                away = abs(first[0].mean() - second[0].mean()) / stderr
                p_values.append(float(2 * student.sf(away, smaller - 1)))
            else:
                p_values.append(1.0)
    return holm(p_values)


# ---- Two runs: `modeltest compare` ----------------------------------------------------------

# benchmarks/study_compare.py has them; a study that belongs here is a function and a line below.

# ---- All of them ----------------------------------------------------------------------------

Study = Callable[[Generator, float], Table]
STUDIES: Mapping[str, Study] = {
    "wilson": wilson_coverage,
    "speakers": speaker_coverage,
    "hard": uneven_coverage,
    "macro_f1": macro_f1_coverage,
    "slices": slice_coverage,
    "slice_power": slice_power,
}


def tables(names: Sequence[str], scale: float) -> Iterator[Table]:
    """The tables of the named studies; each draws from a stream of its own."""
    for place, (name, study) in enumerate(STUDIES.items()):
        if name in names:
            yield study(np.random.default_rng([SEED, place]), scale)


def heading(command: str) -> str:
    """What the tables were made with."""
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in _PACKAGES)
    today = datetime.datetime.now(datetime.timezone.utc).date()
    return "\n".join(
        [
            "# How often the 95 % intervals of `modeltest eval` hold",
            "",
            f"- Command: `{command}`",
            f"- Date: {today}",
            f"- Versions: modeltest {__version__}, Python {platform.python_version()}, {versions}",
            f"- Seed: {SEED}",
            "",
            "± is one standard error of the simulation. Wilson's rows with independent samples and "
            "the bootstrap's with 600 speakers of six clips have the target 94–96 %; (!) marks one "
            "that is missed by more than two standard errors.",
            "",
            "",
        ]
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the tables, and writes them; exit code 1 when a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--scale", type=float, default=1.0, help="times the simulated runs")
    parser.add_argument("--only", default=",".join(STUDIES), help="studies, with commas between")
    parser.add_argument("--write", type=Path, help="the file to write")
    options = parser.parse_args(arguments)
    names = options.only.split(",")
    if unknown := sorted(set(names) - STUDIES.keys()):
        parser.error(f"no study {unknown[0]!r}; there are {', '.join(STUDIES)}")
    command = "python benchmarks/study_statistics.py"
    given = sys.argv[1:] if arguments is None else arguments
    parts, all_met = [heading(" ".join([command, *given]))], True
    print(parts[0], end="")
    for table in tables(names, options.scale):
        parts.append(table.markdown() + "\n")
        all_met &= table.is_met
        print(parts[-1], end="", flush=True)
    if options.write:
        options.write.write_text("".join(parts).rstrip() + "\n", encoding="utf-8")
    return 0 if all_met else 1


if __name__ == "__main__":
    sys.exit(main())
