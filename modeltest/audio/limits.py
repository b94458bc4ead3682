"""What one clip may cost at most; checked before anything is decoded.

Duration and decoded size are vLLM's limits for uploads; none of the accepted containers
needs more for speech or sound samples.
"""

from __future__ import annotations

from typing import NoReturn

from modeltest.audio.contents import ContainerFault

MAX_FILE_BYTES = 256 << 20
MAX_DURATION_S = 600
MAX_CHANNELS = 8
MIN_RATE_HZ = 1_000
MAX_RATE_HZ = 384_000
MAX_DECODED_BYTES = 256 << 20
"""All frames and channels as float32."""

_MIB = 1 << 20


def require_file_size(num_bytes: int) -> None:
    """Refuses a file that is too large to read.

    Raises:
        ContainerFault: It exceeds `MAX_FILE_BYTES`.
    """
    if num_bytes > MAX_FILE_BYTES:
        raise ContainerFault(f"exceeds {MAX_FILE_BYTES // _MIB} MiB, the limit for a clip's file")


def require_affordable(num_frames: int, num_channels: int, rate_hz: int) -> None:
    """Refuses what a header declares beyond the limits.

    Raises:
        ContainerFault: Channels, rate, duration or decoded size.
    """
    if num_channels > MAX_CHANNELS:
        raise ContainerFault(f"has {num_channels} channels, the limit is {MAX_CHANNELS}")
    if not MIN_RATE_HZ <= rate_hz <= MAX_RATE_HZ:
        raise ContainerFault(
            f"has a rate of {rate_hz} Hz, the limits are {MIN_RATE_HZ} to {MAX_RATE_HZ} Hz"
        )
    if num_frames > MAX_DURATION_S * rate_hz:
        refuse_long()
    if num_frames * num_channels * 4 > MAX_DECODED_BYTES:
        raise ContainerFault(f"decodes to more than {MAX_DECODED_BYTES // _MIB} MiB, the limit")


def refuse_long() -> NoReturn:
    """Refuses a clip beyond `MAX_DURATION_S`.

    Raises:
        ContainerFault: Always.
    """
    raise ContainerFault(f"is longer than {MAX_DURATION_S} s, the limit")
