"""No device of this host: a service computes, wherever it is."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any


class ServiceDevice:
    """What stands in a device's place while a service computes; needs no torch."""

    kind = "service"
    label = "SERVICE"
    torch_name = "the service"
    is_host = False

    def synchronize(self) -> None:
        """A reply that arrived is done."""

    def mark(self) -> float:
        """The monotonic clock of this host."""
        return time.perf_counter()

    def seconds_between(self, first: float, second: float) -> float:
        """The difference of two readings of the clock."""
        return second - first

    def total_memory_bytes(self) -> int:
        """Not known."""
        return 0

    def available_memory_bytes(self) -> int:
        """Not known."""
        return 0

    def peak_memory_bytes(self) -> int:
        """Not known."""
        return 0

    def reset_peak_memory(self) -> None:
        """There is nothing to count."""

    def is_out_of_memory(self, error: Exception) -> bool:
        """Of this process: a service's is an error of its reply."""
        return isinstance(error, MemoryError)

    def free_memory(self) -> None:
        """There is nothing to free."""

    def use_deterministic_algorithms(self) -> None:
        """The service decides."""

    def warnings(self, dtype: str) -> tuple[str, ...]:
        """None: what a user should know, the backend's settings tell."""
        return ()

    def is_alive(self) -> bool:
        """The backend finds out what became of the service."""
        return True

    def health(self) -> Mapping[str, Any]:
        """Not known."""
        return {}

    def facts(self) -> Mapping[str, Any]:
        """That it is none of this host's."""
        return {"name": "a service", "visible_devices": 0, "simulated": False}
