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

_OLDEST_TRANSFORMERS = (4, 46, 2)
# libsndfile reads MP3 since then.
_OLDEST_LIBSNDFILE = (1, 1, 0)
_GB = 1e9


@dataclass(frozen=True, slots=True)
class _Ascend:
    """What there is of Ascend's software; empty for what there is not.

    Attributes:
        driver: Version of the driver.
        cann: Version of CANN.
        torch_npu: Version of torch_npu.
        wanted: An NPU would have been taken.
        fault: How a row stands that keeps the NPU from being used.
    """

    driver: str
    cann: str
    torch_npu: str
    wanted: bool
    fault: State

    @property
    def exists(self) -> bool:
        return bool(self.driver or self.cann or self.torch_npu)


def machine_rows(requested: str) -> Iterator[Finding]:
    """Looks at everything that a run on the requested device would need.

    Args:
        requested: `auto` or a device kind.
    """
    from modeltest.devices.probe import probe

    yield Finding("python", "ok", f"{platform.python_version()} ({sys.executable})")
    found = probe(details=True)
    choice = _choice(requested, found)
    ascend = _ascend(found, requested, choice)
    yield from _driver(ascend, found)
    if ascend.exists:
        yield _cann(ascend, found)
    yield _torch(found)
    if ascend.exists:
        yield _torch_npu(ascend, found)
    yield _transformers()
    yield _device(choice, ascend, found)
    yield _memory(found)
    yield _audio()
    yield from _versions(ascend, found)


def _choice(requested: str, found: Probe) -> Choice | ModeltestError:
    from modeltest.devices.factory import choose

    try:
        return choose(requested, found)
    except ModeltestError as error:
        return error


def _ascend(found: Probe, requested: str, choice: Choice | ModeltestError) -> _Ascend:
    from modeltest.devices.cann import cann_version
    from modeltest.devices.driver import ascend_driver
    from modeltest.devices.factory import may_be_npu

    failed = isinstance(choice, ModeltestError)
    return _Ascend(
        driver=ascend_driver() or "",
        cann=cann_version(os.environ) or found.cann,
        torch_npu=_version("torch_npu") if found.torch_npu else "",
        wanted=may_be_npu(requested) and found.torch_npu,
        fault="bad" if failed and may_be_npu(requested) and not found.num_npu else "warning",
    )


def _driver(ascend: _Ascend, found: Probe) -> Iterator[Finding]:
    from modeltest.devices.driver import nvidia_driver
    from modeltest.devices.version_sets import driver_complaint

    if nvidia := nvidia_driver():
        yield Finding("driver", "ok", f"NVIDIA {nvidia}")
    if ascend.driver:
        complaint = driver_complaint(ascend.cann, ascend.driver) if ascend.cann else ""
        state: State = "warning" if complaint else "ok"
        yield Finding(
            "driver", state, f"Ascend {ascend.driver}",
            f"{complaint}; update whichever is older" if complaint else "",
        )  # fmt: skip
    elif found.num_npu:
        yield Finding("driver", "warning", "Ascend, version not found", "see npu-smi info")
    elif ascend.exists:
        yield Finding(
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
    advice = "CPU: pip install torch==2.13.0; Ascend: the pair that matches CANN"
    return Finding("torch", "bad", found.torch_error, advice)


def _torch_npu(ascend: _Ascend, found: Probe) -> Finding:
    from modeltest.devices.version_sets import torch_npu_complaint

    if not ascend.torch_npu:
        advice = f"pip install torch_npu=={found.torch_version.partition('+')[0] or 'torch’s'}"
        return Finding("torch_npu", ascend.fault, "not installed", advice)
    complaint = torch_npu_complaint(found.torch_version, ascend.torch_npu)
    if complaint and found.torch_version:
        return Finding(
            "torch_npu", ascend.fault, ascend.torch_npu,
            f"{complaint}; install the torch_npu of torch's version",
        )  # fmt: skip
    if found.no_npu:
        detail = f"{ascend.torch_npu}, {found.no_npu.reason}"
        return Finding("torch_npu", ascend.fault, detail, found.no_npu.advice)
    return Finding("torch_npu", "ok", ascend.torch_npu)


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
