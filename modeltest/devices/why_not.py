"""Why an accelerator cannot be used, in a user's words, with what to do about it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from modeltest.devices.visible_npus import VARIABLE

_DEV = Path("/dev")
_NVIDIA_DRIVER = Path("/proc/driver/nvidia/version")
_MISSING_LIBRARY = re.compile(r"(lib[\w.+-]+?\.so[\w.]*): cannot open shared object file")
_UNDEFINED_SYMBOL = re.compile(r"undefined symbol: (\w+)")
# Libraries of the Ascend driver; every other library that torch_npu links to is CANN's.
_DRIVER_LIBRARIES = ("libascend_hal", "libdrvdsmi", "libdcmi", "libmmpa", "libc_sec")
_LONGEST = 300

_SOURCE_CANN = "install CANN and source its set_env.sh"


@dataclass(frozen=True, slots=True)
class WhyNot:
    """A reason and a piece of advice, each a phrase without a full stop."""

    reason: str
    advice: str


NOT_INSTALLED = WhyNot(
    "torch_npu is not installed", "on an Ascend machine install the torch_npu of torch's version"
)


def why_npu_failed(said: str) -> WhyNot:
    """Reads what torch_npu said when it could not be imported or asked."""
    if missing := _MISSING_LIBRARY.search(said):
        library = missing.group(1)
        if library.startswith(_DRIVER_LIBRARIES):
            return WhyNot(
                f"torch_npu is installed but the Ascend driver is not: {library} not found",
                "install the driver, or in a container mount /usr/local/Ascend/driver",
            )
        return WhyNot(f"torch_npu is installed but CANN is not: {library} not found", _SOURCE_CANN)
    if symbol := _UNDEFINED_SYMBOL.search(said):
        return WhyNot(
            f"torch_npu does not fit torch or CANN: undefined symbol {symbol.group(1)}",
            "torch and torch_npu must be of one version, and CANN of theirs (modeltest check)",
        )
    if "Two accelerators" in said:
        return WhyNot(
            "torch_npu cannot be used with a torch that is built for another accelerator",
            "use one environment per kind of device; Ascend wants the CPU build of torch",
        )
    if "set_env.sh" in said:
        return WhyNot(f"torch_npu finds no whole CANN: {_first_line(said)}", _SOURCE_CANN)
    return WhyNot(f"torch_npu cannot be used: {_first_line(said)}", "run modeltest check")


def why_npu_is_not_seen(environ: Mapping[str, str], dev: Path = _DEV) -> WhyNot:
    """torch_npu works and reports no device."""
    if environ.get(VARIABLE) == "":
        return WhyNot(f"{VARIABLE} is empty, so no NPU is visible", "unset it or name devices")
    if not any(dev.glob("davinci[0-9]*")):
        return WhyNot(
            "torch_npu and CANN are installed but there is no NPU: no /dev/davinci*",
            "in a container pass the devices through; see npu-smi info on the host",
        )
    visible = f" with {VARIABLE}={environ[VARIABLE]}" if VARIABLE in environ else ""
    return WhyNot(
        f"torch_npu sees no NPU{visible}",
        "compare with npu-smi info; the user needs access to /dev/davinci*",
    )


def why_no_cuda(
    torch_has_cuda: bool, environ: Mapping[str, str], driver: Path = _NVIDIA_DRIVER
) -> WhyNot:
    """Torch reports no CUDA device."""
    if not torch_has_cuda:
        here = " although an NVIDIA driver is here" if driver.exists() else ""
        return WhyNot(
            f"torch is built without CUDA{here}", "for an NVIDIA GPU install a CUDA build of torch"
        )
    if environ.get("CUDA_VISIBLE_DEVICES") in {"", "-1"}:
        return WhyNot(
            "CUDA_VISIBLE_DEVICES names no device, so no GPU is visible",
            "unset it or name devices",
        )
    return WhyNot("torch sees no CUDA device", "compare with nvidia-smi")


def _first_line(said: str) -> str:
    """torch_npu appends a line with time, process and error code, which tells a user nothing."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    text = lines[0] if lines else "no reason was given"
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
