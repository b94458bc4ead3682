"""Chooses the device: npu, then cuda, then cpu, or the one that was asked for."""

from __future__ import annotations

from dataclasses import dataclass

from modeltest.devices.probe import Probe, hide_torch_npu, probe, torch_npu_installed
from modeltest.errors import DeviceError
from modeltest.protocols import Device


@dataclass(frozen=True, slots=True)
class Choice:
    """A device kind and why it was taken.

    Attributes:
        kind: `cpu`, `cuda` or `npu`.
        reason: For the user.
        broken_torch_npu: torch_npu is installed but must be kept out of this process.
    """

    kind: str
    reason: str
    broken_torch_npu: bool = False


def choose(requested: str, found: Probe | None = None) -> Choice:
    """Decides for a device kind.

    Args:
        requested: `auto` or a kind.
        found: What the machine has; probed when left out.

    Raises:
        DeviceError: torch is missing, or the requested kind cannot be had. A device that
            was asked for is never replaced by another.
    """
    if requested == "cpu" and found is None and not torch_npu_installed():
        return Choice("cpu", "asked for")  # nothing to find out, and torch takes seconds to import
    found = found or probe()
    if not found.torch_version and not found.torch_npu:
        raise DeviceError(
            f"torch cannot be used: {found.error or 'no version'}; install the torch build for "
            "this machine (CPU: pip install torch==2.13.0; Ascend: the torch and torch_npu pair "
            "that matches CANN)"
        )
    available = {"npu": found.npu, "cuda": found.cuda, "cpu": True}
    if requested != "auto":
        if not available[requested]:
            why = f": {found.error}" if found.error else ""
            usable = ", ".join(kind for kind, there in available.items() if there)
            raise DeviceError(
                f"--device {requested}: no such device can be used{why}; usable: {usable}"
            )
        return Choice(requested, "asked for", broken_torch_npu=bool(found.error))
    for kind in ("npu", "cuda"):
        if available[kind]:
            return Choice(kind, "the first of npu, cuda, cpu that is usable")
    if found.error:
        reason = f"torch_npu is installed but cannot be used: {found.error}"
        return Choice("cpu", reason, broken_torch_npu=True)
    return Choice("cpu", "no npu and no cuda device is usable")


def make_device(choice: Choice) -> Device:
    """Makes the chosen device; the imports are here so that only one backend is loaded."""
    if choice.kind == "npu":
        from modeltest.devices.npu import NpuDevice

        return NpuDevice()
    if choice.kind == "cuda":
        from modeltest.devices.cuda import CudaDevice

        return CudaDevice()
    if choice.broken_torch_npu:
        hide_torch_npu()
    from modeltest.devices.cpu import CpuDevice

    return CpuDevice()
