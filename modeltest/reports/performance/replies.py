"""What a point answered: whether its replies repeat, and whether they are batch size 1's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from modeltest.runlog.digests import digest
from modeltest.runlog.sweep_log import Record


@dataclass(frozen=True, slots=True)
class Replies:
    """What is known of a point's replies.

    Attributes:
        sha256: Of the token ids of all replies; empty when unknown.
        changed: Replies that differ from batch size 1's to the same clip; None when there
            is nothing to compare.
        accuracy: Right replies over all, of all passes; None outside tasks.
        unstable: Replies that differ between rounds or passes of the point itself.
    """

    sha256: str = ""
    changed: int | None = None
    accuracy: float | None = None
    unstable: int = 0


def point_replies(
    rounds: Sequence[Record], outputs: Sequence[Record], single: Sequence[Record]
) -> Replies:
    """Compares the replies of a point with themselves and with batch size 1.

    Args:
        rounds: The point's measured rounds.
        outputs: The point's `outputs` records.
        single: Those of batch size 1 in the same mode.
    """
    hashes = _round_hashes(rounds)
    return Replies(
        sha256=_sha256(hashes, outputs),
        changed=_changed(outputs, single),
        accuracy=_accuracy(outputs),
        unstable=_unstable(hashes, outputs),
    )


def _round_hashes(rounds: Sequence[Record]) -> list[str]:
    """Hash of each round of the repeated clip; a task's rounds differ in order by design."""
    return [
        str(batch["outputs_sha256"])
        for record in rounds
        if record["kind"] == "copies"
        for batch in record["batches"]
    ]


def _sha256(hashes: Sequence[str], outputs: Sequence[Record]) -> str:
    if hashes:
        return hashes[0]
    return digest(sorted(map(list, _items(outputs[0]).items()))) if outputs else ""


def _items(record: Record) -> dict[str, str]:
    return {str(item): str(sha256) for item, sha256 in record["items"]}


def _unstable(hashes: Sequence[str], outputs: Sequence[Record]) -> int:
    """Differing replies by item where items are known, else differing rounds."""
    seen: dict[str, set[str]] = {}
    for record in outputs:
        for item, sha256 in _items(record).items():
            seen.setdefault(item, set()).add(sha256)
    items = sum(len(found) > 1 for found in seen.values())
    return items or sum(found != hashes[0] for found in hashes)


def _changed(outputs: Sequence[Record], single: Sequence[Record]) -> int | None:
    if not outputs or not single:
        return None
    expected = {_clip(item): sha256 for item, sha256 in _items(single[0]).items()}
    compared = [
        expected[_clip(item)] != sha256
        for item, sha256 in _items(outputs[0]).items()
        if _clip(item) in expected
    ]
    return sum(compared) if compared else None


def _clip(item: str) -> str:
    """The clip of a copy (`<clip>#<row>`), or a task's sample itself."""
    clip, mark, row = item.rpartition("#")
    return clip if mark and row.isdecimal() else item


def _accuracy(outputs: Sequence[Record]) -> float | None:
    scored: list[Mapping[str, int]] = [r for r in outputs if r.get("correct") is not None]
    total = sum(record["total"] for record in scored)
    return sum(record["correct"] for record in scored) / total if total else None
