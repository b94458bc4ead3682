"""What this machine's torch can use, found out without risking this process.

Where torch_npu is installed but CANN is not, a plain `import torch` fails, and a torch_npu of
another build can end the process. So where torch_npu is there, a child process looks first.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from modeltest.devices.probe_child import look_at_torch
from modeltest.devices.why_not import (
    NOT_INSTALLED,
    WhyNot,
    why_no_cuda,
    why_npu_failed,
    why_npu_is_not_seen,
)

_PROBE_TIMEOUT_S = 120
# With this process's search path; `-m` would put the current folder first.
_CODE = """\
import json, sys
sys.path[:] = json.loads(sys.argv[1])
from modeltest.devices.probe_child import main
main()
"""


@dataclass(frozen=True, slots=True)
class SeenDevice:
    """One device that torch sees; memory in bytes, 0 where `error` says why it is not known."""

    torch_name: str
    name: str
    total_bytes: int
    free_bytes: int
    error: str = ""


@dataclass(frozen=True, slots=True)
class Probe:
    """What torch reported.

    Attributes:
        torch_version: Empty when torch cannot be imported or is not installed.
        torch_error: Why torch cannot be imported, or empty.
        num_cuda: CUDA devices that can be used.
        num_npu: Ascend NPUs that can be used.
        torch_npu: torch_npu is installed, usable or not.
        torch_npu_imports: It can be imported, so CANN is there.
        no_cuda: Why there is no CUDA device, where there is none.
        no_npu: Why there is no NPU, where there is none.
        devices: The usable devices, the first ones where they are slow to answer; only when
            details were asked for.
        cann: The version of CANN that torch_npu reports; only with details, may be empty.
    """

    torch_version: str
    torch_error: str = ""
    num_cuda: int = 0
    num_npu: int = 0
    torch_npu: bool = False
    torch_npu_imports: bool = False
    no_cuda: WhyNot | None = None
    no_npu: WhyNot | None = None
    devices: tuple[SeenDevice, ...] = ()
    cann: str = ""


def probe(details: bool = False) -> Probe:
    """Asks torch and torch_npu what they can use; changes nothing.

    Args:
        details: Also names and memory of the devices, which takes seconds more where there
            are accelerators and initialises CUDA in this process.
    """
    installed = torch_npu_installed()
    if importlib.util.find_spec("torch") is None:
        found: dict[str, Any] = {"torch_error": "torch is not installed"}
    elif installed:
        found = _ask_child(details)
    else:
        # The import is safe here, and a second one in a child would take seconds more.
        found = look_at_torch(details)
    return _probe_of(found, installed)


def torch_npu_installed() -> bool:
    """Whether torch_npu is there, usable or not; it is not imported."""
    if sys.modules.get("torch_npu") is not None:
        return True
    return importlib.util.find_spec("torch_npu") is not None


def hide_torch_npu() -> None:
    """Lets torch and transformers import although torch_npu cannot.

    torch must not load its backend extensions, and transformers must not find the broken
    package; both have to be set before either is imported. A torch_npu that this process
    has already imported stays.
    """
    if sys.modules.get("torch_npu") is not None:
        return
    os.environ["TORCH_DEVICE_BACKEND_AUTOLOAD"] = "0"
    # None in sys.modules makes `import torch_npu` an ordinary ImportError.
    sys.modules["torch_npu"] = None  # type: ignore[assignment]


def _probe_of(found: Mapping[str, Any], installed: bool) -> Probe:
    num_cuda, num_npu = int(found.get("num_cuda", 0)), int(found.get("num_npu", 0))
    if not installed:
        no_npu: WhyNot | None = NOT_INSTALLED
    elif num_npu:
        no_npu = None
    elif "npu_error" in found:
        no_npu = why_npu_failed(str(found["npu_error"]))
    else:
        no_npu = why_npu_is_not_seen(os.environ)
    has_cuda = bool(found.get("torch_has_cuda"))
    return Probe(
        torch_version=str(found.get("torch_version", "")),
        torch_error=" ".join(str(found.get("torch_error", "")).split()),
        num_cuda=num_cuda,
        num_npu=num_npu,
        torch_npu=installed,
        torch_npu_imports=installed and "num_npu" in found,
        no_cuda=None if num_cuda else why_no_cuda(has_cuda, os.environ),
        no_npu=no_npu,
        devices=tuple(SeenDevice(**device) for device in found.get("devices", ())),
        cann=str(found.get("cann", "")),
    )


def _ask_child(details: bool) -> dict[str, Any]:
    command = [sys.executable, "-I", "-c", _CODE, json.dumps(sys.path)]
    try:
        child = subprocess.run(
            [*command, "details"] if details else command,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_PROBE_TIMEOUT_S,
            check=False,
        )
        output, ended = child.stdout, _how_it_ended(child)
    except subprocess.TimeoutExpired as error:
        output = (error.stdout or b"").decode(errors="replace") if error.stdout else ""
        ended = f"it took over {_PROBE_TIMEOUT_S} s"
    found: dict[str, Any] = {}
    for finding in _findings(output):
        devices = [*found.get("devices", ()), *finding.get("devices", ())]
        found |= {**finding, "devices": devices}
    if "torch_version" not in found:
        return {"torch_error": f"importing torch failed: {ended}", **found}
    if "num_npu" not in found and "npu_error" not in found:
        found["npu_error"] = ended
    return found


def _findings(output: str) -> Iterator[Mapping[str, Any]]:
    """The child's own lines; the libraries may print others."""
    for line in output.splitlines():
        if line.startswith("{"):
            try:
                finding = json.loads(line)
            except json.JSONDecodeError:
                continue
            if isinstance(finding, dict):
                yield finding


def _how_it_ended(child: subprocess.CompletedProcess[str]) -> str:
    if child.returncode < 0:
        return f"the process ended by signal {-child.returncode}"
    last = child.stderr.strip().splitlines()[-1:]
    return last[0] if last else f"the process ended with status {child.returncode}"
