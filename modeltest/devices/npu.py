"""An Ascend NPU through torch_npu: the only importer of torch_npu."""

from __future__ import annotations

import gc
from collections.abc import Mapping
from typing import Any

from modeltest.devices.driver import ascend_driver
from modeltest.devices.health import computes


class NpuDevice:
    """The first visible NPU.

    Operators are not compiled just in time and keep standard memory layouts, as the
    maintainers of torch_npu advise for transformers' dynamic shapes.
    """

    kind = "npu"
    label = "NPU"
    torch_name = "npu:0"
    is_host = False

    def __init__(self) -> None:
        import torch
        import torch_npu  # noqa: F401  (registers torch.npu)

        torch.npu.set_compile_mode(jit_compile=False)
        torch.npu.config.allow_internal_format = False
        torch.npu.set_device(self.torch_name)

    def synchronize(self) -> None:
        """Waits for every stream of the NPU."""
        import torch

        torch.npu.synchronize(self.torch_name)

    def mark(self) -> Any:
        """An event on the current stream."""
        import torch

        event = torch.npu.Event(enable_timing=True)
        event.record()
        return event

    def seconds_between(self, first: Any, second: Any) -> float:
        """From event to event; both must have passed."""
        return float(first.elapsed_time(second)) / 1e3

    def reset_peak_memory(self) -> None:
        """Lets torch's allocator forget its peak."""
        import torch

        torch.npu.reset_peak_memory_stats(self.torch_name)

    def peak_memory_bytes(self) -> int:
        """Peak of torch_npu's allocator on this NPU, bytes."""
        import torch

        return int(torch.npu.max_memory_allocated(self.torch_name))

    def is_out_of_memory(self, error: Exception) -> bool:
        """Torch's own error type, which every accelerator's allocator raises."""
        import torch

        return isinstance(error, torch.OutOfMemoryError)

    def free_memory(self) -> None:
        """Empties the allocator's cache."""
        import torch

        gc.collect()
        torch.npu.empty_cache()

    def is_alive(self) -> bool:
        """Computes one sum; a lost device cannot."""
        return computes(self.torch_name)

    def facts(self) -> Mapping[str, Any]:
        """Name, memory and versions."""
        import torch
        import torch_npu

        properties = torch.npu.get_device_properties(self.torch_name)
        return {
            "name": torch.npu.get_device_name(self.torch_name),
            "memory_total_bytes": properties.total_memory,
            "visible_devices": torch.npu.device_count(),
            "torch_npu": torch_npu.__version__,
            "cann": torch.version.cann if hasattr(torch.version, "cann") else None,
            "driver": ascend_driver(),
        }
