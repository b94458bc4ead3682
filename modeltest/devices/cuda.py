"""An NVIDIA (or ROCm) GPU through torch.cuda."""

from __future__ import annotations

import gc
from collections.abc import Mapping
from typing import Any

from modeltest.devices.driver import nvidia_driver
from modeltest.devices.health import computes


class CudaDevice:
    """The first visible GPU."""

    kind = "cuda"
    label = "GPU"
    torch_name = "cuda:0"
    is_host = False

    def synchronize(self) -> None:
        """Waits for every stream of the GPU."""
        import torch

        torch.cuda.synchronize(self.torch_name)

    def mark(self) -> Any:
        """An event on the current stream."""
        import torch

        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def seconds_between(self, first: Any, second: Any) -> float:
        """From event to event; both must have passed."""
        return float(first.elapsed_time(second)) / 1e3

    def reset_peak_memory(self) -> None:
        """Lets torch's allocator forget its peak."""
        import torch

        torch.cuda.reset_peak_memory_stats(self.torch_name)

    def peak_memory_bytes(self) -> int:
        """Peak of torch's allocator on this GPU, bytes."""
        import torch

        return int(torch.cuda.max_memory_allocated(self.torch_name))

    def is_out_of_memory(self, error: Exception) -> bool:
        """Torch's own error type, which every accelerator's allocator raises."""
        import torch

        return isinstance(error, torch.OutOfMemoryError)

    def free_memory(self) -> None:
        """Empties the allocator's cache."""
        import torch

        gc.collect()
        torch.cuda.empty_cache()

    def is_alive(self) -> bool:
        """Computes one sum; a lost device cannot."""
        return computes(self.torch_name)

    def facts(self) -> Mapping[str, Any]:
        """Name, memory, CUDA and driver version."""
        import torch

        properties = torch.cuda.get_device_properties(self.torch_name)
        return {
            "name": properties.name,
            "memory_total_bytes": properties.total_memory,
            "visible_devices": torch.cuda.device_count(),
            "cuda": torch.version.cuda,
            "driver": nvidia_driver(),
        }
