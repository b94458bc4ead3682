"""Which Ascend products a device name stands for, and what they cannot do."""

from __future__ import annotations

import re

from modeltest.errors import UsageError

# torch_npu says Ascend310P3, npu-smi 310P3, a person 300I DUO; other cards with the chip are
# not in the feature matrix either.
_300I_DUO = re.compile(r"310P|300I[\s_-]*DUO", re.IGNORECASE)


def is_simulated(device_name: str) -> bool:
    """Whether a device is none: no figure that was found on it may be reported."""
    return "simulated" in device_name.lower()


def is_300i_duo(device_name: str) -> bool:
    """Whether a device is (a half of) a 300I DUO card."""
    return _300I_DUO.search(device_name) is not None


def refuse_tensor_parallel(device_name: str, tp: int) -> None:
    """Makes sure that a device may take part in tensor parallelism.

    Args:
        device_name: As torch_npu or npu-smi gives it.
        tp: Number of devices that would share the model.

    Raises:
        UsageError: It may not.
    """
    if tp > 1 and is_300i_duo(device_name):
        raise UsageError(
            f"--tp {tp}: {device_name} (300I DUO) does not support tensor parallelism for "
            "Qwen2-Audio (feature matrix); use --tp 1, and --dp to use several devices"
        )
