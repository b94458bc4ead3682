"""What is known of an accelerator's heat, and of others on it, while a sweep ran.

The vendor's tool is asked before the first block and after the last one only. What it did not see
is said to be unknown and never taken for good.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from modeltest.runlog.sweep_log import Record

_HAS_NO_TOOL = frozenset({"cpu", "service"})
_TIMES = ("before", "after")


def device_note(manifest: Record, readings: Sequence[Record]) -> str | None:
    """What was read of the device, and what nobody looked at; None where there is none.

    Args:
        manifest: Of the sweep.
        readings: Its `health` records, whose content may be anything.
    """
    device = manifest["device"]
    if device["kind"] in _HAS_NO_TOOL or device.get("simulated"):
        return None
    found = [(record, health) for record in readings if (health := _health(record))]
    words = sorted({word for _, health in found for word in _words(health)})
    degrees = sorted(number for _, health in found for number in _degrees(health))
    if not words and not degrees:
        return "heat, throttling and other users of the device: not checked"
    read = [f"health {', '.join(words)}"] if words else []
    if degrees:
        ends = dict.fromkeys(f"{number:.3g}" for number in (degrees[0], degrees[-1]))
        read.append(f"{' to '.join(ends)} °C")
    asked = {str(record.get("when")) for record, _ in found}
    times = " and ".join(time for time in _TIMES if time in asked)
    tools = ", ".join(sorted({str(health.get("tool")) for _, health in found}))
    heat = "heat in between" if degrees else "heat"
    return (
        f"{', '.join(read)} {times} the sweep, by {tools}; {heat}, throttling and other users of "
        "the device: not checked"
    )


def _health(record: Record) -> Mapping[str, Any]:
    """What a reading says of heat or health; empty if nothing."""
    health = record.get("health")
    if not isinstance(health, Mapping):
        return {}
    return health if _words(health) or _degrees(health) else {}


def _words(health: Mapping[str, Any]) -> list[str]:
    word = health.get("health")
    return [word] if isinstance(word, str) and word else []


def _degrees(health: Mapping[str, Any]) -> list[float]:
    number = health.get("temperature_c")
    if isinstance(number, bool) or not isinstance(number, (int, float)):
        return []
    return [number] if math.isfinite(number) else []
