"""The segments of a run, one after the other: whether they are its own, and whether they are whole.

A segment begins with its head, which names the run's manifest.json by its SHA-256. So a log
that was copied from another run is noticed whatever its records say, and so is a manifest that
was changed after the run began.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from modeltest.runlog.layout import LOG_FOLDER
from modeltest.runlog.segment import SegmentReader

HEAD = "head"
_FIRST_VERSION_WITH_HEADS = 3


def head_record(manifest_sha256: str) -> dict[str, Any]:
    """The first record of a segment; takes the SHA-256 of manifest.json as it lies on the disk."""
    return {"type": HEAD, "manifest_sha256": manifest_sha256}


def needs_heads(manifest: Mapping[str, Any]) -> bool:
    """Whether the segments of a run have heads; those of older versions had none."""
    return bool(manifest["schema_version"] >= _FIRST_VERSION_WITH_HEADS)


class LogReader:
    """Reads the segments of a run; iterate over each one's records, once.

    Attributes:
        segments: The files, in the order of their names.
        torn: Names of segments of which the last line alone is incomplete; known behind their
            records, as the two below.
        damaged: Names of segments that are damaged inside.
        foreign: Names of segments with records that do not stand behind a head of this run.
    """

    def __init__(self, folder: Path, manifest: Mapping[str, Any], manifest_sha256: str) -> None:
        """Reads nothing yet; takes what `read_sealed` returned of that folder."""
        self.segments = sorted((folder / LOG_FOLDER).glob("*.jsonl"))
        self.torn: list[str] = []
        self.damaged: list[str] = []
        self.foreign: list[str] = []
        self._needs_heads = needs_heads(manifest)
        self._manifest_sha256 = manifest_sha256

    def records(self, segment: Path) -> Iterator[tuple[int, int, dict[str, Any]]]:
        """Yields the records of a segment without its head, as `SegmentReader`.

        Raises:
            DataError: It cannot be read, or is no regular file.
        """
        reader = SegmentReader(segment)
        is_own, is_foreign = not self._needs_heads, False
        for line in reader:
            record = line[2]
            is_head = record["type"] == HEAD
            if is_head:
                is_own = record["manifest_sha256"] == self._manifest_sha256
            if not is_own:
                is_foreign = True
            if not is_head:
                yield line
        for found, names in (
            # Of a damaged one more than its last line is left out, and no resumed run asks again.
            (reader.torn and not reader.damaged, self.torn),
            (reader.damaged, self.damaged),
            (is_foreign, self.foreign),
        ):
            if found:
                names.append(segment.name)

    def problems(self) -> list[str]:
        """What makes the log unfit, a line each; call it behind all records."""
        said = [
            f"segment {name} is damaged inside; see modeltest report --repair"
            for name in self.damaged
        ]
        if self.foreign:
            first, more = self.foreign[0], len(self.foreign) - 1
            which = f"segment {first} belongs"
            if more:
                which = f"segment {first} and {more} more belong"
            said.append(f"{which} to another run, or manifest.json was changed")
        return said
