"""OGG: every page whole, in order and the last one marked as the end (RFC 3533)."""

from __future__ import annotations

import struct
import zlib

from modeltest.audio.contents import ContainerFault, Contents

_HEADER_BYTES = 27
_CONTINUED, _BEGIN, _END = 1, 2, 4
_NO_CHECKSUM = bytes(4)
# OGG's CRC-32 is zlib's with the bits the other way round, no preset and no inversion.
_MIRRORED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def check_ogg(data: bytes) -> Contents:
    """Checks an OGG file of one logical stream.

    Raises:
        ContainerFault: A page is cut, damaged, missing or out of place, the end mark is
            missing, or there are several streams.
    """
    position = number = flags = 0
    serial = b""
    while position < len(data):
        page_bytes = _page_bytes(data, position)
        flags = data[position + 5]
        if flags & _BEGIN and number:
            raise ContainerFault("holds several streams; keep one per file")
        if number == 0:
            serial = data[position + 14 : position + 18]
        if data[position + 14 : position + 18] != serial:
            raise ContainerFault("holds several streams; keep one per file")
        if int.from_bytes(data[position + 18 : position + 22], "little") != number:
            raise ContainerFault(f"lacks OGG page {number}")
        if _crc(data[position : position + page_bytes]) != data[position + 22 : position + 26]:
            raise ContainerFault(f"is damaged in OGG page {number}")
        position += page_bytes
        number += 1
        if flags & _END and position < len(data):
            raise ContainerFault(f"goes on for {len(data) - position} bytes after its last page")
    if not flags & _END:
        raise ContainerFault(f"is cut: its last page, {number - 1}, is not marked as the end")
    return Contents("OGG")


def _page_bytes(data: bytes, position: int) -> int:
    """Length of the page at `position`, which is all there."""
    header_end = position + _HEADER_BYTES
    if data[position : position + 4] != b"OggS"[: len(data) - position]:
        raise ContainerFault(f"holds no OGG page at byte {position}")
    if header_end <= len(data):
        body = header_end + data[header_end - 1]
        end = body + sum(data[header_end:body])
        if body <= len(data) and end <= len(data):
            return end - position
    raise ContainerFault(f"is cut in the OGG page at byte {position}")


def _crc(page: bytes) -> bytes:
    """CRC of a page with its checksum field taken as zero, as it stands in the file."""
    blanked = page[:22] + _NO_CHECKSUM + page[26:]
    mirrored = zlib.crc32(blanked.translate(_MIRRORED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return struct.pack(">I", mirrored).translate(_MIRRORED)
