"""Stands in for torch_npu: the same names over a device that is simulated on the CPU.

NPUSIM_LIBRARY names the built `npu_device.cpp`. What is here are the names of torch_npu 2.13.0
that programs use; `test_the_simulator_has_no_name_that_torch_npu_lacks` compares them with it.
"""

import ctypes
import os
from types import ModuleType
from typing import Any

import torch

__version__ = "2.13.0+simulated"
_DEVICE_NAME = "Simulated NPU"


def _index(device: Any = None) -> int:
    """The number of a device that is given as torch allows: number, name, device or nothing."""
    if isinstance(device, int):
        return device
    index = None if device is None else torch.device(device).index
    return torch.accelerator.current_device_index() if index is None else index


class _Properties:
    """What is known of a device."""

    def __init__(self, index: int) -> None:
        self.name = _DEVICE_NAME
        self.total_memory = torch.accelerator.get_memory_info(index)[1]


def _event(enable_timing: bool = False, blocking: bool = False) -> torch.Event:
    return torch.Event("npu", enable_timing=enable_timing, blocking=blocking)


def _make_npu() -> ModuleType:
    """What `torch.npu` offers."""
    npu = ModuleType("torch.npu")
    npu.config = ModuleType("torch.npu.config")
    npu.config.allow_internal_format = True
    npu.utils = ModuleType("torch.npu.utils")
    npu.utils.get_cann_version = lambda module="CANN": ""  # there is none
    functions = {
        "device_count": _library.npusim_device_count,
        "is_available": lambda: _library.npusim_device_count() > 0,
        "is_initialized": lambda: True,
        "current_device": torch.accelerator.current_device_index,
        "set_device": lambda device: torch.accelerator.set_device_index(_index(device)),
        "get_device_name": lambda device=None: _DEVICE_NAME,
        "get_device_properties": lambda device=None: _Properties(_index(device)),
        "get_device_capability": lambda device=None: None,
        "is_bf16_supported": lambda: True,
        "get_amp_supported_dtype": lambda: [torch.float16, torch.bfloat16],
        "set_compile_mode": lambda jit_compile=False: None,
        "set_deterministic_level": lambda level: None,
        "synchronize": lambda device=None: torch.accelerator.synchronize(_index(device)),
        "Event": _event,
        "empty_cache": torch.accelerator.empty_cache,
        "mem_get_info": lambda device=None: torch.accelerator.get_memory_info(_index(device)),
        "memory_stats": lambda device=None: torch.accelerator.memory_stats(_index(device)),
        "memory_allocated": lambda device=None: torch.accelerator.memory_allocated(_index(device)),
        "max_memory_allocated": lambda device=None: torch.accelerator.max_memory_allocated(
            _index(device)
        ),
        "reset_peak_memory_stats": lambda device=None: torch.accelerator.reset_peak_memory_stats(
            _index(device)
        ),
        # The device draws no random numbers: whoever asks for some is refused by torch.
        "manual_seed": lambda seed: None,
        "manual_seed_all": lambda seed: None,
        "get_rng_state": lambda device="npu": torch.get_rng_state(),
        "set_rng_state": lambda state, device="npu": None,
        "_is_in_bad_fork": lambda: False,
    }
    for name, function in functions.items():
        setattr(npu, name, function)
    return npu


def npu_fusion_attention(*_: Any, **__: Any) -> Any:
    """transformers imports it for `flash_attention_2`, which is not simulated."""
    raise NotImplementedError("the simulated NPU has no fused operators")


npu_rotary_mul = npu_fusion_attention


def _autoload() -> None:
    """What `import torch` calls, by the entry point; importing this package did all."""


torch.utils.rename_privateuse1_backend("npu")
_library = ctypes.CDLL(os.environ["NPUSIM_LIBRARY"])
npu = _make_npu()
torch._register_device_module("npu", npu)
torch.utils.generate_methods_for_privateuse1_backend(for_storage=True)
