"""The rows of `modeltest check` about this machine: software, devices, memory, versions.

Rows about NPUs are left out where there is neither torch_npu nor CANN nor an Ascend driver.
"""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from typing import TYPE_CHECKING

from modeltest.cli.findings import Finding, State
from modeltest.errors import ModeltestError

if TYPE_CHECKING:
    from modeltest.devices.factory import Choice
    from modeltest.devices.probe import Probe
    from modeltest.devices.vendor_tool import ToolAnswer

_OLDEST_TRANSFORMERS = (4, 46, 2)
# libsndfile reads MP3 since then.
_OLDEST_LIBSNDFILE = (1, 1, 0)
_GB = 1e9
# For torch, drivers and their tools together; with the start of Python it makes under 10 s.
_ANSWER_S = 8.0


@dataclass(frozen=True, slots=True)
class _Answers:
    """What was asked of programs outside this process, all at the same time."""

    found: Probe
    npu_smi: ToolAnswer
    nvidia_smi: ToolAnswer


@dataclass(frozen=True, slots=True)
class _Ascend:
    """What there is of Ascend's software; empty for what there is not.

    Attributes:
        driver: Version of the driver.
        npu_smi: What the driver's tool said.
        cann: Version of CANN.
        torch_npu: Version of torch_npu.
        installed: torch_npu is there, whether or not its version is known.
        wanted: An NPU would have been taken.
        fault: How a row stands that keeps the NPU from being used.
    """

    driver: str
    npu_smi: ToolAnswer
    cann: str
    torch_npu: str
    installed: bool
    wanted: bool
    fault: State

    @property
    def exists(self) -> bool:
        return bool(self.driver or self.npu_smi.installed or self.cann or self.installed)


def machine_rows(requested: str) -> Iterator[Finding]:
    """Looks at everything that a run on the requested device would need.

    Args:
        requested: `auto` or a device kind.
    """
    yield Finding("python", "ok", f"{platform.python_version()} ({sys.executable})")
    answers = _ask()
    found = answers.found
    choice = _choice(requested, found)
    ascend = _ascend(answers, requested, choice)
    yield from _nvidia_driver(answers)
    if ascend.exists:
        yield _ascend_driver(ascend, found)
        yield _cann(ascend, found)
    yield _torch(found)
    if ascend.exists:
        yield _torch_npu(ascend, found)
    yield _transformers()
    yield _device(choice, ascend, found)
    yield _memory(found)
    yield _audio()
    yield from _versions(ascend, found)


def _ask() -> _Answers:
    from modeltest.devices.npu_smi import NPU_SMI_INFO
    from modeltest.devices.nvidia_smi import NVIDIA_SMI_DRIVER
    from modeltest.devices.outside_call import Deadline
    from modeltest.devices.probe import ProbeCall
    from modeltest.devices.vendor_tool import ToolCall

    deadline = Deadline(_ANSWER_S)
    with (
        ProbeCall(deadline, details=True) as torch,
        ToolCall(NPU_SMI_INFO, deadline) as npu_smi,
        ToolCall(NVIDIA_SMI_DRIVER, deadline) as nvidia_smi,
    ):
        _audio()  # imports its libraries meanwhile
        return _Answers(torch.answer(), npu_smi.answer(), nvidia_smi.answer())


def _choice(requested: str, found: Probe) -> Choice | ModeltestError:
    from modeltest.devices.factory import choose

    try:
        return choose(requested, found)
    except ModeltestError as error:
        return error


def _ascend(answers: _Answers, requested: str, choice: Choice | ModeltestError) -> _Ascend:
    from modeltest.devices.cann import cann_version
    from modeltest.devices.driver import ascend_driver
    from modeltest.devices.factory import may_be_npu
    from modeltest.devices.npu_smi import npu_smi_version

    found, failed = answers.found, isinstance(choice, ModeltestError)
    version = found.torch_npu_version or _version("torch_npu") if found.torch_npu else ""
    return _Ascend(
        driver=ascend_driver() or npu_smi_version(answers.npu_smi.output) or "",
        npu_smi=answers.npu_smi,
        cann=cann_version(os.environ) or found.cann,
        torch_npu=version,
        installed=found.torch_npu,
        wanted=may_be_npu(requested) and found.torch_npu,
        fault="bad" if failed and may_be_npu(requested) and not found.num_npu else "warning",
    )


def _nvidia_driver(answers: _Answers) -> Iterator[Finding]:
    from modeltest.devices.driver import nvidia_driver
    from modeltest.devices.nvidia_smi import nvidia_smi_driver

    tool = answers.nvidia_smi
    version = nvidia_driver() or nvidia_smi_driver(tool.output)
    shown = f"NVIDIA {version}" if version else "NVIDIA, version not found"
    if hung := _hung_driver(shown, "cuda", answers.found, tool):
        yield hung
    elif tool.installed and tool.why_not:
        advice = "no GPU can be used without the driver: install or load it, see dmesg"
        yield Finding("driver", "warning", f"{shown}; {tool.why_not}", advice)
    elif version:
        yield Finding("driver", "ok", shown)


def _hung_driver(shown: str, kind: str, found: Probe, tool: ToolAnswer) -> Finding | None:
    """A row where the driver answers neither torch nor its own tool, or only one of them."""
    hang = found.hang if found.hang and found.hang.asks == kind else None
    said = [tool.why_not] if tool.hung else []
    said += [hang.why.reason] if hang else []
    if not said:
        return None
    advice = "the driver hangs: end what uses the devices, see dmesg, or restart the machine"
    return Finding("driver", "bad", f"{shown}; {'; '.join(said)}", advice)


def _ascend_driver(ascend: _Ascend, found: Probe) -> Finding:
    from modeltest.devices.version_sets import driver_complaint

    shown = f"Ascend {ascend.driver}" if ascend.driver else "Ascend, version not found"
    if hung := _hung_driver(shown, "npu", found, ascend.npu_smi):
        return hung
    if ascend.npu_smi.installed and ascend.npu_smi.why_not:
        advice = "see whether the driver is loaded; in a container mount the host's"
        return Finding("driver", ascend.fault, f"{shown}; {ascend.npu_smi.why_not}", advice)
    if ascend.driver:
        complaint = driver_complaint(ascend.cann, ascend.driver) if ascend.cann else ""
        state: State = "warning" if complaint else "ok"
        advice = f"{complaint}; update whichever is older" if complaint else ""
        return Finding("driver", state, shown, advice)
    if found.num_npu:
        return Finding("driver", "warning", shown, "see npu-smi info")
    return Finding(
        "driver", ascend.fault, "no Ascend driver found",
        "install it; in a container mount /usr/local/Ascend/driver",
    )  # fmt: skip


def _cann(ascend: _Ascend, found: Probe) -> Finding:
    from modeltest.devices.version_sets import cann_complaint

    if not ascend.cann:
        if found.torch_npu_imports:
            return Finding("CANN", "warning", "there, version not found", "set ASCEND_HOME_PATH")
        return Finding("CANN", ascend.fault, "not found", "install CANN and source its set_env.sh")
    complaint = cann_complaint(ascend.torch_npu, ascend.cann) if ascend.torch_npu else ""
    if not complaint:
        return Finding("CANN", "ok", ascend.cann)
    return Finding("CANN", "warning", ascend.cann, f"{complaint}; see docs/devices.md")


def _torch(found: Probe) -> Finding:
    if found.torch_version:
        return Finding("torch", "ok", found.torch_version)
    if found.hang and found.hang.asks == "torch":
        return Finding("torch", "bad", found.hang.why.reason, found.hang.why.advice)
    advice = "CPU: pip install torch==2.13.0; Ascend: the pair that matches CANN"
    return Finding("torch", "bad", found.torch_error, advice)


def _torch_npu(ascend: _Ascend, found: Probe) -> Finding:
    from modeltest.devices.version_sets import torch_npu_complaint

    if not ascend.installed:
        advice = f"pip install torch_npu=={found.torch_version.partition('+')[0] or 'torch’s'}"
        return Finding("torch_npu", ascend.fault, "not installed", advice)
    shown = ascend.torch_npu or "version not found"
    if found.hang and found.hang.asks == "torch_npu":
        why = found.hang.why
        return Finding("torch_npu", "bad", f"{shown}, {why.reason}", why.advice)
    known = found.torch_version and ascend.torch_npu
    if known and (complaint := torch_npu_complaint(found.torch_version, ascend.torch_npu)):
        advice = f"{complaint}; install the torch_npu of torch's version"
        return Finding("torch_npu", ascend.fault, shown, advice)
    if found.no_npu:
        return Finding(
            "torch_npu", ascend.fault, f"{shown}, {found.no_npu.reason}", found.no_npu.advice
        )
    return Finding("torch_npu", "ok", shown)


def _transformers() -> Finding:
    from modeltest.devices.version_sets import numbers

    version = _version("transformers")
    if not version:
        return Finding("transformers", "bad", "not installed", "pip install transformers")
    if numbers(version)[:3] < _OLDEST_TRANSFORMERS:
        return Finding("transformers", "bad", version, "needs 4.46.2 or newer")
    return Finding("transformers", "ok", version)


def _device(choice: Choice | ModeltestError, ascend: _Ascend, found: Probe) -> Finding:
    from modeltest.devices.ascend_products import is_simulated

    if isinstance(choice, ModeltestError):
        return Finding("device", "bad", str(choice))
    chosen = (seen for seen in found.devices if seen.torch_name.startswith(choice.kind))
    names = {seen.name for seen in chosen if seen.name}
    named = f", {choice.num_devices} × {' and '.join(sorted(names))}" if names else ""
    visible = [
        f", {name}={os.environ[name]}"
        for name in ("ASCEND_RT_VISIBLE_DEVICES", "CUDA_VISIBLE_DEVICES")
        if name in os.environ
    ]
    detail = f"{choice.kind} ({choice.reason}){named}{''.join(visible)}"
    if any(map(is_simulated, names)):
        return Finding("device", "warning", detail, "simulated: runs on it are INVALID")
    if ascend.wanted and found.no_npu:
        return Finding("device", "warning", detail, found.no_npu.advice)
    return Finding("device", "ok", detail)


def _memory(found: Probe) -> Finding:
    from modeltest.devices.cpu import CpuDevice

    host = CpuDevice()
    parts = [_amount("host", host.total_memory_bytes(), host.available_memory_bytes())]
    seen = [device for device in found.devices if not device.error]
    failed = [device for device in found.devices if device.error]
    parts += [_amount(d.torch_name, d.total_bytes, d.free_bytes) for d in seen]
    parts += [f"{d.torch_name} cannot be opened ({d.error.splitlines()[0]})" for d in failed]
    if unseen := found.num_npu + found.num_cuda - len(found.devices):
        parts.append(f"{unseen} more")
    if failed:
        return Finding("memory", "warning", "; ".join(parts), "end what uses it, or choose others")
    return Finding("memory", "ok", "; ".join(parts))


def _amount(name: str, total_bytes: int, free_bytes: int) -> str:
    return f"{name} {total_bytes / _GB:.1f} GB, {free_bytes / _GB:.1f} GB free"


def _audio() -> Finding:
    from modeltest.audio.decode import audio_rule_facts
    from modeltest.devices.version_sets import numbers

    versions = {k: v for k, v in audio_rule_facts().items() if k != "rule"}
    facts = ", ".join(f"{name} {version}" for name, version in versions.items())
    ffmpeg = "found" if shutil.which("ffmpeg") else "not found"
    detail = f"{facts}; ffmpeg {ffmpeg}, not needed"
    if numbers(versions["libsndfile"]) < _OLDEST_LIBSNDFILE:
        return Finding("audio", "warning", detail, "MP3 needs libsndfile 1.1: update soundfile")
    return Finding("audio", "ok", detail)


def _versions(ascend: _Ascend, found: Probe) -> Iterator[Finding]:
    """Whether somebody is known to run these versions together."""
    from modeltest.devices.version_sets import KNOWN_SETS, known_set

    transformers = _version("transformers")
    if not found.torch_version or not transformers:
        return
    torch_npu = ascend.torch_npu if ascend.wanted and found.num_npu else ""
    shown = f"torch {found.torch_version} with transformers {transformers}"
    shown += f" and torch_npu {torch_npu}" if torch_npu else ""
    known = known_set(found.torch_version, transformers, torch_npu, ascend.cann)
    if known:
        state: State = "warning" if "never" in known.source else "ok"
        advice = "modeltest check --npu-selfcheck tries the device" if state != "ok" else ""
        yield Finding("versions", state, f"{shown}: tested together ({known.source})", advice)
        return
    others = "; ".join(
        f"torch {other.torch} with transformers {other.transformers}"
        + (f", torch_npu {other.torch_npu}, CANN {other.cann}" if other.cann else "")
        for other in KNOWN_SETS
        if bool(other.torch_npu) == bool(torch_npu) and "never" not in other.source
    )
    yield Finding("versions", "warning", f"{shown}: not tested together", f"tested: {others}")


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""
