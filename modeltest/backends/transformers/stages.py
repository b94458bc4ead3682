"""One batch's clock: marks in the device's own time, resolved after the batch.

Nothing waits between the marks, so timing the stages does not slow them down.
"""

from __future__ import annotations

from typing import Any

from modeltest.protocols import Device
from modeltest.records import StageTimes, Timing


class StageClock:
    """Times the stages of one batch.

    The methods are called in the order of the stages; `token_done` once per new token, the
    first of which ends the prefill. Where nothing tells of the encoder, neither its time nor
    the prefill's is known.
    """

    def __init__(self, device: Device) -> None:
        self._device = device
        self._earlier_s = 0.0
        self._marks: dict[str, Any] = {}
        self._tokens: list[Any] = []

    def start(self, earlier_s: float = 0.0) -> None:
        """Drains the device and begins.

        Args:
            earlier_s: Host work of this batch that was done before; counted as features.
        """
        self._earlier_s = earlier_s
        self._device.synchronize()
        self._mark("start")

    def features_done(self) -> None:
        """Tokens and features are on the device, or on their way."""
        self._mark("features")

    def encoder_starts(self) -> None:
        """The encoder runs now; needed only where something lies between it and the features.

        An encoder that runs several times began with the first of them.
        """
        if "encoder_start" not in self._marks:
            self._mark("encoder_start")

    def encoder_done(self) -> None:
        """Encoder and projector ran."""
        self._mark("encoder")

    def token_done(self) -> None:
        """One more token per row was chosen."""
        self._tokens.append(self._device.mark())

    def generated(self) -> None:
        """The tokens are on the host."""
        self._mark("generated")

    def decoded(self) -> None:
        """The tokens are text."""
        self._mark("decoded")

    def times(self) -> Timing:
        """Drains the device and resolves the marks."""
        self._device.synchronize()
        first, *later = self._tokens
        encoder_start = "encoder_start" if "encoder_start" in self._marks else "features"
        knows_encoder = "encoder" in self._marks
        steps = zip((first, *later[:-1]), later, strict=True) if later else ()
        return Timing(
            e2e_s=self._earlier_s + self._between("start", "decoded"),
            stages=StageTimes(
                feature_s=self._earlier_s + self._between("start", "features"),
                encoder_s=self._between(encoder_start, "encoder") if knows_encoder else None,
                prefill_s=(
                    self._device.seconds_between(self._marks["encoder"], first)
                    if knows_encoder
                    else None
                ),
                ttft_s=self._earlier_s + self._device.seconds_between(self._marks["start"], first),
                step_s=tuple(self._device.seconds_between(a, b) for a, b in steps),
                detokenize_s=self._between("generated", "decoded"),
            ),
        )

    def _mark(self, name: str) -> None:
        self._marks[name] = self._device.mark()

    def _between(self, first: str, second: str) -> float:
        return self._device.seconds_between(self._marks[first], self._marks[second])
