"""`modeltest check --npu-selfcheck`: the first things to know of an NPU that nobody has tried.

Each check compares with something that is known: the CPU's result, another attention, a clock.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from modeltest.cli.findings import Finding
from modeltest.errors import ModeltestError

if TYPE_CHECKING:
    from modeltest.devices.factory import Choice
    from modeltest.protocols import Device
    from modeltest.records import Request, Response

_MIB = 2**20
_SIDE = 512
# bf16 keeps 8 significant bits, so rounding a result costs up to 2^-9 of it; twice that twice
# over allows for another order of adding in float32.
_BF16_TOLERANCE = 2.0**-7
# The embedded model's logits in float32, where padding and batching change sums only.
_LOGIT_TOLERANCE = 1e-2
_CLIP_SECONDS = (0.7, 2.0, 1.2)
_RATE_HZ = 16_000
_OPTIONS = ("A", "B", "C", "D", "E", "F")

# What torch, torch_npu (which asserts) and modeltest raise where a device does not do its part.
_FAILURES = (
    RuntimeError, ValueError, ImportError, AttributeError, AssertionError, ModeltestError,
)  # fmt: skip

_TryAttention = Callable[[str, Sequence["Request"]], list["Response"]]


def self_check() -> Iterator[Finding]:
    """Tries the first visible NPU, in about a minute.

    Raises:
        DeviceError: There is none.
    """
    from modeltest.devices.factory import choose, make_device

    choice = choose("npu")
    yield from check_device(make_device(choice), choice)


def check_device(device: Device, choice: Choice) -> Iterator[Finding]:
    """Tries one device; a check that fails does not keep the others from being made."""
    checks: tuple[tuple[str, Callable[[], Finding]], ...] = (
        ("device", lambda: _detected(device, choice)),
        ("matmul", lambda: _matmul(device)),
        ("attention", lambda: _attention(_on(device))),
        ("out of memory", lambda: _out_of_memory(device)),
        ("peak memory", lambda: _peak_memory(device)),
        ("events", lambda: _events(device)),
        ("health", lambda: _health(device)),
    )
    for what, check in checks:
        try:
            yield check()
        except _FAILURES as error:
            lines = str(error).splitlines() or [""]
            yield Finding(what, "bad", f"{type(error).__name__}: {lines[0]}")


def _detected(device: Device, choice: Choice) -> Finding:
    facts = device.facts()
    versions = ", ".join(f"{key} {facts.get(key)}" for key in ("torch_npu", "cann", "driver"))
    detail = (
        f"{device.torch_name} {facts['name']}, {choice.num_devices} visible, "
        f"{device.total_memory_bytes() / 1e9:.1f} GB, {versions}"
    )
    if facts["simulated"]:
        advice = "simulated: says nothing about a real NPU"
        return Finding("device", "warning", detail, advice)
    return Finding("device", "ok", detail)


def _matmul(device: Device) -> Finding:
    import torch

    torch.manual_seed(0)
    left, right = (torch.randn(_SIDE, _SIDE).to(torch.bfloat16) for _ in range(2))
    expected = left.float() @ right.float()
    found = (left.to(device.torch_name) @ right.to(device.torch_name)).cpu().float()
    error = float((found - expected).abs().max() / expected.abs().max())
    detail = f"bf16 {_SIDE}x{_SIDE} against the CPU's float32: off by {error:.1e} of the largest"
    return _judged("matmul", error <= _BF16_TOLERANCE, detail, f"more than {_BF16_TOLERANCE:.1e}")


def _attention(attempt: _TryAttention) -> Finding:
    """Clips of unlike lengths, so that the batch is padded on the left.

    On NPUs sdpa takes another form of mask than elsewhere, and mistakes with it show as replies
    that change with the padding.
    """
    requests = _requests()
    alone = [response for request in requests for response in attempt("eager", [request])]
    padded = {name: attempt(name, requests) for name in ("eager", "sdpa")}
    gaps = {name: _largest_gap(alone, replies) for name, replies in padded.items()}
    same = all(
        [reply.output_ids for reply in replies] == [reply.output_ids for reply in alone]
        for replies in padded.values()
    )
    detail = (
        f"left-padded batch of {len(requests)} against one at a time, eager: logits off by "
        f"{gaps['eager']:.1e} (eager), {gaps['sdpa']:.1e} (sdpa), replies "
        f"{'equal' if same else 'differ'}"
    )
    good = same and all(gap <= _LOGIT_TOLERANCE for gap in gaps.values())
    return _judged("attention", good, detail, "try --attention eager and --bs 1")


def _on(device: Device) -> _TryAttention:
    """Asks the embedded model on a device, in float32; each attention is loaded once."""
    from modeltest.backends.factory import check_model, make_backend
    from modeltest.protocols import Backend
    from modeltest.settings.load import load_model

    loaded: dict[str, Backend] = {}

    def attempt(attention: str, requests: Sequence[Request]) -> list[Response]:
        if attention not in loaded:
            overrides = [f"attention={attention}", "data_type=fp32"]
            model = load_model("qwen2_audio_tiny", overrides)
            check_model(model.settings, model.where("model_path"))
            loaded[attention] = make_backend(model.settings, 0, device)
            loaded[attention].load()
        return loaded[attention].generate(requests)

    return attempt


def _requests() -> list[Request]:
    import numpy as np

    from modeltest.records import Audio, Generation, Request
    from modeltest.settings.load import load_task
    from modeltest.tasks.factory import make_task

    task = load_task("vocalsound_mini")
    prompt = make_task(task.name, task.settings).prompt()
    noise = np.random.default_rng(0)
    clips = [
        Audio(
            noise.normal(0, 0.1, int(seconds * _RATE_HZ)).astype(np.float32), _RATE_HZ, "", seconds
        )
        for seconds in _CLIP_SECONDS
    ]
    generation = Generation(max_new_tokens=8, options=_OPTIONS)
    return [Request(str(n), (clip,), prompt, generation) for n, clip in enumerate(clips)]


def _largest_gap(first: Sequence[Response], second: Sequence[Response]) -> float:
    """Largest difference of two runs' logits of the options; infinite where a reply failed."""
    gaps = [
        abs(a - b)
        for one, other in zip(first, second, strict=True)
        for a, b in zip(one.option_logits, other.option_logits, strict=False)
    ]
    whole = len(gaps) == len(first) * len(_OPTIONS) and all(map(math.isfinite, gaps))
    return max(gaps) if whole else math.inf


def _out_of_memory(device: Device) -> Finding:
    import torch

    wanted = 2 * device.total_memory_bytes()
    try:
        torch.empty(wanted, dtype=torch.uint8, device=device.torch_name)
    except RuntimeError as error:
        recognised = device.is_out_of_memory(error)
        device.free_memory()
        alive = device.is_alive()
        detail = (
            f"{wanted / 1e9:.0f} GB refused with {type(error).__name__}, "
            f"{'recognised' if recognised else 'not recognised'}; the device "
            f"{'still computes' if alive else 'computes no more'}"
        )
        return _judged("out of memory", recognised and alive, detail, "runs cannot recover")
    return Finding("out of memory", "bad", f"{wanted / 1e9:.0f} GB were given: twice what there is")


def _peak_memory(device: Device) -> Finding:
    import torch

    device.free_memory()
    device.reset_peak_memory()
    before = device.peak_memory_bytes()
    block = torch.empty(64 * _MIB, dtype=torch.uint8, device=device.torch_name)
    grown = device.peak_memory_bytes() - before
    del block
    after = device.peak_memory_bytes() - before
    good = 64 * _MIB <= grown <= 128 * _MIB and after == grown
    detail = f"64 MiB taken, the peak grew by {grown / _MIB:.1f} MiB and stayed"
    return _judged("peak memory", good, detail, "peak_memory_bytes of reports would be wrong")


def _events(device: Device) -> Finding:
    import torch

    matrix = torch.ones(_SIDE, _SIDE, device=device.torch_name)
    matrix @ matrix  # the first product compiles or loads what it needs
    device.synchronize()
    start_s = time.perf_counter()
    first = device.mark()
    for _ in range(20):
        matrix @ matrix
    second = device.mark()
    device.synchronize()
    wall_s = time.perf_counter() - start_s
    between_s = device.seconds_between(first, second)
    detail = f"20 products took {between_s * 1e3:.2f} ms by events, {wall_s * 1e3:.2f} ms by clock"
    good = 0 < between_s <= wall_s * 1.05
    return _judged("events", good, detail, "stage times of modeltest perf would be wrong")


def _health(device: Device) -> Finding:
    from modeltest.reports.performance.device_health import unhealthy

    health: dict[str, Any] = dict(device.health())
    if "unknown" in health:
        return Finding("health", "warning", health["unknown"], "health is left out of manifests")
    told = ", ".join(f"{key} {value}" for key, value in health.items())
    manifest = {"device": {"kind": "npu", **device.facts()}}
    if faults := unhealthy(manifest, [{"when": "before", "health": health}]):
        return Finding("health", "bad", f"{told}; {'; '.join(faults)}", "see npu-smi info")
    return Finding("health", "ok", told)


def _judged(what: str, good: bool, detail: str, advice: str) -> Finding:
    return Finding(what, "ok", detail) if good else Finding(what, "bad", detail, advice)
