"""`nvidia-smi`: temperature, power, clock and memory errors of a GPU."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from modeltest.devices.vendor_tool import ask_tool

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


def gpu_health(name: str) -> dict[str, Any]:
    """What nvidia-smi says of one GPU now.

    Args:
        name: A GPU's UUID, bus or number, as `nvidia-smi --id` takes it.

    Returns:
        `tool`, and the figures or `unknown` with the reason. JSON values.
    """
    fields = ",".join(_QUERIES.values())
    output, why_not = ask_tool(
        ["nvidia-smi", f"--id={name}", f"--query-gpu={fields}", "--format=csv,noheader,nounits"]
    )
    figures = parse_nvidia_smi(output)
    if not why_not and figures is None:
        why_not = "nvidia-smi answered in another form"
    return {"tool": "nvidia-smi", **({"unknown": why_not} if why_not else figures or {})}


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
