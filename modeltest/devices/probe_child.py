"""What torch sees, finding by finding: `modeltest.devices.probe` asks for it, mostly in a child.

In a child each finding is a line of JSON, so that those before a crash or a hang are not lost.
Before each step that can hang stand `asks` (`torch`, `cuda`, `torch_npu` or `npu`) and `step`.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

Finding = dict[str, Any]


def main() -> None:
    """Prints what is found, a JSON object per line.

    The second argument is JSON: `details_s`, for how many seconds from now devices are asked for
    more than their number, and `npu`, whether torch_npu is asked.
    """
    # torch alone first: what is wrong with it, and what with torch_npu, are two findings.
    os.environ["TORCH_DEVICE_BACKEND_AUTOLOAD"] = "0"
    asked = json.loads(sys.argv[2])
    details_s = asked["details_s"]
    details_until_s = time.monotonic() + details_s if details_s else 0
    for look in (look_at_torch, look_at_npu) if asked["npu"] else (look_at_torch,):
        for finding in look(details_until_s):
            print(f"\n{json.dumps(finding)}", flush=True)
    print('\n{"step": "closing the devices"}', flush=True)


def look_at_torch(details_until_s: float = 0) -> Iterator[Finding]:
    """Version of torch, and its CUDA devices.

    Args:
        details_until_s: `time.monotonic()` until which devices are also asked for name and
            memory, which initialises them and can take a second each; the rest go without.

    Yields:
        Fields of `Probe`.
    """
    yield {"asks": "torch", "step": "importing torch"}
    try:
        import torch
    except Exception as error:  # whatever a broken installation raises is the finding
        yield {"torch_error": str(error) or type(error).__name__}
        return
    has_cuda = bool(torch.version.cuda or getattr(torch.version, "hip", None))
    yield {"torch_version": str(torch.__version__), "torch_has_cuda": has_cuda}
    yield {"asks": "cuda", "step": "asking for GPUs"}
    num_cuda = torch.cuda.device_count() if torch.cuda.is_available() else 0
    yield {"num_cuda": num_cuda}
    yield from _devices("cuda", torch.cuda, num_cuda, details_until_s)


def look_at_npu(details_until_s: float = 0) -> Iterator[Finding]:
    """NPUs that torch_npu can use, or its own words on why it cannot.

    A device must be there: with CANN and no device torch still calls npu its accelerator.

    Args:
        details_until_s: As in `look_at_torch`.

    Yields:
        Fields of `Probe`.
    """
    yield {"asks": "torch_npu", "step": "importing torch_npu"}
    try:
        import torch
        import torch_npu

        yield {"torch_npu_version": str(getattr(torch_npu, "__version__", ""))}
        yield {"asks": "npu", "step": "asking for NPUs"}
        num_npu = torch.npu.device_count() if torch.npu.is_available() else 0
        yield {"num_npu": num_npu}
        if details_until_s:
            with suppress(Exception):  # a version that is not found is shown so
                yield {"cann": str(torch_npu.npu.utils.get_cann_version() or "")}
            yield from _devices("npu", torch.npu, num_npu, details_until_s)
    except Exception as error:  # torch_npu's own checks raise plain Exception
        yield {"npu_error": str(error) or type(error).__name__}


def _devices(kind: str, module: Any, num: int, details_until_s: float) -> Iterator[Finding]:
    for index in range(num):
        if time.monotonic() > details_until_s:
            return
        name = f"{kind}:{index}"
        yield {"asks": kind, "step": f"asking {name} for its memory"}
        try:
            free, total = module.mem_get_info(index)
            told = {"name": str(module.get_device_name(index)), "error": ""}
        except Exception as error:  # one that is full or broken hides no other
            free, total = 0, 0
            told = {"name": "", "error": str(error) or type(error).__name__}
        memory = {"total_bytes": int(total), "free_bytes": int(free)}
        yield {"devices": [{"torch_name": name, **memory, **told}]}
