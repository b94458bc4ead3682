"""Which versions of torch, torch_npu, CANN and driver belong together, and who says so.

What nobody has stated is reported as unknown rather than guessed. Sources: the version tables of
torch_npu's README (torch_npu to CANN), the release notes of CANN (CANN to driver), the version
sets that vllm-ascend and MindIE publish. docs/devices.md has the same tables for readers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

CANN_OF_TORCH_NPU: Mapping[str, str] = {
    "2.12.0": "9.1.0",
    "2.11.0": "9.1.0",
    "2.10.0.post4": "9.1.0",
    "2.10.0": "9.0.0",
    "2.9.0.post6": "9.1.0",
    "2.9.0.post2": "9.0.0",
    "2.9.0": "8.5.0",
    "2.8.0.post4": "9.0.0",
    "2.8.0.post2": "8.5.0",
    "2.8.0": "8.3.RC1",
    "2.7.1.post8": "9.1.0",
    "2.7.1.post4": "9.0.0",
    "2.7.1.post2": "8.5.0",
    "2.7.1": "8.3.RC1",
}
"""torch_npu's release to the CANN that it was made for."""

# First and last driver (Ascend HDK) that a CANN works with.
_DRIVERS_OF_CANN: Mapping[str, tuple[tuple[int, int], tuple[int, int]]] = {
    "9.1": ((25, 2), (26, 1)),
    "9.0": ((25, 0), (26, 1)),
    "8.5.2": ((25, 0), (26, 1)),
}


@dataclass(frozen=True, slots=True)
class VersionSet:
    """Versions that somebody runs together.

    Attributes:
        torch: Release of torch, and of torch_npu up to its `.postN`.
        transformers: Release of transformers.
        torch_npu: Release, empty without an NPU.
        cann: Release, empty without an NPU or where it was simulated.
        source: Who runs them and how.
    """

    torch: str
    transformers: str
    torch_npu: str
    cann: str
    source: str


KNOWN_SETS = (
    VersionSet("2.13.0", "5.23.0", "", "", "modeltest's tests, on a CPU"),
    VersionSet("2.13.0", "4.46.2", "", "", "modeltest's tests, on a CPU"),
    VersionSet(
        "2.13.0", "5.23.0", "2.13.0", "",
        "modeltest's tests, on a simulated NPU: never run on Ascend",
    ),
    VersionSet("2.10.0", "5.14.1", "2.10.0.post4", "9.1.0", "vllm-ascend 0.23.0, other models too"),
)  # fmt: skip


def numbers(version: str) -> tuple[int, ...]:
    """The leading numbers of a version: `2.10.0.post4` and `2.10.0+cpu` are (2, 10, 0)."""
    found = re.match(r"\d+(?:\.\d+)*", version)
    return tuple(int(number) for number in found.group().split(".")) if found else ()


def torch_npu_complaint(torch: str, torch_npu: str) -> str:
    """Empty where the two fit: the first three numbers of the versions must be the same."""
    if numbers(torch)[:3] == numbers(torch_npu)[:3]:
        return ""
    return f"torch {torch} and torch_npu {torch_npu} are not of one version"


def cann_complaint(torch_npu: str, cann: str) -> str:
    """Empty where torch_npu was made for this CANN, patch releases apart."""
    wanted = CANN_OF_TORCH_NPU.get(_release(torch_npu))
    if wanted is None:
        return f"no table names the CANN of torch_npu {torch_npu}"
    if numbers(wanted)[:2] == numbers(cann)[:2]:
        return ""
    return f"torch_npu {torch_npu} was made for CANN {wanted}"


def driver_complaint(cann: str, driver: str) -> str:
    """Empty where CANN works with the driver, or nothing is known of the pair."""
    for release, (first, last) in _DRIVERS_OF_CANN.items():
        if cann == release or cann.startswith(f"{release}."):
            if first <= numbers(driver)[:2] <= last:
                return ""
            return (
                f"CANN {cann} wants a driver from {_dotted(first)} to {_dotted(last)}, "
                f"this is {driver}"
            )
    return ""


def known_set(
    torch: str, transformers: str, torch_npu: str = "", cann: str = ""
) -> VersionSet | None:
    """The known set of exactly these versions, or None; builds (`+cpu`) do not count.

    Args:
        torch: Version of torch.
        transformers: Version of transformers.
        torch_npu: Version of torch_npu; empty where no NPU is used.
        cann: Version of CANN; empty where it is not known. A set that names none fits any.
    """
    for candidate in KNOWN_SETS:
        if (
            (candidate.torch, candidate.torch_npu) == (_release(torch), _release(torch_npu))
            and candidate.transformers == transformers
            and candidate.cann in {"", cann}
        ):
            return candidate
    return None


def _release(version: str) -> str:
    """A version without the build: `2.13.0+cpu` is 2.13.0."""
    return version.partition("+")[0]


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))
