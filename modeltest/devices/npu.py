"""An Ascend NPU through torch_npu."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from contextlib import redirect_stdout
from typing import Any

from modeltest.devices.accelerator import Accelerator
from modeltest.devices.ascend_products import is_simulated
from modeltest.devices.cann import cann_version
from modeltest.devices.driver import ascend_driver
from modeltest.devices.npu_smi import npu_health
from modeltest.devices.npu_variables import npu_variable_facts
from modeltest.devices.visible_npus import visible_npus


class NpuDevice(Accelerator):
    """One visible NPU; `set_npu_variables` comes before the first.

    Operators are not compiled just in time and keep standard memory layouts, as the
    maintainers of torch_npu advise for transformers' dynamic shapes.
    """

    kind = "npu"
    label = "NPU"

    def __init__(self, index: int = 0) -> None:
        with redirect_stdout(sys.stderr):  # it prints warnings where our results stand
            import torch
            import torch_npu  # noqa: F401  (registers torch.npu)

        torch.npu.set_compile_mode(jit_compile=False)
        torch.npu.config.allow_internal_format = False
        super().__init__(index)

    def warnings(self, dtype: str) -> tuple[str, ...]:
        """Of fp16, which is known to make Qwen2-Audio reply `!!!!`."""
        if dtype == "fp16" and self.has_bf16():
            return ("fp16 is known to overflow (replies of `!!!!`); bf16 is recommended on NPUs",)
        return super().warnings(dtype)

    def health(self) -> Mapping[str, Any]:
        """Health, temperature, power and memory by npu-smi, where it is."""
        visible = visible_npus(os.environ)
        return npu_health(visible[self._index] if visible else self._index)

    def facts(self) -> Mapping[str, Any]:
        """Name, memory, versions, and how the NPU is set up."""
        import torch_npu

        facts = super().facts()
        return {
            **facts,
            "simulated": is_simulated(facts["name"]),
            "torch_npu": torch_npu.__version__,
            "cann": cann_version(os.environ),
            "driver": ascend_driver(),
            "jit_compile": False,
            "allow_internal_format": False,
            "variables": npu_variable_facts(os.environ),
        }
