"""WAV, AIFF and AU: the sizes that headers declare, against the bytes there.

libsndfile lowers a size that is too large to what it finds and says nothing, so that half
a file passes for a whole one. Layouts: Microsoft RIFF, EBU Tech 3306 (RF64), Apple AIFF-C,
Sun AU.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Literal, NamedTuple

from modeltest.audio.contents import (
    ContainerFault,
    Contents,
    after_the_end,
    refuse_no_frames,
    refuse_unknown_length,
    require_bytes,
)

_ByteOrder = Literal["little", "big"]

_MAX_CHUNKS = 10_000
_UNSET = 0xFFFFFFFF
_WAV_EXTENSIBLE = 0xFFFE
_WAV_FRAME_PER_BLOCK = {1, 3, 6, 7}  # PCM, float, A-law, µ-law
_AIFF_SAMPLE_BYTES = {b"ulaw": 1, b"ULAW": 1, b"alaw": 1, b"ALAW": 1, b"raw ": 1}
_AIFF_BY_BITS = {b"NONE", b"twos", b"sowt", b"in24", b"in32", b"fl32", b"FL32", b"fl64", b"FL64"}
_AU_SAMPLE_BYTES = {1: 1, 2: 1, 3: 2, 4: 3, 5: 4, 6: 4, 7: 8, 27: 1}


class _Chunk(NamedTuple):
    kind: bytes
    start: int
    size: int

    @property
    def end(self) -> int:
        return self.start + self.size


def check_wav(data: bytes) -> Contents:
    """Checks a RIFF, RIFX or RF64 file.

    Raises:
        ContainerFault: It is cut, has no end, or its parts contradict one another.
    """
    order: _ByteOrder = "big" if data[:4] == b"RIFX" else "little"
    riff_bytes = int.from_bytes(data[4:8], order)
    long_data_bytes = None
    if data[:4] == b"RF64":
        riff_bytes, long_data_bytes = _ds64(data, riff_bytes)
    if riff_bytes in (0, _UNSET):
        refuse_unknown_length()
    riff_end = 8 + riff_bytes
    form, sound = _two_chunks(data, riff_end, order, (b"fmt ", b"data"), long_data_bytes)
    if sound.size == 0:
        if riff_end < len(data) and sound.start == riff_end:
            refuse_unknown_length()
        refuse_no_frames()
    if form.start > sound.start or form.size < 16:
        raise ContainerFault("describes its audio too late or in too few bytes")
    code, _, _, _, block_bytes, _ = struct.unpack_from(
        ">HHIIHH" if order == "big" else "<HHIIHH", data, form.start
    )
    if code == _WAV_EXTENSIBLE and form.size >= 26:
        code = int.from_bytes(data[form.start + 24 : form.start + 26], order)
    num_frames = _frames(sound.size, block_bytes) if code in _WAV_FRAME_PER_BLOCK else None
    if num_frames is None:  # GSM 6.10 decodes to less without its padding
        require_bytes("its header", riff_bytes, len(data) - 8)
    return Contents("WAV", num_frames, after_the_end(max(len(data) - riff_end, 0)))


def check_aiff(data: bytes) -> Contents:
    """Checks an AIFF or AIFF-C file.

    Raises:
        ContainerFault: As for `check_wav`.
    """
    form_end = 8 + int.from_bytes(data[4:8], "big")
    common, sound = _two_chunks(data, form_end, "big", (b"COMM", b"SSND"), None)
    compressed = data[8:12] == b"AIFC"
    if common.size < (22 if compressed else 18) or sound.size < 8:
        raise ContainerFault("describes its audio in too few bytes")
    num_channels, num_frames, bits = struct.unpack_from(">HIH", data, common.start)
    if num_frames == 0:
        refuse_no_frames()
    kind = data[common.start + 18 : common.start + 22] if compressed else b"NONE"
    sample_bytes = _AIFF_SAMPLE_BYTES.get(kind) or (-(-bits // 8) if kind in _AIFF_BY_BITS else 0)
    notes = after_the_end(max(len(data) - form_end, 0))
    if not sample_bytes:
        return Contents("AIFF", None, notes)
    offset = int.from_bytes(data[sound.start : sound.start + 4], "big")
    declared = num_frames * num_channels * sample_bytes
    if offset + declared != sound.size - 8:
        raise ContainerFault(
            f"declares {num_frames} frames of {num_channels * sample_bytes} bytes, "
            f"its SSND chunk holds {sound.size - 8 - offset} bytes"
        )
    return Contents("AIFF", num_frames, notes)


def check_au(data: bytes) -> Contents:
    """Checks a Sun or NeXT file.

    Raises:
        ContainerFault: As for `check_wav`.
    """
    order: _ByteOrder = "little" if data[:4] == b"dns." else "big"
    if len(data) < 24:
        raise ContainerFault("is cut in its header")
    start, size, code, _, num_channels = struct.unpack_from(
        "<5I" if order == "little" else ">5I", data, 4
    )
    if size == _UNSET:
        refuse_unknown_length()
    if size == 0:
        refuse_no_frames()
    require_bytes("its header", size, max(len(data) - start, 0))
    sample_bytes = _AU_SAMPLE_BYTES.get(code)
    num_frames = _frames(size, num_channels * sample_bytes) if sample_bytes else None
    return Contents("AU", num_frames, after_the_end(len(data) - start - size))


def _ds64(data: bytes, riff_bytes: int) -> tuple[int, int]:
    """RF64's 64-bit sizes of the whole and of the data chunk."""
    if data[12:16] != b"ds64" or len(data) < 36:
        raise ContainerFault("is RF64 without a ds64 chunk")
    long_riff_bytes, data_bytes = struct.unpack_from("<QQ", data, 20)
    return (long_riff_bytes if riff_bytes == _UNSET else riff_bytes), data_bytes


def _two_chunks(
    data: bytes,
    declared_end: int,
    order: _ByteOrder,
    kinds: tuple[bytes, bytes],
    long_data_bytes: int | None,
) -> tuple[_Chunk, _Chunk]:
    """The one chunk that describes the audio and the one that holds it, both whole."""
    found: dict[bytes, _Chunk] = {}
    last = _Chunk(b"", 12, 0)
    for last in _chunks(data, min(declared_end, len(data)), order, long_data_bytes):
        if last.kind in kinds:
            if last.kind in found:
                raise ContainerFault(f"holds two {_shown(last.kind)} chunks")
            found[last.kind] = last
    # Some writers leave out the byte that pads an odd chunk at the end, but count it.
    unpadded = last.size % 2 == 1 and last.end == len(data)
    require_bytes("its header", declared_end - 8 - unpadded, len(data) - 8)
    for kind in kinds:
        if kind not in found:
            raise ContainerFault(f"holds no {_shown(kind)} chunk")
    return found[kinds[0]], found[kinds[1]]


def _chunks(
    data: bytes, end: int, order: _ByteOrder, long_data_bytes: int | None
) -> Iterator[_Chunk]:
    start = 12
    for _ in range(_MAX_CHUNKS):
        if start + 8 > end:
            return
        kind, size = data[start : start + 4], int.from_bytes(data[start + 4 : start + 8], order)
        start += 8
        if kind == b"data" and size == _UNSET:
            if long_data_bytes is None:
                refuse_unknown_length()
            size = long_data_bytes
        require_bytes(f"its {_shown(kind)} chunk", size, end - start)
        yield _Chunk(kind, start, size)
        start += size + size % 2
    raise ContainerFault(f"holds more than {_MAX_CHUNKS} chunks")


def _frames(num_bytes: int, frame_bytes: int) -> int:
    if frame_bytes == 0 or num_bytes % frame_bytes:
        raise ContainerFault(f"holds {num_bytes} bytes in frames of {frame_bytes} bytes")
    return num_bytes // frame_bytes


def _shown(kind: bytes) -> str:
    return ascii(kind.decode("latin-1"))[1:-1].rstrip()
