"""What `modeltest compare` concludes of simulated pairs of runs, whose truth is known.

    python benchmarks/study_compare.py [--pairs 2000] [--write docs/measurements/comparing.md]

Draws pairs of runs by the thousand and puts them through the functions that `compare` uses:

- identical models: how often the verdict is FAIL (target: in at most 5 %);
- the samples that `compare --power` prints: how often the verdict is PASS (target: the power);
- the 95 % interval of B - A: how often it holds the true difference (target: 94 % or more).

A clip of a speaker takes that speaker's outcome with probability `alike`, else one of its own, so
two clips of one speaker have the correlation alike^2, and the design effect of m clips of each is
1 + (m - 1) * alike^2. Exit code 1 when a target is missed by more than chance explains.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from modeltest.metrics.paired import non_inferiority, paired_interval
from modeltest.metrics.power import samples_needed

MARGIN = 0.01
MAX_FAIL_SHARE = 0.05
MIN_COVERAGE = 0.94
_SEED = 20240229
_CLIPS = 6
_ALIKE = math.sqrt(0.2)


@dataclass(frozen=True, slots=True)
class Design:
    """Pairs of runs of one kind.

    Attributes:
        num_samples: Of each run.
        discordance: Share of samples on which just one run is right.
        difference: B's true accuracy minus A's.
        alike: How alike a speaker's clips are; None is a clip of each speaker.
    """

    num_samples: int
    discordance: float
    difference: float = 0.0
    alike: float | None = None

    @property
    def design_effect(self) -> float:
        """How many times the variance of independent samples the difference's is."""
        return 1.0 if self.alike is None else 1 + (_CLIPS - 1) * self.alike**2

    @property
    def cells(self) -> list[str]:
        """The design as cells of a table."""
        speakers = "independent" if self.alike is None else f"6 clips each, {self.alike**2:.1g}"
        return [f"{self.num_samples:,}", speakers, f"{100 * self.discordance:g} %"]


@dataclass(frozen=True, slots=True)
class Concluded:
    """What became of the pairs of a design.

    Attributes:
        outcomes: How often each verdict, as shares.
        coverage: Share of intervals that hold the true difference.
        above: Share of intervals that lie above it.
        below: Share of intervals that lie below it.
    """

    outcomes: dict[str, float]
    coverage: float
    above: float
    below: float


def conclude(
    design: Design, num_pairs: int, generator: np.random.Generator, margin: float = MARGIN
) -> Concluded:
    """Simulates pairs of runs and compares each."""
    speakers = None
    if design.alike is not None:
        speakers = [f"s{place // _CLIPS}" for place in range(design.num_samples)]
    outcomes: Counter[str] = Counter()
    above = below = 0
    for _ in range(num_pairs):
        interval = paired_interval(simulated(design, generator).tolist(), speakers)
        outcomes[non_inferiority(interval.low, interval.high, margin)] += 1
        above += interval.low > design.difference
        below += interval.high < design.difference
    return Concluded(
        outcomes={name: outcomes[name] / num_pairs for name in ("PASS", "INCONCLUSIVE", "FAIL")},
        coverage=1 - (above + below) / num_pairs,
        above=above / num_pairs,
        below=below / num_pairs,
    )


def simulated(design: Design, generator: np.random.Generator) -> NDArray[np.int64]:
    """Differences of the samples of one pair of runs, shape `(num_samples,)`."""
    shares = [
        (design.discordance - design.difference) / 2,
        1 - design.discordance,
        (design.discordance + design.difference) / 2,
    ]
    own = generator.choice([-1, 0, 1], size=design.num_samples, p=shares)
    if design.alike is None:
        return own
    of_speaker = generator.choice([-1, 0, 1], size=-(-design.num_samples // _CLIPS), p=shares)
    takes_it = generator.random(design.num_samples) < design.alike
    return np.where(takes_it, np.repeat(of_speaker, _CLIPS)[: design.num_samples], own)


def identical(num_pairs: int, generator: np.random.Generator) -> Iterator[tuple[list[str], bool]]:
    """Rows of the first table, and whether each meets its target."""
    for num_samples in (120, 3600):
        for discordance in (0.005, 0.02, 0.05):
            for alike in (None, _ALIKE):
                design = Design(num_samples, discordance, alike=alike)
                found = conclude(design, num_pairs, generator)
                shares = [f"{100 * share:.1f} %" for share in found.outcomes.values()]
                yield [*design.cells, *shares], found.outcomes["FAIL"] <= MAX_FAIL_SHARE


def powers(num_pairs: int, generator: np.random.Generator) -> Iterator[tuple[list[str], bool]]:
    """Rows of the second table, and whether each meets its target."""
    for margin, discordance, power, alike in (
        (0.01, 0.005, 0.8, None),
        (0.01, 0.02, 0.8, None),
        (0.01, 0.02, 0.9, None),
        (0.01, 0.05, 0.9, None),
        (0.02, 0.02, 0.9, None),
        (0.02, 0.05, 0.8, None),
        (0.01, 0.02, 0.8, _ALIKE),
    ):
        effect = Design(0, discordance, alike=alike).design_effect
        needed = samples_needed(margin, discordance, power, design_effect=effect) or 0
        design = Design(needed, discordance, alike=alike)
        drawn = _more(design, num_pairs)
        share = conclude(design, drawn, generator, margin).outcomes["PASS"]
        yield (
            [*design.cells, f"{100 * margin:g}", f"{100 * power:.0f} %", f"{100 * share:.1f} %"],
            share >= power - _by_chance(power, drawn),
        )


def coverages(num_pairs: int, generator: np.random.Generator) -> Iterator[tuple[list[str], bool]]:
    """Rows of the third table, and whether each meets its target."""
    for num_samples in (120, 3600):
        for discordance, difference in ((0.02, 0.0), (0.02, -0.01), (0.1, -0.03)):
            for alike in (None, _ALIKE):
                design = Design(num_samples, discordance, difference, alike)
                drawn = _more(design, num_pairs)
                found = conclude(design, drawn, generator)
                shares = (found.coverage, found.above, found.below)
                yield (
                    [
                        *design.cells,
                        f"{100 * difference:g}",
                        *(f"{100 * share:.1f} %" for share in shares),
                    ],
                    found.coverage >= MIN_COVERAGE - _by_chance(MIN_COVERAGE, drawn),
                )


def _more(design: Design, num_pairs: int) -> int:
    """Independent samples are simulated fast: more pairs, less chance."""
    return num_pairs if design.alike is not None else 4 * num_pairs


def _by_chance(share: float, num_pairs: int) -> float:
    """Three standard errors of a simulated share."""
    return 3 * math.sqrt(share * (1 - share) / num_pairs)


_DESIGN = ("samples", "speakers", "flips")
_TABLES = (
    (
        "Two identical models",
        f"Margin {100 * MARGIN:g} point. Target: FAIL in at most {100 * MAX_FAIL_SHARE:.0f} %.",
        (*_DESIGN, "PASS", "INCONCLUSIVE", "FAIL"),
        identical,
    ),
    (
        "The power that `compare --power` promises",
        "As many samples as the table says, models equally accurate. Target: PASS as often as "
        "promised.",
        (*_DESIGN, "margin, points", "promised", "PASS"),
        powers,
    ),
    (
        "The 95 % interval of B - A",
        f"Target: it holds the truth in {100 * MIN_COVERAGE:.0f} % or more. With a handful of "
        "flips it is wider than it need be.",
        (*_DESIGN, "true difference, points", "holds it", "lies above", "lies below"),
        coverages,
    ),
)


def page(num_pairs: int) -> tuple[str, bool]:
    """All tables as Markdown, and whether every target was met."""
    lines = [
        "# What `modeltest compare` concludes of simulated runs",
        "",
        f"- Command: `python benchmarks/study_compare.py --pairs {num_pairs} --write "
        "docs/measurements/comparing.md`",
        f"- {num_pairs:,} simulated pairs of runs per row; a share's standard error is at most "
        f"{100 * math.sqrt(0.25 / num_pairs):.1f} points, at 95 % "
        f"{100 * math.sqrt(0.0475 / num_pairs):.1f}. Four times as many in the independent rows of "
        "the second and third table.",
        "- speakers: `independent`, or six clips of each whose outcomes correlate by that much",
        "- flips: share of the samples on which just one of the runs is right",
    ]
    all_met = True
    for title, target, headers, rows in _TABLES:
        lines += ["", f"## {title}", "", target, "", _line(headers), _line(["---:"] * len(headers))]
        for cells, met in rows(num_pairs, np.random.default_rng(_SEED)):
            lines.append(_line(cells if met else [*cells[:-1], f"{cells[-1]} (missed)"]))
            all_met &= met
    lines += ["", "Every target is met." if all_met else "Not every target is met.", ""]
    return "\n".join(lines), all_met


def _line(cells: tuple[str, ...] | list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def main() -> int:
    """Prints the tables; exit code 1 when a target is missed."""
    parser = argparse.ArgumentParser(description="Simulated studies of modeltest compare.")
    parser.add_argument("--pairs", type=int, default=2000, help="simulated pairs per row")
    parser.add_argument("--write", type=Path, metavar="FILE", help="write the page there, too")
    options = parser.parse_args()
    text, met = page(options.pairs)
    print(text)
    if options.write is not None:
        options.write.parent.mkdir(parents=True, exist_ok=True)
        options.write.write_text(text, encoding="utf-8")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
