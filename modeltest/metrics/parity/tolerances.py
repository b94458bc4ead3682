"""How far two sides may be apart, by precision, and why.

The measure is the relative difference ‖b − a‖ / ‖a‖ of a stage's output. Rounding to nearest
errs by at most the unit round-off u of a value: 2^-24 in float32, 2^-11 in float16, 2^-8 in
bfloat16 (Higham 2002, Accuracy and Stability of Numerical Algorithms, §2.1).

One stage by itself, from the same input, on the embedded model against float32 (CPU, torch
2.13): at most 0.82 u in bfloat16 (3.2e-3) and 0.84 u in float16 (4.1e-4). Two sides of one
precision each err by that, so the allowance of 4 u is about three times what rounding does. In
float32 the embedded model differs by 2e-7 between batch sizes, engines and attentions; other
hardware adds in other orders, over sums that grow with the model, so 3e-5 is allowed: well above
that, and below the 2e-4 of products in TF32 or HF32, which are float32 in name only.

Errors of consecutive stages are as good as independent, and their squares add: behind n stages
the allowance is √n times that of one. Measured behind 13 stages: 1.2 u, where √13 · 4 u are
allowed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

_UNITS = 4.0
_FLOAT32 = 3e-5
# Computed in float32 on the host, whatever the model's precision. Against the same features in
# float64 the embedded clips differ by up to 2e-6; other libraries' Fourier transforms round
# otherwise, and the logarithm magnifies that in quiet bins.
LOG_MEL = 1e-4
# Two logits each off by the allowed root mean square: their difference errs by √2 of it, and
# 4 leaves nearly three standard deviations.
_DEVIATIONS_OF_A_TIE = 4.0


@dataclass(frozen=True, slots=True)
class Precision:
    """One row of the table.

    Attributes:
        unit_roundoff: u of the data type.
        one_stage: Allowed relative difference of a stage from the same input.
    """

    unit_roundoff: float
    one_stage: float


TABLE = {
    "fp32": Precision(2.0**-24, _FLOAT32),
    "fp16": Precision(2.0**-11, _UNITS * 2.0**-11),
    "bf16": Precision(2.0**-8, _UNITS * 2.0**-8),
}
# Nobody here knows in what a service computes; bf16 is the least that is usual.
_OF_A_SERVICE = "bf16"


@dataclass(frozen=True, slots=True)
class Tolerances:
    """What is allowed between two sides.

    Attributes:
        data_type: The coarser of the two.
        one_stage: For a stage given the reference's input.
    """

    data_type: str
    one_stage: float

    @classmethod
    def between(cls, first: str, second: str) -> Tolerances:
        """For two data types; the coarser one decides."""
        known = [name if name in TABLE else _OF_A_SERVICE for name in (first, second)]
        coarser = max(known, key=lambda name: TABLE[name].unit_roundoff)
        return cls(coarser, TABLE[coarser].one_stage)

    @property
    def log_mel(self) -> float:
        """For features, which reach the encoder in the model's precision."""
        unit = TABLE[self.data_type].unit_roundoff
        return max(LOG_MEL, unit)

    def behind(self, num_stages: int) -> float:
        """For the output of the last of so many stages that go on from one another."""
        return math.sqrt(num_stages) * self.one_stage

    def tie(self, num_stages: int, size: float) -> float:
        """The largest margin between two logits that rounding may turn around.

        Args:
            num_stages: Up to the logits.
            size: Root mean square of the reference's logits.
        """
        return _DEVIATIONS_OF_A_TIE * self.behind(num_stages) * size
