"""What modeltest makes of the torch_npu and CANN that it finds here, as JSON.

Prints facts of npu:1 and what memory, events, errors and copies did on it.
"""

import json
import time
from typing import Any

import torch

from modeltest.devices.factory import choose, make_device
from modeltest.protocols import Device

MEBIBYTE = 2**20


def look_at_memory(device: Device) -> dict[str, Any]:
    """Free and peak bytes before, with and after a block of 64 MiB."""
    device.reset_peak_memory()
    before = device.available_memory_bytes()
    block = torch.empty(64 * MEBIBYTE, dtype=torch.uint8, device=device.torch_name)
    with_block, peak = device.available_memory_bytes(), device.peak_memory_bytes()
    del block
    device.free_memory()
    after = device.available_memory_bytes()
    device.reset_peak_memory()
    return {
        "total": device.total_memory_bytes(),
        "free": [before, with_block, after],
        "peak": [peak, device.peak_memory_bytes()],
    }


def look_at_events(device: Device) -> float:
    """Seconds between two events around 50 ms of sleep."""
    first = device.mark()
    time.sleep(0.05)
    second = device.mark()
    device.synchronize()
    return device.seconds_between(first, second)


def look_at_errors(device: Device) -> dict[str, Any]:
    """What asking for too much memory, and for a device that is not there, raises."""
    raised = {}
    for name, place in (("memory", device.torch_name), ("place", "npu:7")):
        try:
            torch.empty(2**40, dtype=torch.uint8, device=place)
        except Exception as error:  # which one it is, is the question
            raised[name] = [type(error).__name__, device.is_out_of_memory(error)]
    return raised


def main() -> None:
    """Prints everything as one JSON object in the last line."""
    choice = choose("auto")
    device = make_device(choice, 1)
    found = {
        "choice": {"kind": choice.kind, "reason": choice.reason},
        "facts": {"kind": device.kind, **device.facts()},
        "memory": look_at_memory(device),
        "event_s": look_at_events(device),
        "raised": look_at_errors(device),
        "copied": torch.arange(6).to(device.torch_name).cpu().tolist(),
        "alive": device.is_alive(),
        "current": torch.npu.current_device(),
        "names": sorted(dir(torch.npu)),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
