"""What GPUs and NPUs share: torch gives `torch.cuda` and `torch.npu` the same functions.

Those modules are used rather than `torch.accelerator`, which has no events and whose memory figures
older torch and older torch_npu lack: so one path serves every torch since 2.1.
"""

from __future__ import annotations

import gc
from collections.abc import Mapping
from typing import Any

from modeltest.devices.health import computes


class Accelerator:
    """One device of a kind that torch drives asynchronously.

    Attributes:
        torch_name: Kind and index among the visible devices, `cuda:1`.
    """

    kind: str
    label: str
    is_host = False

    def __init__(self, index: int = 0) -> None:
        import torch

        self._index = index
        self.torch_name = f"{self.kind}:{index}"
        self._module: Any = getattr(torch, self.kind)
        self._module.set_device(self.torch_name)

    def synchronize(self) -> None:
        """Waits for every stream of the device."""
        self._module.synchronize(self.torch_name)

    def mark(self) -> Any:
        """An event on the current stream."""
        event = self._module.Event(enable_timing=True)
        event.record()
        return event

    def seconds_between(self, first: Any, second: Any) -> float:
        """From event to event; both must have passed."""
        return float(first.elapsed_time(second)) / 1e3

    def total_memory_bytes(self) -> int:
        """All memory of the device, bytes."""
        return int(self._module.mem_get_info(self.torch_name)[1])

    def available_memory_bytes(self) -> int:
        """What the driver calls free; torch's cached blocks are not. Bytes."""
        return int(self._module.mem_get_info(self.torch_name)[0])

    def reset_peak_memory(self) -> None:
        """Lets torch's allocator forget its peak."""
        self._module.reset_peak_memory_stats(self.torch_name)

    def peak_memory_bytes(self) -> int:
        """Peak of torch's allocator on this device, bytes."""
        return int(self._module.max_memory_allocated(self.torch_name))

    def is_out_of_memory(self, error: Exception) -> bool:
        """Torch's own type, or a RuntimeError that says so, as older torch and libraries do."""
        return isinstance(error, RuntimeError) and "out of memory" in str(error).lower()

    def free_memory(self) -> None:
        """Empties the allocator's cache."""
        gc.collect()
        self._module.empty_cache()

    def use_deterministic_algorithms(self) -> None:
        """Lets torch take the operators that always add in the same order."""
        deterministic_operators()

    def warnings(self, dtype: str) -> tuple[str, ...]:
        """bf16 where the device has none."""
        if dtype == "bf16" and not self.has_bf16():
            return (f"{self.name()} has no bf16; use --dtype fp16 or fp32",)
        return ()

    def has_bf16(self) -> bool:
        """Whether the device computes in bf16 itself."""
        return bool(self._module.is_bf16_supported())

    def is_alive(self) -> bool:
        """Computes one sum; a lost device cannot."""
        return computes(self.torch_name)

    def name(self) -> str:
        """What the driver calls the device."""
        return str(self._module.get_device_name(self.torch_name))

    def health(self) -> Mapping[str, Any]:
        """What the vendor's tool says of the device now; each kind has one of its own."""
        raise NotImplementedError

    def facts(self) -> Mapping[str, Any]:
        """Name, index, memory, number of visible devices."""
        import torch

        return {
            "name": self.name(),
            "index": self._index,
            "memory_total_bytes": self.total_memory_bytes(),
            "memory_free_bytes": self.available_memory_bytes(),
            "visible_devices": int(self._module.device_count()),
            "deterministic": torch.are_deterministic_algorithms_enabled(),
            "simulated": False,
        }


def deterministic_operators() -> None:
    """Torch's switch, with a warning in place of an error where an operator has no such form.

    New tensors are not filled with NaN meanwhile, as torch does by default to find bugs: it
    costs a write of every tensor.
    """
    import torch

    torch.use_deterministic_algorithms(True, warn_only=True)
    if hasattr(torch.utils, "deterministic"):  # newer torch only
        torch.utils.deterministic.fill_uninitialized_memory = False
