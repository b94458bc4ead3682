"""The audio encoder run on a batch's longest clip instead of on 30 seconds.

Frames behind a clip's end are masked out of the encoder's attention, so cutting off the
frames that no clip of the batch reaches changes nothing but rounding. The model's own
forward is used: for the time of one call the encoder has fewer positions.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

# Two convolutions with a total stride of 2 come before the positions.
FRAMES_PER_POSITION = 2


def positions_needed(num_frames: int, max_positions: int) -> int:
    """Encoder positions for clips of up to `num_frames` mel frames.

    One position more than the longest clip fills, because the convolutions look one frame
    ahead, and an even number, because the encoder's output is pooled in pairs.
    """
    filled = -(-num_frames // FRAMES_PER_POSITION)
    needed = filled + 1
    return min(needed + needed % 2, max_positions)


@contextmanager
def fewer_positions(encoder: Any, num_positions: int) -> Iterator[None]:
    """Lets a Qwen2AudioEncoder take shorter features; restores it afterwards."""
    import torch

    whole, config = encoder.embed_positions, encoder.config
    max_positions = config.max_source_positions
    cut = torch.nn.Embedding.from_pretrained(whole.weight[:num_positions], freeze=True)
    try:
        encoder.embed_positions = cut
        config.max_source_positions = num_positions
        yield
    finally:
        encoder.embed_positions = whole
        config.max_source_positions = max_positions
