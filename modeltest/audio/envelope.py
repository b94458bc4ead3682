"""A clip's shape in a few characters, for a page that draws it without decoding the clip."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

NUM_PEAKS = 48
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


def envelope(waveform: NDArray[np.float32]) -> str:
    """The peaks of `NUM_PEAKS` stretches of about the same length, a character each.

    The place of a character in `ALPHABET` (that of base64url) is 63 times the square root of
    the peak, rounded: the root keeps the shape of quiet clips. Peaks above 1 count as 1.

    Args:
        waveform: Float32, shape `(num_samples,)`, at least one sample, finite.
    """
    import numpy as np

    starts = np.arange(NUM_PEAKS) * len(waveform) // NUM_PEAKS
    peaks = np.minimum(np.maximum.reduceat(np.abs(waveform), starts), 1.0)
    levels = np.rint(np.sqrt(peaks) * (len(ALPHABET) - 1)).astype(int)
    return "".join(ALPHABET[level] for level in levels.tolist())
