"""Cuts a stream of bytes into events or chunks, however the network cut it."""

from __future__ import annotations

from collections.abc import Iterator

_FIELD = b"data:"


class Cutter:
    """Cuts at an end mark; looks at every byte once."""

    def __init__(self, end: bytes) -> None:
        """Starts without anything.

        Args:
            end: One byte that ends a part.
        """
        self._end = end
        self._waiting = bytearray()

    def feed(self, octets: bytes) -> list[bytes]:
        """The parts that these bytes complete, without their end mark."""
        first, *others = octets.split(self._end)
        self._waiting += first
        if not others:
            return []
        parts = [bytes(self._waiting), *others[:-1]]
        self._waiting = bytearray(others[-1])
        return parts

    def rest(self) -> bytes:
        """What no end mark followed."""
        rest = bytes(self._waiting)
        self._waiting.clear()
        return rest


class EventLines:
    """The data of server-sent events (WHATWG HTML, 9.2); other fields and comments are dropped.

    Lines end with LF or CR LF; no service ends them with CR alone, which the standard allows.
    """

    def __init__(self) -> None:
        self._lines = Cutter(b"\n")
        self._data: list[bytes] = []

    def feed(self, octets: bytes) -> Iterator[bytes]:
        """The data of each event that these bytes complete."""
        for line in self._lines.feed(octets):
            yield from self._line(line.removesuffix(b"\r"))

    def rest(self) -> Iterator[bytes]:
        """The data of an event that the body's end completes."""
        yield from self._line(self._lines.rest().removesuffix(b"\r"))
        yield from self._line(b"")

    def _line(self, line: bytes) -> Iterator[bytes]:
        if line.startswith(_FIELD):
            self._data.append(line[len(_FIELD) :].removeprefix(b" "))
        elif not line and self._data:
            data, self._data = b"\n".join(self._data), []
            yield data
