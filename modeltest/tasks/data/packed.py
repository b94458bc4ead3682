"""Many records in little memory: packed when they are collected, made anew on access."""

from __future__ import annotations

import json
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from copy import copy
from typing import Any, Generic, TypeVar, overload

import orjson

from modeltest.records import AudioFacts, AudioSource, Sample

Item = TypeVar("Item")


class Packed(Sequence[Item], Generic[Item]):
    """An immutable sequence that keeps its items as bytes; slices share them.

    A task's samples as objects take 1 kB each, most of it Python's own bookkeeping; packed
    they take what their texts take.
    """

    def __init__(
        self,
        items: Iterable[Item],
        pack: Callable[[Item], bytes],
        unpack: Callable[[bytes], Item],
    ) -> None:
        """Packs every item; `unpack(pack(item))` must be equal to it."""
        self._unpack = unpack
        self._content = bytearray()
        self._ends = array("Q", [0])
        for item in items:
            self._content += pack(item)
            self._ends.append(len(self._content))
        self._order: Sequence[int] = range(len(self._ends) - 1)

    def __len__(self) -> int:
        """How many items there are."""
        return len(self._order)

    @overload
    def __getitem__(self, place: int) -> Item: ...

    @overload
    def __getitem__(self, place: slice) -> Packed[Item]: ...

    def __getitem__(self, place: int | slice) -> Item | Packed[Item]:
        """An item, made anew, or some of them."""
        if isinstance(place, slice):
            return self.ordered(self._order[place])
        return self._made(self._order[place])

    def __iter__(self) -> Iterator[Item]:
        """Makes the items one after the other."""
        return map(self._made, self._order)

    def ordered(self, order: Sequence[int]) -> Packed[Item]:
        """These items in another order; `order` counts as the items were collected."""
        view = copy(self)
        view._order = order
        return view

    def _made(self, number: int) -> Item:
        return self._unpack(bytes(self._content[self._ends[number] : self._ends[number + 1]]))


def pack_samples(samples: Iterable[Sample]) -> Packed[Sample]:
    """Samples packed; what fetches the bytes of a clip without a file is kept as it is.

    The clips' paths come back as text.
    """
    readers: list[Callable[[], bytes]] = []

    def pack(sample: Sample) -> bytes:
        clips = [_packed_source(source, readers) for source in sample.audio]
        return _encoded([sample.sample_id, sample.truth, dict(sample.metadata), clips])

    def unpack(content: bytes) -> Sample:
        sample_id, truth, metadata, clips = _decoded(content)
        return Sample(sample_id, tuple(_source(clip, readers) for clip in clips), truth, metadata)

    return Packed(samples, pack, unpack)


def _encoded(row: list[Any]) -> bytes:
    try:
        return orjson.dumps(row)
    except TypeError:  # what UTF-8 cannot hold: names of files that are no text
        return json.dumps(row).encode("ascii")


def _decoded(content: bytes) -> Any:
    try:
        return orjson.loads(content)
    except ValueError:
        return json.loads(content)


def pack_facts(facts: Iterable[tuple[AudioFacts, ...]]) -> Packed[tuple[AudioFacts, ...]]:
    """What is known of the clips of each sample, packed."""
    return Packed(facts, _pack_facts, _unpack_facts)


def _pack_facts(clips: tuple[AudioFacts, ...]) -> bytes:
    return _encoded([[getattr(clip, name) for name in AudioFacts.__slots__] for clip in clips])


def _unpack_facts(content: bytes) -> tuple[AudioFacts, ...]:
    return tuple(AudioFacts(*clip) for clip in _decoded(content))


def _packed_source(source: AudioSource, readers: list[Callable[[], bytes]]) -> list[Any]:
    path = None if source.path is None else str(source.path)
    if source.read is None:
        return [source.name, path]
    readers.append(source.read)
    return [source.name, path, len(readers) - 1]


def _source(clip: list[Any], readers: list[Callable[[], bytes]]) -> AudioSource:
    name, path, *reader = clip
    return AudioSource(name, path, readers[reader[0]] if reader else None)
