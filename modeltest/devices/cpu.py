"""The CPU as a device: its own clock needs no draining, its memory is the process's."""

from __future__ import annotations

import contextlib
import gc
import os
import platform
import resource
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from modeltest.devices.accelerator import deterministic_operators

_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


class CpuDevice:
    """The host's processor."""

    kind = "cpu"
    label = "CPU"
    torch_name = "cpu"
    is_host = True

    def synchronize(self) -> None:
        """Nothing is queued on a CPU: torch's operators return when they are done."""

    def mark(self) -> float:
        """The monotonic clock: a CPU's work is done when its call returns."""
        return time.perf_counter()

    def seconds_between(self, first: float, second: float) -> float:
        """The difference of two readings of the clock."""
        return second - first

    def reset_peak_memory(self) -> None:
        """Lets Linux forget VmHWM (proc(5), clear_refs); elsewhere the peak is the process's."""
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5", encoding="ascii")

    def peak_memory_bytes(self) -> int:
        """Peak resident set of this process, bytes.

        Linux's VmHWM where it is: getrusage's ru_maxrss survives fork and exec, so a small
        process that a large one started would report the large one's peak.
        """
        if high_water := _kilobytes(Path("/proc/self/status"), "VmHWM"):
            return high_water
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024

    def total_memory_bytes(self) -> int:
        """The host's memory, bytes."""
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")

    def available_memory_bytes(self) -> int:
        """What Linux could give without swapping; elsewhere all of the host's. Bytes."""
        return _kilobytes(Path("/proc/meminfo"), "MemAvailable") or self.total_memory_bytes()

    def is_out_of_memory(self, error: Exception) -> bool:
        """Python's own MemoryError, or the refusal of torch's CPU allocator."""
        return isinstance(error, MemoryError) or "DefaultCPUAllocator" in str(error)

    def free_memory(self) -> None:
        """Collects what exceptions and cycles still hold."""
        gc.collect()

    def use_deterministic_algorithms(self) -> None:
        """Lets torch take the operators that always add in the same order."""
        deterministic_operators()

    def warnings(self, dtype: str) -> tuple[str, ...]:
        """None: what a CPU lacks it emulates."""
        return ()

    def is_alive(self) -> bool:
        """The processor that asks is alive."""
        return True

    def health(self) -> Mapping[str, Any]:
        """Load of the host, and the temperature of its hottest sensor where Linux shows one."""
        return {"load_1min": os.getloadavg()[0], "temperature_c": _hottest_c()}

    def facts(self) -> Mapping[str, Any]:
        """Processor name, usable cores, memory, and threads of torch where it is used."""
        torch = sys.modules.get("torch")
        return {
            "name": _processor_name(),
            "cores": usable_cores(),
            "torch_threads": torch.get_num_threads() if torch else None,
            "memory_total_bytes": self.total_memory_bytes(),
            "memory_free_bytes": self.available_memory_bytes(),
            "visible_devices": 1,
            "deterministic": torch.are_deterministic_algorithms_enabled() if torch else None,
            "simulated": False,
        }


def usable_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def threads_per_process(num_processes: int) -> dict[str, str]:
    """Variables that share the cores among processes, where the caller set none."""
    share = str(max(1, usable_cores() // num_processes))
    return {name: share for name in _THREAD_VARIABLES if name not in os.environ}


def _processor_name() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _kilobytes(file: Path, key: str) -> int | None:
    """A figure of a file of `key: number kB` lines, in bytes."""
    if file.is_file():
        for line in file.read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith(f"{key}:"):
                return int(line.split()[1]) * 1024
    return None


def _hottest_c(zones: Path = Path("/sys/class/thermal")) -> float | None:
    """Sensors report thousandths of a degree (Linux, sysfs-class-thermal)."""
    found = []
    for file in zones.glob("thermal_zone*/temp"):
        with contextlib.suppress(OSError, ValueError):
            found.append(int(file.read_text(encoding="ascii")) / 1000)
    return max(found, default=None)
