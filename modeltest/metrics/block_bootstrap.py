"""How far a sweep's median may be from the one that another sweep would find.

The rounds of one visit (a block) share the machine's state of that minute, so they are not
independent of each other: the blocks are what is resampled, and the rounds inside them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

NUM_RESAMPLES = 4000
_SEED = 20240229
_MAX_ROUNDS = 128
_MIN_BLOCKS = 2


def expanded_alpha(num_blocks: int, confidence: float = 0.95) -> float:
    """The two-sided tail share that makes a percentile interval wide enough for few blocks.

    alpha'/2 = Phi(-sqrt(n / (n - 1)) * t(alpha/2, n - 1)): a plain percentile interval is too
    narrow by the factor sqrt((n - 1) / n) and uses the normal's quantile for Student's t.

    Args:
        num_blocks: n, at least 2.
        confidence: 1 - alpha.

    Source: Hesterberg, "What Teachers Should Know About the Bootstrap", The American
    Statistician 69 (2015), section "expanded percentile interval".
    """
    from scipy.stats import norm, t

    quantile = float(t.ppf((1 + confidence) / 2, num_blocks - 1))
    return 2 * float(norm.cdf(-math.sqrt(num_blocks / (num_blocks - 1)) * quantile))


def median_interval(
    blocks: Sequence[Sequence[float]], confidence: float = 0.95
) -> tuple[float, float] | None:
    """Interval of the median over all rounds, by the hierarchical bootstrap.

    Blocks are drawn with replacement, then rounds within each drawn block; the percentile
    interval of the medians is expanded for the number of blocks (`expanded_alpha`). Seeded:
    the same rounds give the same interval.

    Args:
        blocks: Rounds of each block, at least one in each.
        confidence: Share of sweeps whose interval should hold the true median.

    Returns:
        Lower and upper end, or None below two blocks.
    """
    if len(blocks) < _MIN_BLOCKS:
        return None
    medians = _resampled_medians(blocks, np.random.default_rng(_SEED))
    return _ends(medians, len(blocks), confidence)


def ratio_interval(
    first: Sequence[Sequence[float]],
    second: Sequence[Sequence[float]],
    confidence: float = 0.95,
) -> tuple[float, float] | None:
    """Interval of median(second) / median(first), both resampled independently.

    Expanded for the number of blocks of the run that has fewer.

    Returns:
        Lower and upper end, or None when either has fewer than two blocks.
    """
    num_blocks = min(len(first), len(second))
    if num_blocks < _MIN_BLOCKS:
        return None
    generator = np.random.default_rng(_SEED)
    below = _resampled_medians(first, generator)
    above = _resampled_medians(second, generator)
    return _ends(above / below, num_blocks, confidence)


def _ends(values: NDArray[np.float64], num_blocks: int, confidence: float) -> tuple[float, float]:
    tail = expanded_alpha(num_blocks, confidence) / 2
    low, high = np.quantile(values, [tail, 1 - tail])
    return float(low), float(high)


def _resampled_medians(
    blocks: Sequence[Sequence[float]], generator: np.random.Generator
) -> NDArray[np.float64]:
    """Medians of `NUM_RESAMPLES` hierarchical resamples, shape `(NUM_RESAMPLES,)`."""
    arrays = [_thinned(block) for block in blocks]
    longest = max(map(len, arrays))
    # Short blocks leave infinities, which sort behind all rounds and are not counted.
    drawn = np.full((NUM_RESAMPLES, len(arrays), longest), np.inf)
    chosen = generator.integers(len(arrays), size=(NUM_RESAMPLES, len(arrays)))
    for number, rounds in enumerate(arrays):
        resample, place = np.nonzero(chosen == number)
        size = (len(resample), len(rounds))
        drawn[resample, place, : len(rounds)] = rounds[generator.integers(len(rounds), size=size)]
    ordered = np.sort(drawn.reshape(NUM_RESAMPLES, -1), axis=1)
    counts = np.array([len(rounds) for rounds in arrays])[chosen].sum(axis=1)
    every = np.arange(NUM_RESAMPLES)
    middle = ordered[every, (counts - 1) // 2] + ordered[every, counts // 2]
    return np.asarray(middle / 2)


def _thinned(block: Sequence[float]) -> NDArray[np.float64]:
    """A long block by its evenly spaced quantiles, shape `(<= _MAX_ROUNDS,)`.

    So a certified sweep's report does not take minutes. Fewer draws vary more, so this can
    only widen the interval.
    """
    rounds = np.asarray(block, dtype=np.float64)
    if len(rounds) <= _MAX_ROUNDS:
        return rounds
    return np.quantile(rounds, (np.arange(_MAX_ROUNDS) + 0.5) / _MAX_ROUNDS)
