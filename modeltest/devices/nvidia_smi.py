"""`nvidia-smi`: temperature, power, clock, memory errors and processes of a GPU."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from modeltest.devices.other_processes import other_processes
from modeltest.devices.vendor_tool import ask_tools

NVIDIA_SMI_DRIVER = ("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader")
"""Prints the driver's version, a line per GPU."""

# Ours by nvidia-smi's name of the query (`nvidia-smi --help-query-gpu`).
_QUERIES: Mapping[str, str] = {
    "temperature_c": "temperature.gpu",
    "power_w": "power.draw",
    "clock_mhz": "clocks.sm",
    "utilization_percent": "utilization.gpu",
    "uncorrected_errors": "ecc.errors.uncorrected.volatile.total",
}
# The newer name and the older one. Each is asked for by itself: a field that a driver does not
# know makes nvidia-smi refuse all of the query.
_CLOCK_REASONS = ("clocks_event_reasons.active", "clocks_throttle_reasons.active")
# NVML, "Clocks Event Reasons" (nvml.h, nvmlClocksEventReason…). Idle clocks, a limit that the
# user set and the power cap (0x4), below which a card is built to run, are no defect.
_SLOWDOWNS: Mapping[int, str] = {
    0x08: "hardware slowdown",
    0x20: "software thermal slowdown",
    0x40: "hardware thermal slowdown",
    0x80: "power brake slowdown",
}


def gpu_health(name: str) -> dict[str, Any]:
    """What nvidia-smi says of one GPU now.

    Args:
        name: A GPU's UUID, bus or number, as `nvidia-smi --id` takes it.

    Returns:
        `tool`, and the figures or `unknown` with the reason; `slowdowns`, what keeps the clocks
        down now though it should not, and `other_processes`, the numbers of those on the GPU that
        are not of this run, where they can be told. JSON values.
    """
    queries = [f"gpu={fields}" for fields in (",".join(_QUERIES.values()), *_CLOCK_REASONS)]
    asked = [*queries, "compute-apps=pid"]
    (output, why_not), *reasons, processes = ask_tools(*(_query(name, what) for what in asked))
    figures = parse_nvidia_smi(output)
    if not why_not and figures is None:
        why_not = "nvidia-smi answered in another form"
    found = {"tool": "nvidia-smi", **({"unknown": why_not} if why_not else figures or {})}
    masks = [mask for answer, _ in reasons if (mask := parse_clock_reasons(answer)) is not None]
    listed = None if processes[1] else parse_processes(processes[0])
    others = None if listed is None else other_processes(listed)
    return {
        **found,
        **({"slowdowns": masks[0]} if masks else {}),
        **({} if others is None else {"other_processes": others}),
    }


def _query(name: str, query: str) -> list[str]:
    return ["nvidia-smi", f"--id={name}", f"--query-{query}", "--format=csv,noheader,nounits"]


def parse_clock_reasons(output: str) -> list[str] | None:
    """Names of the slowdowns in a mask such as `0x0000000000000044`; None for anything else."""
    mask = re.fullmatch(r"\s*(0x[0-9a-fA-F]{1,16})\s*", output)
    if mask is None:  # [N/A], [Not Supported], and what is printed of a field that is not known
        return None
    return [name for bit, name in _SLOWDOWNS.items() if int(mask[1], 16) & bit]


def parse_processes(output: str) -> list[int] | None:
    """Numbers of processes, a line each; None where a line is something else."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    if not all(re.fullmatch(r"[1-9]\d{0,8}", line) for line in lines):
        return None
    return [int(line) for line in lines]


def nvidia_smi_driver(output: str) -> str | None:
    """The driver's version from what `NVIDIA_SMI_DRIVER` printed; all GPUs have the same."""
    found = re.match(r"\s*(\d+(?:\.\d+)+)\s", output)
    return found.group(1) if found else None


def parse_nvidia_smi(output: str) -> dict[str, float | None] | None:
    """The figures of the first line, None for what a GPU does not tell; None for no figures."""
    lines = output.strip().splitlines()
    words = [word.strip() for word in lines[0].split(",")] if lines else []
    if len(words) != len(_QUERIES):
        return None
    return dict(zip(_QUERIES, map(_number, words), strict=True))


def _number(word: str) -> float | None:
    try:
        return float(word)
    except ValueError:  # [N/A], [Not Supported]
        return None
