"""An NVIDIA (or ROCm) GPU through torch.cuda."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class CudaDevice:
    """The first visible GPU."""

    kind = "cuda"
    label = "GPU"
    torch_name = "cuda:0"

    def synchronize(self) -> None:
        """Waits for every stream of the GPU."""
        import torch

        torch.cuda.synchronize(self.torch_name)

    def peak_memory_bytes(self) -> int:
        """Peak of torch's allocator on this GPU, bytes."""
        import torch

        return int(torch.cuda.max_memory_allocated(self.torch_name))

    def facts(self) -> Mapping[str, Any]:
        """Name, memory and CUDA version."""
        import torch

        properties = torch.cuda.get_device_properties(self.torch_name)
        return {
            "name": properties.name,
            "memory_total_bytes": properties.total_memory,
            "visible_devices": torch.cuda.device_count(),
            "cuda": torch.version.cuda,
        }
