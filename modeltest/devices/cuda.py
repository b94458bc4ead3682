"""An NVIDIA (or ROCm) GPU through torch.cuda."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from modeltest.devices.accelerator import Accelerator
from modeltest.devices.driver import nvidia_driver
from modeltest.devices.nvidia_smi import gpu_health


class CudaDevice(Accelerator):
    """One visible GPU."""

    kind = "cuda"
    label = "GPU"

    def use_deterministic_algorithms(self) -> None:
        """Also cuDNN's choice of algorithm, and cuBLAS' workspace unless the caller set it."""
        import torch

        # NVIDIA, cuBLAS, "Results reproducibility": read when the first handle is made.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.backends.cudnn.benchmark = False
        torch.backends.cudnn.deterministic = True
        super().use_deterministic_algorithms()

    def has_bf16(self) -> bool:
        """Emulation does not count: torch says yes to it, and it is slow."""
        import torch

        try:
            return bool(self._module.is_bf16_supported(including_emulation=False))
        except TypeError:  # older torch says yes without telling emulation apart
            if torch.version.hip:
                return bool(self._module.is_bf16_supported())
        # NVIDIA, "CUDA C++ Programming Guide", compute capabilities: bf16 since 8.0.
        return bool(self._module.get_device_capability(self.torch_name)[0] >= 8)

    def health(self) -> Mapping[str, Any]:
        """Temperature, power, clock and errors by nvidia-smi, where it is."""
        return gpu_health(self._smi_name())

    def facts(self) -> Mapping[str, Any]:
        """Name, memory, CUDA and driver version."""
        import torch

        return {
            **super().facts(),
            "cuda": torch.version.cuda,
            "driver": nvidia_driver(),
        }

    def _smi_name(self) -> str:
        """What nvidia-smi knows the device by: its UUID, as the two need not count alike."""
        uuid = getattr(self._module.get_device_properties(self.torch_name), "uuid", None)
        if uuid is not None:  # newer torch only
            return f"GPU-{uuid}"
        visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
        return visible[self._index].strip() if any(visible) else str(self._index)
