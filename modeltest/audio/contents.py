"""What a container says of its audio, read from its bytes before any decoder sees them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NoReturn


class ContainerFault(Exception):
    """A container that is cut, lies about itself or is of no accepted kind; the text says how."""


@dataclass(frozen=True, slots=True)
class Contents:
    """One container whose sizes agree with the bytes there.

    Attributes:
        container: libsndfile's name of the kind: `WAV`, `FLAC`, `OGG`, `MP3`, `AIFF` or `AU`.
        num_frames: Samples per channel that decoding must yield; None where the container
            leaves it to the decoder.
        notes: What a reader of the results should know.
        pcm_md5: MD5 of the decoded integers, where the container holds one.
        sample_bytes: Bytes of one integer under `pcm_md5`.
    """

    container: str
    num_frames: int | None = None
    notes: tuple[str, ...] = ()
    pcm_md5: bytes = b""
    sample_bytes: int = 0


def require_bytes(what: str, declared: int, there: int) -> None:
    """Refuses a part that is longer than what is left of the file.

    Raises:
        ContainerFault: It is.
    """
    if declared > there:
        raise ContainerFault(f"is cut: {what} declares {declared} bytes, {there} are there")


def refuse_unknown_length() -> NoReturn:
    """Refuses a stream: whether its end is missing cannot be told.

    Raises:
        ContainerFault: Always.
    """
    raise ContainerFault("declares no length (a stream? encode it again)")


def refuse_no_frames() -> NoReturn:
    """Refuses a container without audio.

    Raises:
        ContainerFault: Always.
    """
    raise ContainerFault("declares no frames")


def after_the_end(num_bytes: int) -> tuple[str, ...]:
    """The note on bytes behind the audio's declared end, if there are any."""
    return (f"{num_bytes} bytes after its end are ignored",) if num_bytes else ()
