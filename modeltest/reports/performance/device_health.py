"""What is known of an accelerator's health, and of others on it, while a sweep ran.

The vendor's tool is asked before the first block and after the last one only. What it did not see
is said to be unknown and never taken for good.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from modeltest.runlog.sweep_log import Record

_HAS_NO_TOOL = frozenset({"cpu", "service"})
_TIMES = ("before", "after")
_LABELS: Mapping[str, str] = {"cuda": "GPU", "npu": "NPU"}
_MAX_SHOWN = 5
_GOOD = "OK"
# In place of a health: for cards, and for users, for which the tool knows none.
_NO_HEALTH = frozenset({"", "-", "NA", "N/A", "NONE", "UNKNOWN", "[N/A]"})

_Reading = tuple[str, Mapping[str, Any]]
"""When it was read, and what."""


def device_faults(manifest: Record, readings: Sequence[Record]) -> list[str]:
    """What was read of the device and stands against the figures, a line each.

    Args:
        manifest: Of the sweep.
        readings: Its `health` records in the order of the log, whose content may be anything.
    """
    if _has_no_tool(manifest):
        return []
    found = _readings(readings)
    name = _device_name(manifest["device"])
    faults = unhealthy(manifest, readings)
    for when, health in found:
        if slowdowns := _slowdowns(health):
            faults.append(f"{name} reports {', '.join(slowdowns)} {when} the sweep")
    if others := sorted({pid for _, health in found for pid in _others(health) or ()}):
        shown = ", ".join(map(str, others[:_MAX_SHOWN]))
        more = f" and {len(others) - _MAX_SHOWN} more" if others[_MAX_SHOWN:] else ""
        many = f"other processes (pid {shown}{more}) use {name}"
        faults.append(f"another process (pid {shown}) uses {name}" if len(others) == 1 else many)
    return list(dict.fromkeys(faults))


def unhealthy(manifest: Record, readings: Sequence[Record]) -> list[str]:
    """What may have made a device compute wrongly: its own word, and memory errors.

    Args:
        manifest: Of a sweep or run; only its `device` is read.
        readings: Of that device, as of `device_faults`.
    """
    if _has_no_tool(manifest):
        return []
    found = _readings(readings)
    name = _device_name(manifest["device"])
    words = dict.fromkeys(word for _, health in found for word in _words(health))
    faults = [f"{name} reports health {word}" for word in words if word.upper() != _GOOD]
    counts = [(when, count) for when, health in found if (count := _errors(health)) is not None]
    for first, second in pairwise(counts):
        # Between the end of one process of a resumed sweep and the start of the next, nobody ran.
        if first[0] == "before" and second[1] > first[1]:
            faults.append(
                f"uncorrected memory errors of {name} rose from {first[1]:g} to {second[1]:g}"
            )
    return faults


def device_note(manifest: Record, readings: Sequence[Record]) -> str | None:
    """What was read of the device, and what nobody looked at; None where there is none.

    Args:
        manifest: Of the sweep.
        readings: As of `device_faults`.
    """
    if _has_no_tool(manifest):
        return None
    found = [reading for reading in _readings(readings) if _says_anything(reading[1])]
    seen, unseen = _seen_and_unseen([health for _, health in found])
    if not seen:
        return f"{unseen}: not checked"
    asked = {when for when, _ in found}
    times = " and ".join(time for time in _TIMES if time in asked)
    tools = ", ".join(sorted({str(health.get("tool")) for _, health in found}))
    return f"{', '.join(seen)} {times} the sweep, by {tools}; {unseen}: not checked"


def _seen_and_unseen(found: Sequence[Mapping[str, Any]]) -> tuple[list[str], str]:
    words = sorted({word for health in found for word in _words(health)})
    degrees = sorted(number for health in found for number in _degrees(health))
    seen = [f"health {', '.join(words)}"] if words else []
    if degrees:
        ends = dict.fromkeys(f"{number:.3g}" for number in (degrees[0], degrees[-1]))
        seen.append(f"{' to '.join(ends)} °C")
    watched = {"heat": bool(degrees)}
    for what, none, look in (
        ("throttling", "no slowdown", _slowdowns),
        ("other users of the device", "no other process", _others),
    ):
        told = [look(health) for health in found]
        watched[what] = bool(told) and None not in told
        seen += [none] if watched[what] and not any(told) else []
    between = _enumerated([what for what, was_read in watched.items() if was_read])
    never = _enumerated([what for what, was_read in watched.items() if not was_read])
    if not between:
        return seen, never
    return seen, f"{between} in between" + (f", {never}" if never else "")


def _enumerated(words: Sequence[str]) -> str:
    *first, last = words or [""]
    return f"{', '.join(first)} and {last}" if first else last


def _has_no_tool(manifest: Record) -> bool:
    device = manifest["device"]
    return device["kind"] in _HAS_NO_TOOL or bool(device.get("simulated"))


def _device_name(device: Mapping[str, Any]) -> str:
    label = _LABELS.get(device["kind"], str(device["kind"]))
    index = device.get("index")
    return f"{label} {index}" if type(index) is int else f"the {label}"


def _readings(records: Sequence[Record]) -> list[_Reading]:
    """What the tool told; the rest of the records is nobody's statement."""
    return [
        (str(record.get("when")), health)
        for record in records
        if isinstance(health := record.get("health"), Mapping)
    ]


def _says_anything(health: Mapping[str, Any]) -> bool:
    told = (_slowdowns(health), _others(health))
    return bool(_words(health) or _degrees(health)) or any(each is not None for each in told)


def _slowdowns(health: Mapping[str, Any]) -> list[str] | None:
    """None where nobody looked."""
    told = health.get("slowdowns")
    return [word for word in told if isinstance(word, str)] if isinstance(told, list) else None


def _others(health: Mapping[str, Any]) -> list[int] | None:
    """None where nobody can tell."""
    told = health.get("other_processes")
    return [pid for pid in told if type(pid) is int] if isinstance(told, list) else None


def _errors(health: Mapping[str, Any]) -> float | None:
    return _number(health.get("uncorrected_errors"))


def _words(health: Mapping[str, Any]) -> list[str]:
    word = health.get("health")
    return [word] if isinstance(word, str) and word.strip().upper() not in _NO_HEALTH else []


def _degrees(health: Mapping[str, Any]) -> list[float]:
    number = _number(health.get("temperature_c"))
    return [] if number is None else [number]


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return value if math.isfinite(value) else None
