"""A finished sweep written down by hand: batch sizes 1, 2 and 4, five passes of four rounds.

A batch of size b takes 0.1 + 0.02 b seconds in fixed mode (8 tokens), a fifth less in natural
mode (5 tokens). Every number of a test follows from that.
"""

from collections.abc import Callable
from typing import Any

import pytest

from modeltest.runlog.manifest import write_manifest
from modeltest.runlog.segment import SegmentWriter
from modeltest.runlog.sweep_log import SweepContent, read_sweep

RUN_ID = "174503-0a1b2c"
BATCH_SIZES = (1, 2, 4)
PASSES = 5
ROUNDS = 4
TOKENS = 8


def batch_s(batch_size: int, mode: str) -> float:
    return (0.1 + 0.02 * batch_size) * (1.0 if mode == "fixed" else 0.8)


def jitter(pass_number: int, number: int) -> float:
    """One of twenty factors within 0.4 %, each once per point."""
    return 1 + 0.0002 * ((7 * (pass_number * ROUNDS + number)) % 20 - 9.5)


def batch(batch_size: int, mode: str, seconds: float) -> dict[str, Any]:
    tokens = TOKENS if mode == "fixed" else 5
    return {
        "e2e_s": seconds,
        "feature_s": 0.05 * seconds,
        "encoder_s": 0.10 * seconds,
        "prefill_s": 0.15 * seconds,
        "ttft_s": 0.30 * seconds,
        "step_s": [0.68 * seconds / (tokens - 1)] * (tokens - 1),
        "detokenize_s": 0.01 * seconds,
        "audio_s": 2.5 * batch_size,
        "input_tokens": [100] * batch_size,
        "output_tokens": [tokens] * batch_size,
        "audio_tokens": 63 * batch_size,
        "outputs_sha256": f"{mode}{batch_size}",
        "errors": [],
    }


def timed_round(batch_size: int, mode: str, pass_number: int, number: int) -> dict[str, Any]:
    seconds = batch_s(batch_size, mode) * jitter(pass_number, number)
    start_s = 1000 * pass_number + 100 * batch_size + number * 0.5 + (mode == "natural") * 50
    return {
        "type": "round", "batch_size": batch_size, "mode": mode, "pass": pass_number,
        "kind": "copies", "number": number, "start_s": start_s, "end_s": start_s + seconds,
        "suspended_s": 0.0, "other_load": 0.02, "peak_memory_bytes": 2**30 * batch_size,
        "batches": [batch(batch_size, mode, seconds)],
    }  # fmt: skip


def block(batch_size: int, mode: str, pass_number: int) -> list[dict[str, Any]]:
    key = {"batch_size": batch_size, "mode": mode, "pass": pass_number}
    rounds = [timed_round(batch_size, mode, pass_number, number) for number in range(ROUNDS)]
    if mode == "fixed":
        distinct = timed_round(batch_size, mode, pass_number, ROUNDS)
        rounds.append({**distinct, "kind": "distinct"})
    items = [[f"clip.flac#{row}", f"reply {mode}"] for row in range(batch_size)]
    outputs = {"type": "outputs", **key, "items": items, "correct": None, "total": batch_size}
    return [*rounds, outputs, {"type": "block", **key, "seconds": 1.0, "warm_up_rounds": 1}]


def records(modes=("fixed", "natural")) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [
        {"type": "phase", "name": "load", "seconds": 2.0},
        {
            "type": "peaks", "bandwidth_bytes_per_s": 20e9, "flops_per_s": 1e12,
            "source": "measured: copy of 256 MiB, matmul n=2048, bf16",
        },
    ]  # fmt: skip
    for mode in modes:
        for size in BATCH_SIZES:
            # Decode at 60 % of 20 GB/s: 0.6 * 20e9 * 0.68 * batch_s bytes.
            seconds = batch_s(size, mode)
            stages = {
                "encoder": work(0.3e12 * 0.10 * seconds, 1.25, 1e8),
                "prefill": work(0.5e12 * 0.15 * seconds, 1.0, 2e8),
                "decode": work(0.001e12 * size, 1.0, 12e9 * 0.68 * seconds),
            }
            found.append({"type": "work", "batch_size": size, "mode": mode, "stages": stages})
    for number in range(PASSES):
        for mode in modes:
            for size in BATCH_SIZES:
                found += block(size, mode, number)
    return found


def work(useful_flops: float, executed: float, num_bytes: float) -> dict[str, float]:
    return {
        "useful_flops": useful_flops,
        "executed_flops": executed * useful_flops,
        "num_bytes": num_bytes,
    }


def manifest() -> dict[str, Any]:
    return {
        "schema_version": 1,
        "command": "perf",
        "place": {"date": "2025-03-09", "run_id": RUN_ID, "model": "m"},
        "model": {"name": "m", "overrides": [], "settings": {}},
        "task": None,
        "identity": {"backend": {"name": "t", "model": {"sha256": "1"}, "dtype": "bf16"}},
        "identity_sha256": "x",
        "prompt": {"format": "raw", "rendered": "<|AUDIO|>What sound?", "sha256": "p"},
        "clips": [{"name": "clip.flac", "sha256": "c", "duration_s": 2.5}],
        "sweep": {
            "batch_sizes": list(BATCH_SIZES), "modes": ["fixed", "natural"],
            "max_new_tokens": TOKENS, "num_passes": PASSES, "min_repeats": 5,
            "min_seconds": 1.0, "isolate": False, "seed": 0, "clip_source": "task median",
        },
        "certified": False,
        "data": {"sha256": "d", "num_samples": 1, "num_available": 60, "warnings": []},
        "device": {"kind": "cpu", "name": "EPYC"},
        "dtype": "bf16",
        "engine": "fast",
        "attention": "sdpa",
        "seed": 0,
        "started": "2025-03-09T17:45:03+08:00",
        "packages": {"torch": "2.6.0"},
        "tool": {"version": "0.1.0", "commit": None, "dirty": None},
        "environment": {},
    }  # fmt: skip


Change = Callable[[dict[str, Any], list[dict[str, Any]]], None]


@pytest.fixture
def make_sweep(tmp_path) -> Callable[..., SweepContent]:
    """The sweep as read from the disk, after `change(manifest, records)`."""

    def make(change: Change = lambda _manifest, _records: None, output="out") -> SweepContent:
        facts, logged = manifest(), records()
        change(facts, logged)
        parts = (facts["place"]["date"], "modeltest", "m", "performance_result", RUN_ID)
        # Two of one name would share a log.
        made = len([*tmp_path.glob(f"{output}*")])
        folder = tmp_path.joinpath(f"{output}{made or ''}", *parts)
        write_manifest(folder, facts)
        with SegmentWriter(folder / "log" / "host-0-1.jsonl") as segment:
            for record in logged:
                segment.append(record)
        return read_sweep(folder)

    return make


@pytest.fixture
def sweep(make_sweep) -> SweepContent:
    return make_sweep()


def rounds_of(logged, batch_size, mode="fixed", kind="copies") -> list[dict[str, Any]]:
    """The rounds of a point, to be changed in place."""
    key = ("round", batch_size, mode, kind)
    return [
        r for r in logged if (r["type"], r.get("batch_size"), r.get("mode"), r.get("kind")) == key
    ]


@pytest.fixture(name="rounds_of")
def _rounds_of():
    return rounds_of
