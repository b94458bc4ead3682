"""An Ascend NPU through torch_npu: the only importer of torch_npu."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class NpuDevice:
    """The first visible NPU.

    Operators are not compiled just in time and keep standard memory layouts, as the
    maintainers of torch_npu advise for transformers' dynamic shapes.
    """

    kind = "npu"
    label = "NPU"
    torch_name = "npu:0"

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

    def peak_memory_bytes(self) -> int:
        """Peak of torch_npu's allocator on this NPU, bytes."""
        import torch

        return int(torch.npu.max_memory_allocated(self.torch_name))

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
        }
