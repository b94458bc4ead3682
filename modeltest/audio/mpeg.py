"""MP3: a walk over the frame headers, against the length that the first frame declares.

The decoder stops in silence where frames end, and guesses the length of a stream without a
Xing, Info or VBRI header from its first frame's bit rate. Layouts: ISO 11172-3 and 13818-3;
the Xing and LAME tag as LAME writes it; ID3v2.4 §3.1.
"""

from __future__ import annotations

from typing import NamedTuple

from modeltest.audio.contents import ContainerFault, Contents
from modeltest.audio.limits import MAX_DURATION_S, refuse_long

UNPROVEN_END = "declares no length: a cut between two MP3 frames would not show"
"""Note on an MP3 without a Xing, Info or VBRI header."""

_BITS_PER_MS = {
    (1, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (1, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (1, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (2, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (2, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_RATES_HZ = (44_100, 48_000, 32_000)
_RATE_DIVISOR = {3: 1, 2: 2, 0: 4}  # MPEG 1, 2 and 2.5
_VBRI_OFFSET = 36


class _Frame(NamedTuple):
    """One frame header: `kind` (version, layer, rate bits) is the same all through a file."""

    kind: int
    num_bytes: int
    num_samples: int
    rate_hz: int
    side_end: int


class _Declared(NamedTuple):
    num_frames: int
    num_trimmed: int


def id3v2_bytes(data: bytes) -> int:
    """Length of the ID3v2 tag at the beginning, 0 where there is none."""
    if data[:3] != b"ID3" or len(data) < 10 or max(data[6:10]) > 0x7F:
        return 0
    size = 0
    for byte in data[6:10]:
        size = size << 7 | byte
    return size + 10 + (10 if data[5] & 0x10 else 0)


def is_mpeg(data: bytes, start: int) -> bool:
    """Whether an MPEG audio frame header stands at `start`."""
    return _parse(data, start) is not None


def check_mpeg(data: bytes, start: int) -> Contents:
    """Walks the frames of an MPEG audio stream (layers 1 to 3) from `start`.

    Raises:
        ContainerFault: A frame is cut, or something else stands where one belongs; there
            are fewer frames than declared; or the stream is longer than `MAX_DURATION_S`.
    """
    first = _parse(data, start)
    if first is None:
        raise ContainerFault("holds no MPEG audio frame")
    end = _tags_start(data)
    declared = _read_tag(data, start, first)
    position = start + first.num_bytes if declared else start
    if position > end:
        raise ContainerFault("is cut in its first MP3 frame")
    num_frames = 0
    while position < end:
        frame = _parse(data, position)
        if frame is None or frame.kind != first.kind:
            if not any(data[position:end]):
                break
            raise ContainerFault(f"breaks off after {num_frames} MP3 frames, at byte {position}")
        if position + frame.num_bytes > end:
            raise ContainerFault(f"is cut in MP3 frame {num_frames}, at byte {position}")
        position += frame.num_bytes
        num_frames += 1
        if num_frames * first.num_samples > MAX_DURATION_S * first.rate_hz:
            refuse_long()
    num_samples = num_frames * first.num_samples
    if declared is None:
        return Contents("MP3", num_samples, (UNPROVEN_END,))
    if declared.num_frames != num_frames:
        raise ContainerFault(f"declares {declared.num_frames} MP3 frames, {num_frames} are there")
    return Contents("MP3", max(num_samples - declared.num_trimmed, 0))


def _parse(data: bytes, position: int) -> _Frame | None:
    header = data[position : position + 4]
    if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE0 != 0xE0:
        return None
    version, layer = header[1] >> 3 & 3, 4 - (header[1] >> 1 & 3)
    bit_rate, rate, padding = header[2] >> 4, header[2] >> 2 & 3, header[2] >> 1 & 1
    # Bit rate 0 is "free": nothing says where such a frame ends.
    if version == 1 or layer == 4 or bit_rate in (0, 15) or rate == 3:
        return None
    table = (1, layer) if version == 3 else (2, min(layer, 2))
    bits_per_s = _BITS_PER_MS[table][bit_rate - 1] * 1000
    rate_hz = _RATES_HZ[rate] // _RATE_DIVISOR[version]
    if layer == 1:
        num_samples, num_bytes = 384, (12 * bits_per_s // rate_hz + padding) * 4
    else:
        num_samples = 576 if layer == 3 and version != 3 else 1152
        num_bytes = num_samples // 8 * bits_per_s // rate_hz + padding
    mono = header[3] >> 6 == 3
    side_bytes = (17 if mono else 32) if version == 3 else (9 if mono else 17)
    kind = (header[1] & 0xFE) << 8 | header[2] & 0x0C
    return _Frame(kind, num_bytes, num_samples, rate_hz, 4 + side_bytes)


def _read_tag(data: bytes, start: int, first: _Frame) -> _Declared | None:
    """What a Xing, Info or VBRI header in the first frame declares; None without one."""
    frame = data[start : start + first.num_bytes]
    if frame[_VBRI_OFFSET : _VBRI_OFFSET + 4] == b"VBRI":
        return _Declared(int.from_bytes(frame[_VBRI_OFFSET + 14 : _VBRI_OFFSET + 18], "big"), 0)
    tag = frame[first.side_end :]
    if tag[:4] not in (b"Xing", b"Info"):
        return None
    flags = int.from_bytes(tag[4:8], "big")
    if not flags & 1:
        raise ContainerFault("has an MP3 length header without a length")
    lame = (
        8 + 4 * (flags & 1) + 4 * (flags >> 1 & 1) + 100 * (flags >> 2 & 1) + 4 * (flags >> 3 & 1)
    )
    gaps = int.from_bytes(tag[lame + 21 : lame + 24], "big") if any(tag[lame : lame + 9]) else 0
    return _Declared(int.from_bytes(tag[8:12], "big"), (gaps >> 12) + (gaps & 0xFFF))


def _tags_start(data: bytes) -> int:
    """Where the tags at the end begin: ID3v1 and APEv2."""
    end = len(data)
    if data[max(end - 128, 0) : end][:3] == b"TAG" and end >= 128:
        end -= 128
    footer = data[max(end - 32, 0) : end]
    if footer[:8] == b"APETAGEX":
        size, flags = (
            int.from_bytes(footer[12:16], "little"),
            int.from_bytes(footer[20:24], "little"),
        )
        end -= min(size + (32 if flags >> 31 else 0), end)
    return end
