"""What a check of `modeltest parity` left on the disk, for those who only list it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modeltest.errors import DataError, one_line
from modeltest.plain_files import read_regular, strict_json
from modeltest.runlog.layout import PARITY_NAME
from modeltest.runlog.sweep_record_shape import is_count

_MAX_BYTES = 64 * 1024 * 1024
_OUTCOMES = ("PASS", "FAIL")


@dataclass(frozen=True, slots=True)
class ParityCheck:
    """What a check came to.

    Attributes:
        folder: Where its tables lie; the folder's name is the run's id.
        started: Local time, ISO 8601.
        model: Name of the model under test.
        device: Label of the device under test.
        outcome: `PASS` or `FAIL`.
        num_samples: Samples of the probe set.
        num_failed: Those that a side did not answer.
        num_stages: Stages that were compared; None in checks of before it was recorded.
        num_outside: Those outside their tolerance; None likewise.
    """

    folder: Path
    started: str
    model: str
    device: str
    outcome: str
    num_samples: int
    num_failed: int
    num_stages: int | None = None
    num_outside: int | None = None


def read_parity(folder: Path) -> ParityCheck:
    """Reads what a check left.

    Raises:
        DataError: Its facts cannot be read, or are no check's.
    """
    path = folder / PARITY_NAME
    try:
        facts = strict_json(read_regular(path, _MAX_BYTES).decode("utf-8"))
        return _check(folder, facts)
    except (OSError, ValueError, RecursionError) as error:
        reason = one_line(str(getattr(error, "strerror", None) or error))
        raise DataError(
            one_line(f"{path}: not the facts of a parity check ({reason}); is {folder} one?")
        ) from error


def _check(folder: Path, facts: Any) -> ParityCheck:
    tested = facts.get("b") if isinstance(facts, dict) else None
    if not isinstance(tested, dict) or facts.get("verdict") not in _OUTCOMES:
        raise ValueError("no verdict on a side B")
    words: dict[str, Any] = {name: tested.get(name) for name in ("model", "device")}
    words["started"] = facts.get("started")
    counts: dict[str, Any] = {name: facts.get(name) for name in ("num_samples", "num_failed")}
    known = {name: facts[name] for name in ("num_stages", "num_outside") if name in facts}
    if not all(isinstance(word, str) for word in words.values()):
        raise ValueError(f"no text: {', '.join(words)}")
    if not all(map(is_count, (*counts.values(), *known.values()))):
        raise ValueError(f"no count: {', '.join((*counts, *known))}")
    return ParityCheck(folder=folder, outcome=facts["verdict"], **words, **counts, **known)
