"""How far two tensors, and two distributions over tokens, are apart. All sums in float64."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from modeltest.metrics.parity.traces import StageValues

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Difference:
    """Of a tested tensor b from a reference a.

    Attributes:
        max_abs: Largest |b − a|; infinite where the shapes differ.
        relative: ‖b − a‖ / ‖a‖, both 2-norms over all values; infinite where the shapes differ,
            not a number where either holds one.
        cosine: a·b / (‖a‖ ‖b‖).
    """

    max_abs: float
    relative: float
    cosine: float


OTHER_SHAPE = Difference(math.inf, math.inf, math.nan)


def difference(reference: StageValues, tested: StageValues) -> Difference:
    """Compares the positions that both have kept."""
    if reference.num_positions != tested.num_positions:
        return OTHER_SHAPE
    kept = min(len(reference.values), len(tested.values))
    a, b = reference.spread(kept).values, tested.spread(kept).values
    return OTHER_SHAPE if a.shape != b.shape else _of_arrays(a, b)


def _of_arrays(a: NDArray[np.float32], b: NDArray[np.float32]) -> Difference:
    import numpy as np

    # Infinities and their differences are what is to be found, not to be warned of.
    with np.errstate(all="ignore"):
        first, second = a.astype(np.float64).ravel(), b.astype(np.float64).ravel()
        gap = second - first
        size, other = np.linalg.norm(first), np.linalg.norm(second)
        distance = np.linalg.norm(gap)
        if size == 0 or other == 0:
            same = bool(size == other)
            return Difference(
                float(abs(gap).max(initial=0.0)), 0.0 if same else math.inf, 1.0 if same else 0.0
            )
        return Difference(
            max_abs=float(abs(gap).max(initial=0.0)),
            relative=float(distance / size),
            cosine=float(first @ second / (size * other)),
        )


def kl_divergence(reference: Sequence[float] | Any, tested: Sequence[float] | Any) -> float:
    """KL(P‖Q) in nats of the softmax of two rows of logits, `(n,)` each.

    Σ p (log p − log q); Kullback and Leibler 1951. 0 where both are the same but for a constant.
    """
    import numpy as np

    with np.errstate(all="ignore"):
        log_p, log_q = (_log_softmax(np.asarray(row, np.float64)) for row in (reference, tested))
        return float(np.sum(np.exp(log_p) * (log_p - log_q)))


def root_mean_square(values: Any) -> float:
    """√(mean of squares)."""
    import numpy as np

    return float(np.sqrt(np.mean(np.square(np.asarray(values, np.float64)))))


def _log_softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    import numpy as np

    shifted: NDArray[np.float64] = logits - logits.max()
    total: float = np.exp(shifted).sum()
    return shifted - float(np.log(total))
