"""Whether a slice of the samples does better than another, such as women's clips than men's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from modeltest.metrics.cluster_bootstrap import MIN_CLUSTERS
from modeltest.metrics.permutation import Chance, Groups, chance_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

REST = "rest"
BY_SPEAKER = "permutation-t(speaker)"
BY_SAMPLE = "permutation-t"
ACROSS_SPEAKERS = "cluster-robust-t(speaker)"
"""Where speakers have samples on both sides, so that none can be dealt to one of them."""


@dataclass(frozen=True, slots=True)
class SliceDifference:
    """Accuracy of one value of a slice key less that of another.

    Attributes:
        key: What the samples are sliced by (`gender`).
        value: The value whose accuracy comes first.
        other: The value that is taken off, or `rest`: all samples with another value.
        difference: A share, -1 to 1.
        ci_low: Lower end of its own 95 % interval, not widened for the number of differences;
            None where there are too few speakers, or nothing varies.
        ci_high: Upper end.
        p_value: Two-sided, of no difference; None in the same cases.
        p_holm: Holm's correction of it for all differences of the run that have one.
        total: Samples with the value.
        other_total: Samples that it is compared with.
        ci_method: How the interval was computed, or empty.
    """

    key: str
    value: str
    other: str
    difference: float
    ci_low: float | None
    ci_high: float | None
    p_value: float | None
    p_holm: float | None
    total: int = 0
    other_total: int = 0
    ci_method: str = ""


def slice_differences(
    slices: Mapping[str, Mapping[str, Sequence[int]]],
    correct: Sequence[bool],
    speakers: Sequence[int],
) -> tuple[SliceDifference, ...]:
    """Every difference within a key: of two values one, of more each against the rest.

    Args:
        slices: By key and value the places of its samples; a sample has one value of a key.
        correct: Of every sample of the run.
        speakers: `speakers[i]` is the speaker of sample i.
    """
    import numpy as np

    is_right, owner = np.asarray(correct, np.float64), np.asarray(speakers, np.int64)
    pairs = [(key, *pair) for key, values in slices.items() for pair in _pairs(values)]
    found = [
        _difference(
            key,
            pair,
            (is_right[first], owner[first]),
            (is_right[rest], owner[rest]),
            num_tests=len(pairs),
        )
        for key, pair, first, rest in pairs
    ]
    corrected = iter(holm([each.p_value for each in found if each.p_value is not None]))
    return tuple(
        each if each.p_value is None else replace(each, p_holm=next(corrected)) for each in found
    )


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's corrected p-values, in the order given.

    The smallest of m is multiplied by m, the next by m - 1, and so on; none is below one before
    it, nor above 1. To call those below 5 % differences is wrong at all in at most 5 % of runs
    without any, however the values depend on each other.

    Source: Holm, "A simple sequentially rejective multiple test procedure", Scandinavian
    Journal of Statistics 6 (1979).
    """
    corrected, highest = [0.0] * len(p_values), 0.0
    ascending = sorted(range(len(p_values)), key=lambda place: p_values[place])
    for rank, place in enumerate(ascending):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[place]))
        corrected[place] = highest
    return corrected


def _pairs(
    values: Mapping[str, Sequence[int]],
) -> Iterator[tuple[tuple[str, str], NDArray[np.int64], NDArray[np.int64]]]:
    """Both names, and the places of the samples of both."""
    import numpy as np

    places = {name: np.asarray(each, np.int64) for name, each in values.items() if len(each)}
    if len(places) == 2:
        (first, second) = places
        yield (first, second), places[first], places[second]
    elif len(places) > 2:
        for name, chosen in places.items():
            others = [each for other, each in places.items() if other != name]
            yield (name, REST), chosen, np.concatenate(others)


_Part = tuple["NDArray[np.float64]", "NDArray[np.int64]"]
"""Whether each sample of a part is right, and whose it is."""


def _difference(
    key: str, pair: tuple[str, str], first: _Part, second: _Part, num_tests: int
) -> SliceDifference:
    """One difference, not yet corrected."""
    value = float(first[0].mean() - second[0].mean())
    stderr = difference_standard_error(first, second)
    plain = SliceDifference(
        key, *pair, value, None, None, None, None, total=len(first[0]), other_total=len(second[0])
    )
    totals = [_totals(part) for part in (first, second)]
    num_owners = [len(counts) for _, _, counts in totals]
    if min(num_owners) < MIN_CLUSTERS or stderr == 0:
        return plain
    t = value / stderr
    chance, method = _by_chance(t, totals, num_tests), BY_SPEAKER
    if chance is None:
        # Of a difference of two means that vary differently, the safe degrees of freedom.
        chance, method = _by_student(t, min(num_owners) - 1), ACROSS_SPEAKERS
    elif max(counts.max() for _, _, counts in totals) == 1:
        method = BY_SAMPLE
    return replace(
        plain,
        ci_low=max(-1.0, (t - chance.high) * stderr),
        ci_high=min(1.0, (t - chance.low) * stderr),
        p_value=chance.p_value,
        ci_method=method,
    )


_Totals = tuple["NDArray[np.int64]", "NDArray[np.float64]", "NDArray[np.float64]"]
"""The speakers of a part, their right samples, and all of theirs in it."""


def _totals(part: _Part) -> _Totals:
    import numpy as np

    owners, place = np.unique(part[1], return_inverse=True)
    sums, counts = np.bincount(place, part[0]), np.bincount(place)
    return owners, sums.astype(np.float64), counts.astype(np.float64)


def _by_chance(t: float, totals: Sequence[_Totals], num_tests: int) -> Chance | None:
    """None where a speaker has samples in both parts."""
    import numpy as np

    (owners, sums, counts), (other_owners, other_sums, other_counts) = totals
    if len(np.intersect1d(owners, other_owners, assume_unique=True)):
        return None
    groups = Groups(np.append(sums, other_sums), np.append(counts, other_counts), len(owners))
    return chance_of(t, groups, num_tests)


def _by_student(t: float, freedom: int) -> Chance:
    from scipy.stats import t as student

    end = float(student.ppf(0.975, freedom))
    return Chance(-end, end, float(2 * student.sf(abs(t), freedom)))


def difference_standard_error(first: _Part, second: _Part) -> float:
    """Standard error of a difference of means over samples that come in clusters.

    sqrt(G / (G - 1) * sum(u_g^2)) for G clusters, u_g being what cluster g's deviations from
    the two means add to the difference. A cluster may have samples in both parts.

    Args:
        first: Values and clusters of the samples of the first mean, shape `(samples,)` each.
        second: Those of the second.

    Source: Liang and Zeger, "Longitudinal data analysis using generalized linear models",
    Biometrika 73 (1986), for a regression on one binary variable.
    """
    import numpy as np

    pulls = [
        sign * (values - values.mean()) / len(values)
        for sign, (values, _) in ((1, first), (-1, second))
    ]
    owners = np.concatenate([first[1], second[1]])
    _, place = np.unique(owners, return_inverse=True)
    pull = np.bincount(place, np.concatenate(pulls))
    return float(np.sqrt(len(pull) / (len(pull) - 1) * (pull @ pull))) if len(pull) > 1 else 0.0
