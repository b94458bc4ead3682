"""Chooses the device: npu, then cuda, then cpu, or the one that was asked for."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from modeltest.devices.npu_variables import check_npu_variables, set_npu_variables
from modeltest.devices.probe import Probe, hide_torch_npu, probe, torch_npu_installed
from modeltest.devices.why_not import WhyNot
from modeltest.errors import DeviceError, UsageError, one_line
from modeltest.protocols import Device

if TYPE_CHECKING:  # its pydantic is no business of whoever wants a device and nothing else
    from modeltest.settings.schema import ModelSettings


@dataclass(frozen=True, slots=True)
class Choice:
    """A device kind and why it was taken; JSON values, for processes that are started.

    Attributes:
        kind: `cpu`, `cuda`, `npu` or `service`.
        reason: For the user.
        num_devices: How many of the kind are visible.
    """

    kind: str
    reason: str
    num_devices: int = 1


def choose(requested: str, found: Probe | None = None) -> Choice:
    """Decides for a device kind; torch_npu is not imported in this process.

    Args:
        requested: `auto` or a kind.
        found: What the machine has; probed when left out.

    Raises:
        DeviceError: torch is missing, the requested kind cannot be had, or a driver hangs. A
            device that was asked for is never replaced by another.
        UsageError: The environment's variables for NPUs contradict themselves.
    """
    if requested == "cpu" and found is None:
        return Choice("cpu", "asked for")  # nothing to find out, and torch takes seconds to import
    installed = found.torch_npu if found else torch_npu_installed()
    if installed and may_be_npu(requested):
        check_npu_variables(os.environ)
    found = found or probe()
    _refuse_hang(requested, found)
    if not found.torch_version:
        raise DeviceError(
            f"torch cannot be used: {found.torch_error or 'no version'}; install the torch build "
            "for this machine (CPU: pip install torch==2.13.0; Ascend: the torch and torch_npu "
            "pair that matches CANN)"
        )
    if requested != "auto":
        return _asked_for(requested, found)
    return _first_usable(found)


def choose_for(settings: ModelSettings, requested: str) -> Choice:
    """As `choose`, for a model; a service's needs no device of this host, and no torch.

    Raises:
        UsageError: A device was asked for, which a service would not take.
        DeviceError: As `choose`.
    """
    if not settings.is_service:
        return choose(requested)
    if requested != "auto":
        raise UsageError(
            f"--device {requested}: the service computes where it was started, not here; leave "
            "it out"
        )
    return Choice("service", f"backend: {settings.backend}")


def may_be_npu(requested: str) -> bool:
    """Whether what was asked for can turn out to be an NPU."""
    return requested in {"auto", "npu"}


def make_device(choice: Choice, index: int = 0) -> Device:
    """Makes one of the chosen devices and makes it torch's current one.

    The imports are here so that only one kind is loaded. An NPU's variables are set before,
    and torch_npu is kept out of a process that computes elsewhere, where it could only fail.

    Args:
        choice: From `choose`.
        index: Among the visible devices; the CPU is the same whatever the index.

    Raises:
        DeviceError: There is no device of that index, or it cannot be opened.
        UsageError: The environment's variables for NPUs contradict themselves.
    """
    if choice.kind == "service":
        from modeltest.devices.service import ServiceDevice

        return ServiceDevice()
    if choice.kind == "cpu":
        from modeltest.devices.cpu import CpuDevice

        _keep_torch_npu_out()
        return CpuDevice()
    if not 0 <= index < choice.num_devices:
        raise DeviceError(
            f"{choice.kind}:{index}: there is no such device, {choice.num_devices} visible"
        )
    if choice.kind == "npu":
        set_npu_variables(os.environ)
        from modeltest.devices.npu import NpuDevice

        return _opened(NpuDevice, choice.kind, index)
    _keep_torch_npu_out()
    from modeltest.devices.cuda import CudaDevice

    return _opened(CudaDevice, choice.kind, index)


def _opened(make: Callable[[int], Device], kind: str, index: int) -> Device:
    """A device that was counted may yet be full, taken or broken: it is asked for its facts."""
    try:
        device = make(index)
        device.facts()
    except RuntimeError as error:  # the type of all that drivers raise
        said = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise DeviceError(
            f"{kind}:{index} cannot be opened ({one_line(said)}); end what uses it, or choose "
            "another device"
        ) from error
    return device


def _keep_torch_npu_out() -> None:
    if torch_npu_installed():
        hide_torch_npu()


def _asked_for(kind: str, found: Probe) -> Choice:
    usable = _usable(found)
    if kind in usable:
        return Choice(kind, "asked for", usable[kind])
    why = _why_not(kind, found)
    raise DeviceError(f"--device {kind}: {why.reason} ({why.advice}); usable: {', '.join(usable)}")


def _refuse_hang(requested: str, found: Probe) -> None:
    """For `auto`, too: a driver that hangs wants mending, not days of computing on a CPU."""
    usable = _usable(found) if found.torch_version else {}
    if found.hang and requested not in usable:
        why = found.hang.why
        others = f"; usable: {', '.join(usable)}" if usable else ""
        raise DeviceError(f"--device {requested}: {why.reason} ({why.advice}){others}")


def _first_usable(found: Probe) -> Choice:
    """Says why an NPU was passed over, or where nobody meant to use one, why a GPU was."""
    usable = _usable(found)
    kind = next(iter(usable))
    if found.torch_npu and kind != "npu":
        reason = f"{_why_not('npu', found).reason}; using {kind}"
    elif kind == "cpu":
        reason = f"torch_npu is not installed, {_why_not('cuda', found).reason}; using cpu"
    else:
        reason = f"the first of npu, cuda, cpu that is usable, {usable[kind]} visible"
    return Choice(kind, reason, usable[kind])


def _usable(found: Probe) -> dict[str, int]:
    """Number of devices by kind, in the order of choice."""
    counts = {"npu": found.num_npu, "cuda": found.num_cuda, "cpu": 1}
    return {kind: num for kind, num in counts.items() if num}


def _why_not(kind: str, found: Probe) -> WhyNot:
    known = found.no_npu if kind == "npu" else found.no_cuda
    return known or WhyNot(f"no {kind} device can be used", "run modeltest check")
