"""`npu-smi info`: health, power, temperature, memory and processes of Ascend NPUs.

A chip takes two rows of a table: number, name | health | power, temperature, huge pages; then
chip and perhaps a physical number | bus | AICore %, memory, and with HBM its own memory. A second
table has a row per process: number and chip | process id | name | memory; or a line that says
that an NPU has none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from modeltest.devices.other_processes import other_processes
from modeltest.devices.vendor_tool import ask_tool

NPU_SMI_INFO = ("npu-smi", "info")
"""Lists all NPUs; its head has the driver's version."""

_MIB = 2**20
_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_BUS = re.compile(r"[0-9A-Fa-f]{4}:[0-9A-Fa-f]{2}:[0-9A-Fa-f]{2}\.[0-9A-Fa-f]")
_USE = re.compile(r"(\d+)\s*/\s*(\d+)")
_FIRST_NUMBER = re.compile(r"(\d{1,9})(?:\s|$)")
_PROCESS_HEAD = "Process id"
_NO_PROCESS = re.compile(r"No running processes found in NPU\s+(\d{1,9})\b")
_ON_CHIP = re.compile(r"(\d{1,9})\s+(\d{1,9})")
_PROCESS_ID = re.compile(r"[1-9]\d{0,8}")


def npu_health(position: int) -> dict[str, Any]:
    """What npu-smi says of one NPU now.

    Args:
        position: Of the NPU among all that npu-smi lists, from 0.

    Returns:
        `tool`, its `version`, and the fields of `parse_npu_smi` or `unknown` with the reason;
        `other_processes`, the numbers of those on the NPU that are not of this run, None where
        nobody can tell. JSON values.
    """
    output, why_not = ask_tool(NPU_SMI_INFO)
    chips = list(parse_npu_smi(output))
    if not why_not and position >= len(chips):
        why_not = f"npu-smi lists {len(chips)} NPUs, not number {position}"
    facts = {"tool": "npu-smi", "version": npu_smi_version(output)}
    if why_not:
        return {**facts, "unknown": why_not}
    chip = chips[position]
    listed = npu_processes(output, chip["npu"], chip["chip"])
    others = None if listed is None else other_processes(listed)
    return {**facts, **chip, "other_processes": others}


def parse_npu_smi(output: str) -> Iterator[dict[str, Any]]:
    """The chips that `npu-smi info` lists, in its order.

    Returns:
        Per chip `npu` and `chip` (its numbers), `name`, `health` (the tool's word), `power_w`,
        `temperature_c`, `bus`, `memory_used_bytes` and `memory_total_bytes`; None for what it does
        not say.
    """
    above: list[str] = []
    for line in output.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        number = _FIRST_NUMBER.match(cells[0]) if len(cells) == 3 else None
        if number and above and _BUS.fullmatch(cells[1]):
            yield _chip(above, cells)
            above = []
        elif number and len(cells[0].split()) > 1:
            above = cells
        else:  # the table of processes has other columns
            above = []


def npu_processes(output: str, npu: int, chip: int) -> list[int] | None:
    """Numbers of the processes that `npu-smi info` shows on a chip.

    Args:
        output: What it printed.
        npu: Number of the NPU.
        chip: Number of the chip in it.

    Returns:
        None where it says nothing of that NPU.
    """
    _, _, table = output.partition(_PROCESS_HEAD)
    is_told = any(int(number) == npu for number in _NO_PROCESS.findall(table))
    found = []
    for line in table.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        place = _ON_CHIP.fullmatch(cells[0])
        if place and int(place[1]) == npu and len(cells) > 1 and _PROCESS_ID.fullmatch(cells[1]):
            is_told = True
            found += [int(cells[1])] if int(place[2]) == chip else []
    return found if is_told else None


def _chip(first: list[str], second: list[str]) -> dict[str, Any]:
    words = [*first[2].split(), "", ""]
    # DDR first, then HBM; what a chip does not have is shown as 0 / 0 or left out.
    uses = [(int(used), int(total)) for used, total in _USE.findall(second[2])]
    used, total = max(uses, key=lambda use: use[1], default=(0, 0))
    return {
        "npu": int(first[0].split()[0]),
        "chip": int(second[0].split()[0]),
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
