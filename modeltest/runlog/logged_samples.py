"""The sample records of a run, read from its segments when they are asked for."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from modeltest.errors import DataError
from modeltest.runlog.segment import decode_known_line

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_MAX_OPEN = 32
_MAX_LISTED = 1024


class LoggedSamples(Sequence[Mapping[str, Any]]):
    """Sample records in the task's order; in memory is only where each one lies.

    A segment only grows, so a place stays right while another process writes.
    """

    def __init__(self, segments: Sequence[Path], places: NDArray[np.void]) -> None:
        """Reads nothing yet.

        Args:
            segments: The files.
            places: One per record, with the fields `segment` (number of the file), `offset`
                and `length` of the line without its newline, bytes.
        """
        self._segments = segments
        self._places = places

    def __len__(self) -> int:
        """How many records there are."""
        return len(self._places)

    @overload
    def __getitem__(self, place: int) -> Mapping[str, Any]: ...

    @overload
    def __getitem__(self, place: slice) -> LoggedSamples: ...

    def __getitem__(self, place: int | slice) -> Mapping[str, Any] | LoggedSamples:
        """A record, or some of them."""
        if isinstance(place, slice):
            return LoggedSamples(self._segments, self._places[place])
        found = range(len(self))[place]
        # Left to the collector, the iterator would swallow a signal that meets it closing.
        with closing(iter(self[found : found + 1])) as records:
            return next(records)

    def __iter__(self) -> Generator[Mapping[str, Any], None, None]:
        """Reads one record after the other.

        Raises:
            DataError: The log was changed since the run was read.
        """
        with _OpenSegments(self._segments) as files:
            for first in range(0, len(self), _MAX_LISTED):
                # All places at once as Python's numbers would take 200 bytes each.
                for segment, offset, length in self._places[first : first + _MAX_LISTED].tolist():
                    line = os.pread(files.descriptor(segment), length, offset)
                    record = decode_known_line(line)
                    if record is None:
                        raise DataError(f"{self._segments[segment]}: changed while it was read")
                    yield record


class _OpenSegments:
    """Descriptors of the segments in use; a run that was resumed very often has many."""

    def __init__(self, segments: Sequence[Path]) -> None:
        self._segments = segments
        self._open: OrderedDict[int, int] = OrderedDict()

    def __enter__(self) -> _OpenSegments:
        return self

    def __exit__(self, *_: object) -> None:
        with ExitStack() as stack:
            for descriptor in self._open.values():
                stack.callback(os.close, descriptor)
            self._open.clear()

    def descriptor(self, segment: int) -> int:
        """The open file of a segment.

        Raises:
            DataError: It is gone.
        """
        found = self._open.get(segment)
        if found is not None:
            return found
        if len(self._open) == _MAX_OPEN:
            os.close(self._open.popitem(last=False)[1])
        try:
            found = os.open(self._segments[segment], os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            path = self._segments[segment]
            raise DataError(f"{path}: cannot be read any more ({error.strerror})") from error
        self._open[segment] = found
        return found
