"""What a service is asked: the clips in one order for all points, and none of them twice.

A service may keep what it computed of a clip, of a part of it, or of a whole request. So each
request has a clip that no service ever got: it begins at a sample of its own, and carries a
number that is its own for certain, in bits that nobody hears.
"""

from __future__ import annotations

import random
import secrets
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from modeltest.records import Audio, Request
from modeltest.runner.material import Material, with_waveform
from modeltest.runner.sweep_plan import REQUESTS_PER_LANE, Point

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_COUNTER_BITS, _PROCESS_BITS = 32, 64
_PCM16_SCALE = 32768


class ClosedLoop:
    """Makes the requests of all rounds that this process measures."""

    def __init__(self, material: Material, process: int | None = None) -> None:
        """Decides the order of the clips by the material's seed.

        Args:
            material: What is asked.
            process: Tells this process from every other one, 64 bits; drawn where it is None.
        """
        self._material = material
        self._process = secrets.randbits(_PROCESS_BITS) if process is None else process
        self._clips = list(material.clips)
        random.Random(f"clips {material.seed}").shuffle(self._clips)
        self._num_asked: dict[Point, int] = {}
        self._num_made = 0

    def go_on(self, point: Point, num_asked: int) -> None:
        """Begins a point behind the requests that earlier processes recorded of it."""
        self._num_asked.setdefault(point, num_asked)

    def warm_up(self, point: Point) -> tuple[Request, ...]:
        """One request for each in flight, about the clips that come next."""
        return tuple(self._requests(point, point.batch_size))

    def next_round(self, point: Point) -> tuple[Request, ...]:
        """A round, about the clips behind those of the point's last round."""
        num_requests = REQUESTS_PER_LANE * point.batch_size
        requests = tuple(self._requests(point, num_requests))
        self._num_asked[point] = self._num_asked.get(point, 0) + num_requests
        return requests

    def _requests(self, point: Point, num_requests: int) -> Iterator[Request]:
        first = self._num_asked.get(point, 0)
        for place in range(first, first + num_requests):
            clip = self._clips[place % len(self._clips)]
            number = self._num_made
            self._num_made += 1
            audio = self._never_sent(clip.audio, number)
            yield self._material.request(replace(clip, audio=audio), f"#{number}", point)

    def _never_sent(self, audio: Audio, number: int) -> Audio:
        import numpy as np

        draw = random.Random(f"turn {self._process} {number}")
        waveform = np.roll(audio.waveform, -draw.randrange(len(audio.waveform)))
        mark(waveform, number | self._process << _COUNTER_BITS)
        return with_waveform(audio, waveform)


def mark(waveform: NDArray[np.float32], number: int) -> None:
    """Writes a number into the lowest bits of samples that are spread over a clip.

    A sample whose 16-bit value has the wrong lowest bit goes one step (1/32768) nearer to 0, or
    from 0 to 1. The bits can be read again, in 32-bit floats and in 16-bit PCM alike, so clips
    with different numbers differ whatever else they hold.

    Args:
        waveform: Float32, shape `(num_samples,)`, changed in place; of fewer than 96 samples
            each holds a bit, the number's lowest first.
        number: Of 96 bits.
    """
    import numpy as np

    num_bits = min(_COUNTER_BITS + _PROCESS_BITS, len(waveform))
    places = np.arange(num_bits) * len(waveform) // num_bits
    bits = np.array([number >> place & 1 for place in range(num_bits)])
    steps = np.clip(np.rint(waveform[places].astype(np.float64) * _PCM16_SCALE), -32768, 32767)
    is_wrong = steps % 2 != bits
    changed = steps + np.where(steps > 0, -1, 1)
    waveform[places[is_wrong]] = changed[is_wrong] / _PCM16_SCALE
