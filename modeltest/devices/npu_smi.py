"""`npu-smi info`: health, power, temperature and memory of Ascend NPUs.

A chip takes two rows of a table: number, name | health | power, temperature, huge pages; then
chip and perhaps a physical number | bus | AICore %, memory, and with HBM its own memory.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from modeltest.devices.vendor_tool import ask_tool

NPU_SMI_INFO = ("npu-smi", "info")
"""Lists all NPUs; its head has the driver's version."""

_MIB = 2**20
_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_BUS = re.compile(r"[0-9A-Fa-f]{4}:[0-9A-Fa-f]{2}:[0-9A-Fa-f]{2}\.[0-9A-Fa-f]")
_USE = re.compile(r"(\d+)\s*/\s*(\d+)")


def npu_health(position: int) -> dict[str, Any]:
    """What npu-smi says of one NPU now.

    Args:
        position: Of the NPU among all that npu-smi lists, from 0.

    Returns:
        `tool`, its `version`, and the fields of `parse_npu_smi` or `unknown` with the reason.
        JSON values.
    """
    output, why_not = ask_tool(NPU_SMI_INFO)
    chips = list(parse_npu_smi(output))
    if not why_not and position >= len(chips):
        why_not = f"npu-smi lists {len(chips)} NPUs, not number {position}"
    found = {"unknown": why_not} if why_not else chips[position]
    return {"tool": "npu-smi", "version": npu_smi_version(output), **found}


def parse_npu_smi(output: str) -> Iterator[dict[str, Any]]:
    """The chips that `npu-smi info` lists, in its order.

    Returns:
        Per chip `name`, `health`, `power_w`, `temperature_c`, `bus`, `memory_used_bytes` and
        `memory_total_bytes`; None for what it does not say.
    """
    above: list[str] = []
    for line in output.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if len(cells) == 3 and _BUS.fullmatch(cells[1]) and above:
            yield _chip(above, cells)
            above = []
        elif len(cells) == 3 and re.match(r"\d+\s+\S", cells[0]):
            above = cells
        else:  # the table of processes has other columns
            above = []


def _chip(first: list[str], second: list[str]) -> dict[str, Any]:
    words = [*first[2].split(), "", ""]
    # DDR first, then HBM; what a chip does not have is shown as 0 / 0 or left out.
    uses = [(int(used), int(total)) for used, total in _USE.findall(second[2])]
    used, total = max(uses, key=lambda use: use[1], default=(0, 0))
    return {
        "name": first[0].split()[1],
        "health": first[1],
        "power_w": _number(words[0]),
        "temperature_c": _number(words[1]),
        "bus": second[1],
        "memory_used_bytes": used * _MIB if total else None,
        "memory_total_bytes": total * _MIB if total else None,
    }


def _number(word: str) -> float | None:
    """None for `-` and `NA`: the second die of a package has no power of its own."""
    return float(word) if _NUMBER.fullmatch(word) else None


def npu_smi_version(output: str) -> str | None:
    """The version in the table's head, which is that of the driver package."""
    found = re.search(r"npu-smi\s+(\d[\w.]*)", output)
    return found.group(1) if found else None
