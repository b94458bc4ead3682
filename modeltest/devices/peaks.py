"""What a device can reach: bandwidth of a copy and speed of a matrix product, measured.

The data sheet's figures are seldom reached and not published for every device, so shares of
the peak are shares of what this machine did on the same day ("achievable roofline").
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from modeltest.protocols import Device

_DTYPES = {"bf16": "bfloat16", "fp16": "float16", "fp32": "float32"}
_MIB = 2**20
# Many times the last-level cache: 32 MiB for a few cores, 50 MB on an H100.
_CPU_BUFFER_BYTES = 256 * _MIB
_ACCELERATOR_BUFFER_BYTES = 1024 * _MIB
_SMALLEST_BUFFER_BYTES = 16 * _MIB
_FIRST_SIDE = 256
_LARGEST_SIDE = 8192
_SECONDS_PER_SIZE = 0.08
_CALLS_PER_SIZE = 300
# A larger product is tried while the time spent and its own expected time are below this.
_ENOUGH_S = 0.5
_SHORTEST_S = 1e-9  # a clock may stand still between two marks
# Calls queued at once, so that an accelerator does not wait for the host between them.
_QUEUED_CALLS = 3


@dataclass(frozen=True, slots=True)
class Peaks:
    """Highest rates of a device.

    Attributes:
        bandwidth_bytes_per_s: Bytes read and written by a copy, per second.
        flops_per_s: Floating-point operations of a matrix product, per second.
        source: How these were found, for the reader.
    """

    bandwidth_bytes_per_s: float
    flops_per_s: float
    source: str


def measure_peaks(device: Device, dtype_name: str) -> Peaks:
    """Measures both rates: the best of several repeats, after a warm-up.

    Takes about a second and up to 512 MiB on a CPU, 2 GiB on an accelerator; less where memory
    does not suffice. The device is drained around each repeat and its memory given back.

    Args:
        device: An idle device.
        dtype_name: Precision of the matrix product: `bf16`, `fp16` or `fp32`.
    """
    num_bytes, bandwidth = _copy_rate(device)
    side, flops_per_s = _product_rate(device, dtype_name)
    device.free_memory()
    return Peaks(
        bandwidth,
        flops_per_s,
        f"measured: copy of {num_bytes // _MIB} MiB, matmul {side}x{side} {dtype_name}",
    )


def _copy_rate(device: Device) -> tuple[int, float]:
    """Size of the buffer and bytes moved per second: each byte is read once, written once."""
    num_bytes = _CPU_BUFFER_BYTES if device.is_host else _ACCELERATOR_BUFFER_BYTES
    while True:
        try:
            return num_bytes, 2 * num_bytes / _copy_s(device, num_bytes)
        except (RuntimeError, MemoryError) as error:
            if not device.is_out_of_memory(error) or num_bytes <= _SMALLEST_BUFFER_BYTES:
                raise
        num_bytes //= 2
        device.free_memory()


def _product_rate(device: Device, dtype_name: str) -> tuple[int, float]:
    """Side of the matrices and operations per second, at the side where it is fastest.

    The side doubles while time allows, which ends slow processors early. Small sides count
    too: on a busy host a long product is never left alone by other processes.
    """
    best_side, best_rate = 0, 0.0
    side, started_s = _FIRST_SIDE, time.monotonic()
    while side <= _LARGEST_SIDE:
        try:
            seconds = _product_s(device, dtype_name, side)
        except (RuntimeError, MemoryError) as error:
            if not device.is_out_of_memory(error) or not best_side:
                raise
            break
        rate = 2 * side**3 / seconds
        if rate > best_rate:
            best_side, best_rate = side, rate
        spent_s = time.monotonic() - started_s
        if max(spent_s, 8 * seconds) > _ENOUGH_S:  # twice the side, eight times the work
            break
        side *= 2
    return best_side, best_rate


def _copy_s(device: Device, num_bytes: int) -> float:
    import torch

    source = torch.ones(num_bytes // 4, dtype=torch.float32, device=device.torch_name)
    target = torch.zeros_like(source)  # written to, so that its pages exist
    return _best_s(device, lambda: target.copy_(source))


def _product_s(device: Device, dtype_name: str, side: int) -> float:
    """Random matrices: with zeros a processor draws less power and may clock higher."""
    import torch

    dtype = getattr(torch, _DTYPES[dtype_name])
    left, right = torch.rand(2, side, side, device=device.torch_name).sub_(0.5).to(dtype)
    out = torch.empty_like(left)
    return _best_s(device, lambda: torch.mm(left, right, out=out))


def _best_s(device: Device, work: Callable[[], Any]) -> float:
    """Seconds of the fastest call, after a warm-up; slow calls are made once."""
    work()
    found: list[float] = []
    while sum(found) < _SECONDS_PER_SIZE and len(found) < _CALLS_PER_SIZE:
        device.synchronize()
        marks = [device.mark()]
        for _ in range(_QUEUED_CALLS if found else 1):
            work()
            marks.append(device.mark())
        device.synchronize()
        found += [device.seconds_between(*pair) for pair in itertools.pairwise(marks)]
    return max(min(found), _SHORTEST_S)
