"""What this machine's torch can use, found out without risking this process.

Where torch_npu is installed but CANN is not, a plain `import torch` fails, and a torch_npu of
another build can end the process; a driver that hangs stops whoever asks it. So where torch_npu
or a driver is there, a child process looks first.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modeltest.devices.outside_call import Answer, Deadline, OutsideCall
from modeltest.devices.probe_child import look_at_torch
from modeltest.devices.why_not import (
    NOT_INSTALLED,
    WhyNot,
    why_no_cuda,
    why_npu_failed,
    why_npu_is_not_seen,
)

# A first import of torch from a slow disk takes a minute.
_PROBE_TIMEOUT_S = 120
# Before the deadline no further device is asked for its memory, which can take a second.
_LAST_DETAIL_S = 2.5
# Of NVIDIA, ROCm and WSL: with none of them torch finds no driver that it could wait for.
_DRIVERS = (Path("/proc/driver/nvidia/version"), Path("/dev/kfd"), Path("/dev/dxg"))
# Of a device kind: whose driver it is, what asks it, and what else can be asked.
_TOOLS = {"cuda": ("GPU", "torch", "nvidia-smi"), "npu": ("Ascend", "torch_npu", "npu-smi info")}
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
class Hang:
    """What did not answer in time.

    Attributes:
        asks: `torch` or `torch_npu`, which did not finish its import, or `cuda` or `npu`, whose
            driver did not answer.
        why: In a user's words.
    """

    asks: str
    why: WhyNot


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
        torch_npu_version: As torch_npu says itself, empty where it does not get so far. A build
            from source may have no other.
        hang: What did not answer; the rest was known before, or is not known.
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
    torch_npu_version: str = ""
    hang: Hang | None = None


def probe(details: bool = False) -> Probe:
    """Asks torch and torch_npu what they can use; changes nothing.

    Args:
        details: Also names and memory of the devices, which takes seconds more where there
            are accelerators.
    """
    may_hang = torch_npu_installed() or any(driver.exists() for driver in _DRIVERS)
    if _torch_installed() and not may_hang and not details:
        # The import is safe here, and a second one in a child would take seconds more.
        return _probe_of(_merged(look_at_torch()), torch_npu=False)
    with ProbeCall(Deadline(_PROBE_TIMEOUT_S), details) as call:
        return call.answer()


class ProbeCall:
    """A child process that looks, and is asked for what it found later."""

    def __init__(self, deadline: Deadline, details: bool) -> None:
        """Starts it and returns at once.

        Args:
            deadline: When it has to have answered.
            details: As in `probe`.
        """
        self._limit_s = deadline.limit_s
        self._torch_npu = torch_npu_installed()
        self._call: OutsideCall | None = None
        self._failed = "torch is not installed"
        if not _torch_installed():
            return
        details_s = max(0.0, deadline.left_s() - _LAST_DETAIL_S) if details else 0
        asked = json.dumps({"details_s": details_s, "npu": self._torch_npu})
        command = [sys.executable, "-I", "-c", _CODE, json.dumps(sys.path), asked]
        try:
            self._call = OutsideCall(command, deadline)
        except OSError as error:
            self._failed = f"no process can be started to import torch ({error.strerror})"

    def __enter__(self) -> ProbeCall:
        return self

    def __exit__(self, *_: object) -> None:
        if self._call:
            self._call.__exit__()

    def answer(self) -> Probe:
        """Waits for it, no longer than until the deadline."""
        if self._call is None:
            return _probe_of({"torch_error": self._failed}, self._torch_npu)
        answer = self._call.answer()
        found = _merged(_findings(answer.output))
        hang = _hang(found, self._limit_s) if answer.status is None else None
        ended = hang.why.reason if hang else _how_it_ended(answer)
        if "torch_version" not in found:
            found = {"torch_error": ended if hang else f"importing torch failed: {ended}", **found}
        elif "num_cuda" not in found:
            found["cuda_error"] = ended
        if "torch_version" in found and "num_npu" not in found:
            found.setdefault("npu_error", ended)
        return _probe_of(found, self._torch_npu, hang)


def torch_npu_installed() -> bool:
    """Whether torch_npu is there, usable or not; it is not imported."""
    if sys.modules.get("torch_npu") is not None:
        return True
    return importlib.util.find_spec("torch_npu") is not None


def import_torch_alone() -> None:
    """Imports torch and not torch_npu, where it is not known yet whether that is wanted."""
    name = "TORCH_DEVICE_BACKEND_AUTOLOAD"
    before = os.environ.get(name)
    os.environ[name] = "0"
    try:
        import torch  # noqa: F401 - whoever imports it later gets it as it is loaded here
    finally:
        os.environ.pop(name)
        if before is not None:
            os.environ[name] = before


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


def _torch_installed() -> bool:
    return importlib.util.find_spec("torch") is not None


def _probe_of(found: Mapping[str, Any], torch_npu: bool, hang: Hang | None = None) -> Probe:
    num_cuda, num_npu = int(found.get("num_cuda", 0)), int(found.get("num_npu", 0))
    return Probe(
        torch_version=str(found.get("torch_version", "")),
        torch_error=" ".join(str(found.get("torch_error", "")).split()),
        num_cuda=num_cuda,
        num_npu=num_npu,
        torch_npu=torch_npu,
        torch_npu_imports=torch_npu and "num_npu" in found,
        no_cuda=None if num_cuda else _why_no_cuda(found, hang),
        no_npu=None if num_npu else _why_no_npu(found, torch_npu, hang),
        devices=tuple(SeenDevice(**device) for device in found.get("devices", ())),
        cann=str(found.get("cann", "")),
        torch_npu_version=str(found.get("torch_npu_version", "")),
        hang=hang,
    )


def _why_no_cuda(found: Mapping[str, Any], hang: Hang | None) -> WhyNot:
    if hang and "num_cuda" not in found:
        return hang.why
    if "cuda_error" in found:
        return WhyNot(
            f"torch cannot ask for GPUs: {found['cuda_error']}", "compare with nvidia-smi"
        )
    return why_no_cuda(bool(found.get("torch_has_cuda")), os.environ)


def _why_no_npu(found: Mapping[str, Any], torch_npu: bool, hang: Hang | None) -> WhyNot:
    if not torch_npu:
        return NOT_INSTALLED
    if hang and "num_npu" not in found:
        return hang.why
    if "npu_error" in found:
        return why_npu_failed(str(found["npu_error"]))
    return why_npu_is_not_seen(os.environ)


def _hang(found: Mapping[str, Any], limit_s: float) -> Hang:
    """Reads from the last step what the child was waiting for."""
    asks, step = str(found.get("asks", "torch")), str(found.get("step", "starting"))
    if asks in _TOOLS:
        maker, package, tool = _TOOLS[asks]
        return Hang(
            asks,
            WhyNot(
                f"the {maker} driver did not answer within {limit_s:g} s: {package} was {step}",
                f"see whether {tool} answers; end what uses the devices or restart the machine",
            ),
        )
    return Hang(
        asks,
        WhyNot(
            f"{asks} was not imported within {limit_s:g} s",
            f"a slow disk or a driver that hangs: try again, then time python -c 'import {asks}'",
        ),
    )


def _merged(findings: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for finding in findings:
        devices = [*found.get("devices", ()), *finding.get("devices", ())]
        found |= {**finding, "devices": devices}
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


def _how_it_ended(child: Answer) -> str:
    if child.status and child.status < 0:
        return f"the process ended by signal {-child.status}"
    last = child.messages.strip().splitlines()[-1:]
    return last[0] if last else f"the process ended with status {child.status}"
