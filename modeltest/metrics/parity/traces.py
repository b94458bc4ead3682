"""What one side of a parity check showed of each sample."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class StageValues:
    """What a stage put out for one sample.

    Attributes:
        values: float32, `(kept, width)`: all positions, or some that are spread evenly.
        num_positions: How many there were.
    """

    values: NDArray[np.float32]
    num_positions: int

    def spread(self, at_most: int) -> StageValues:
        """The same with at most so many positions."""
        kept = spread(len(self.values), at_most)
        return StageValues(self.values[kept], self.num_positions)


@dataclass(frozen=True, slots=True)
class SampleTrace:
    """What a side showed of one sample.

    Attributes:
        sample_id: The sample.
        text: The reply; empty where there is an error.
        answer: What the task reads out of it; None where nothing.
        error: Why there is no reply.
        input_tokens: Length of the prompt, audio included; None where a service says nothing.
        input_ids: The prompt's tokens; empty of a service.
        output_ids: The reply's tokens; empty of a service.
        margins: Per token of the reply how far the best logit was above the second.
        option_logits: Of the choices, as the first token; empty where there are none.
        stages: Every stage's output where each goes on with the one before; of most samples
            the coarse stages alone.
        alone: Every stage's output where each was given the reference's input.
    """

    sample_id: str
    text: str
    answer: str | None = None
    error: str = ""
    input_tokens: int | None = None
    input_ids: tuple[int, ...] = ()
    output_ids: tuple[int, ...] = ()
    margins: tuple[float, ...] = ()
    option_logits: tuple[float, ...] = ()
    stages: Mapping[str, StageValues] = field(default_factory=dict)
    alone: Mapping[str, StageValues] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Trace:
    """What a side showed of all samples.

    Attributes:
        samples: In the order of the probe set, the same for both sides.
        data_type: `bf16`, `fp16`, `fp32`, or `served`.
    """

    samples: tuple[SampleTrace, ...]
    data_type: str


def spread(num: int, at_most: int) -> list[int]:
    """Indices of at most so many of `num` things, evenly spread, the first and the last too."""
    if num <= at_most:
        return list(range(num))
    if at_most == 1:
        return [num - 1]
    return [number * (num - 1) // (at_most - 1) for number in range(at_most)]
