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
        status = Path("/proc/self/status")
        if status.is_file():
            for line in status.read_text(encoding="ascii", errors="replace").splitlines():
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1024
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024

    def is_out_of_memory(self, error: Exception) -> bool:
        """Python's own MemoryError, or the refusal of torch's CPU allocator."""
        return isinstance(error, MemoryError) or "DefaultCPUAllocator" in str(error)

    def free_memory(self) -> None:
        """Collects what exceptions and cycles still hold."""
        gc.collect()

    def is_alive(self) -> bool:
        """The processor that asks is alive."""
        return True

    def facts(self) -> Mapping[str, Any]:
        """Processor name, usable cores, memory, and threads of torch where it is used."""
        torch = sys.modules.get("torch")
        return {
            "name": _processor_name(),
            "cores": len(os.sched_getaffinity(0))
            if hasattr(os, "sched_getaffinity")
            else os.cpu_count(),
            "torch_threads": torch.get_num_threads() if torch else None,
            "memory_total_bytes": _host_memory_bytes(),
        }


def _processor_name() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _host_memory_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
