"""What torch sees. Without torch_npu it is asked in this process, else in a child.

In a child each finding is a line of JSON, so that those before a crash are not lost.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

# Each device is initialised for its memory, which can take a second; then the rest go without.
_DETAILS_S = 4.0


def main() -> None:
    """Prints what is found, a JSON object per line; the argument `details` asks for more."""
    # torch alone first: what is wrong with it, and what with torch_npu, are two findings.
    os.environ["TORCH_DEVICE_BACKEND_AUTOLOAD"] = "0"
    details = sys.argv[-1] == "details"
    for look in (look_at_torch, look_at_npu):
        print(f"\n{json.dumps(look(details))}", flush=True)


def look_at_torch(details: bool) -> dict[str, Any]:
    """Version of torch, and its CUDA devices.

    Args:
        details: Also name and memory of each device, which initialises them.

    Returns:
        Fields of `Probe`.
    """
    try:
        import torch
    except Exception as error:  # whatever a broken installation raises is the finding
        return {"torch_error": str(error) or type(error).__name__}
    found: dict[str, Any] = {
        "torch_version": str(torch.__version__),
        "num_cuda": torch.cuda.device_count() if torch.cuda.is_available() else 0,
        "torch_has_cuda": bool(torch.version.cuda or getattr(torch.version, "hip", None)),
    }
    if details:
        found["devices"] = list(_devices("cuda", torch.cuda, found["num_cuda"]))
    return found


def look_at_npu(details: bool) -> dict[str, Any]:
    """NPUs that torch_npu can use, or its own words on why it cannot.

    A device must be there: with CANN and no device torch still calls npu its accelerator.
    """
    try:
        import torch
        import torch_npu

        num_npu = torch.npu.device_count() if torch.npu.is_available() else 0
        found: dict[str, Any] = {"num_npu": num_npu}
        if details:
            found["devices"] = list(_devices("npu", torch.npu, num_npu))
            with suppress(Exception):  # a version that is not found is shown so
                found["cann"] = str(torch_npu.npu.utils.get_cann_version() or "")
    except Exception as error:  # torch_npu's own checks raise plain Exception
        return {"npu_error": str(error) or type(error).__name__}
    return found


def _devices(kind: str, module: Any, num: int) -> Iterator[dict[str, Any]]:
    start_s = time.monotonic()
    for index in range(num):
        if time.monotonic() - start_s > _DETAILS_S:
            return
        name = f"{kind}:{index}"
        try:
            free, total = module.mem_get_info(index)
            told = {"name": str(module.get_device_name(index)), "error": ""}
        except Exception as error:  # one that is full or broken hides no other
            free, total = 0, 0
            told = {"name": "", "error": str(error) or type(error).__name__}
        yield {"torch_name": name, "total_bytes": int(total), "free_bytes": int(free), **told}
