"""A sweep on a backend whose times and failures are scripted, read back from its log."""

import gc
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from modeltest.devices.cpu import CpuDevice
from modeltest.devices.peaks import Peaks
from modeltest.errors import DeviceError, ModelError, ModeltestError
from modeltest.records import (
    Audio,
    Prompt,
    Request,
    Response,
    Score,
    StageTimes,
    StageWork,
    Timing,
)
from modeltest.runlog.manifest import write_manifest
from modeltest.runlog.run_log import open_segment
from modeltest.runlog.sweep_log import SweepContent, read_sweep
from modeltest.runner.blocks import FIRST_WARM_UPS, BlockMeasurer, Sweep
from modeltest.runner.load_watch import LoadWatch
from modeltest.runner.material import Clip, Material
from modeltest.runner.sweep import missing_blocks, run_blocks, what_is_logged
from modeltest.runner.sweep_plan import Block, Point, SweepSettings

E2E_S = 0.25
STAGES = StageTimes(0.01, 0.02, 0.03, 0.06, (0.1, 0.09), 0.001)


class TimedBackend:
    """Says that every batch took `E2E_S`, or raises what `fails` says of it."""

    name = "null"  # so that the machine's own limits are not measured
    sampling_rate_hz = 16_000
    max_audio_s = 30.0

    def __init__(self, fails: Callable[[Sequence[Request]], Exception | None] | None = None):
        self.fails = fails or (lambda requests: None)
        self.calls: list[tuple[Request, ...]] = []
        self.collecting: list[bool] = []
        self.errors: dict[str, str] = {}
        self.attention = "sdpa"
        self.num_loads = 0

    def load(self) -> None:
        self.num_loads += 1

    def facts(self) -> Mapping[str, Any]:
        return {"attention": self.attention}

    def generate(
        self, requests: Sequence[Request], prepared: Any = None, on_text: Any = None
    ) -> list[Response]:
        self.calls.append(tuple(requests))
        self.collecting.append(gc.isenabled())
        failure = self.fails(requests)
        if failure is not None:
            raise failure
        timing = Timing(E2E_S, STAGES)
        return [
            Response(
                request.sample_id, "C", "in", len(request.audio[0].waveform), 3, "length", timing,
                self.errors.get(request.sample_id, ""), (7, len(requests), 9),
            )
            for request in requests
        ]  # fmt: skip

    def work(self, requests: Sequence[Request], output_tokens: int) -> Mapping[str, StageWork]:
        return {"decode": StageWork(1.0 * len(requests), 2.0, 3.0 * output_tokens)}

    @property
    def sizes(self) -> list[int]:
        return [len(call) for call in self.calls]


class WatchedDevice(CpuDevice):
    """Counts what a failure asks of it; no real memory is touched."""

    def __init__(self, alive: bool = True) -> None:
        self.num_freed = 0
        self.alive = alive

    def free_memory(self) -> None:
        self.num_freed += 1

    def is_alive(self) -> bool:
        return self.alive

    def reset_peak_memory(self) -> None: ...


class Truths:
    """A task to which every reply says `cough`."""

    def score(self, sample, response) -> Score:
        return Score("cough", sample.truth == "cough", None, False)


def settings(**changes: Any) -> SweepSettings:
    made = SweepSettings((1, 2, 4, 8), ("fixed", "natural"), 3, 3, 5, 1.0, False, 0, "audio")
    return replace(made, **changes)


def clip(name: str, num_samples: int, truth: str = "") -> Clip:
    waveform = np.random.default_rng(num_samples).uniform(-1, 1, num_samples).astype(np.float32)
    return Clip(name, Audio(waveform, 16_000, f"sha of {name}", num_samples / 16_000), truth)


def material(*clips: Clip, task: Any = None) -> Material:
    return Material(clips or (clip("cough", 1600),), Prompt("{audio}?", "raw"), 3, 0, task)


def out_of_memory_at(size: int) -> Callable[[Sequence[Request]], Exception | None]:
    return lambda requests: MemoryError() if len(requests) >= size else None


@pytest.fixture(scope="module", autouse=True)
def _little_to_collect():
    """Collecting before each of hundreds of blocks takes long where all tests' modules are."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture
def measure(tmp_path, progress, perf_manifest) -> Callable[..., SweepContent]:
    """Measures what the log lacks, and reads the run back."""

    def run(
        backend: TimedBackend,
        plan: SweepSettings,
        asked: Material | None = None,
        device: CpuDevice | None = None,
    ) -> SweepContent:
        if not (tmp_path / "manifest.json").exists():
            write_manifest(tmp_path, {**perf_manifest, "sweep": plan.record()})
        logged = what_is_logged(read_sweep(tmp_path))
        sweep = Sweep(plan, asked or material(), "fp32", "sdpa")
        with open_segment(tmp_path) as segment:
            measurer = BlockMeasurer(sweep, backend, device or WatchedDevice(), segment)
            measurer.load()
            run_blocks(plan, logged, measurer, segment, progress)
        return read_sweep(tmp_path)

    return run


def rounds_of(content: SweepContent, kind: str) -> Counter:
    return Counter((r["batch_size"], r["mode"]) for r in content.rounds if r["kind"] == kind)


def test_every_pass_visits_every_point_in_an_order_of_its_own_by_the_seed():
    plan = settings(num_passes=5)
    passes = [[b.point for b in plan.blocks() if b.pass_number == n] for n in range(5)]
    assert all(set(order) == set(plan.points) and len(order) == 8 for order in passes)
    assert len({tuple(order) for order in passes}) > 1
    assert list(plan.blocks()) == list(settings(num_passes=5).blocks())
    assert list(plan.blocks()) != list(settings(num_passes=5, seed=1).blocks())


def test_warm_ups_have_the_blocks_own_shape_and_are_not_recorded(measure):
    backend = TimedBackend()
    plan = settings(batch_sizes=(2,), modes=("natural",), min_seconds=0.1)
    content = measure(backend, plan)
    # Two rounds in each of three blocks; warmed up twice at first, then once.
    assert FIRST_WARM_UPS == 2
    assert backend.sizes == [2] * (6 + 2 + 1 + 1)
    assert len(content.rounds) == 6
    assert content.blocks == {(2, "natural", 0), (2, "natural", 1), (2, "natural", 2)}


@pytest.mark.parametrize(
    ("repeats", "seconds", "per_block"), [(5, 0.1, 2), (7, 0.1, 3), (5, 6.0, 8), (1, 0.1, 1)]
)
def test_repeats_and_seconds_are_both_reached(measure, repeats, seconds, per_block):
    plan = settings(batch_sizes=(1,), modes=("natural",), min_repeats=repeats, min_seconds=seconds)
    content = measure(TimedBackend(), plan)
    assert Counter(record["pass"] for record in content.rounds) == dict.fromkeys(
        range(3), per_block
    )


def test_out_of_memory_at_eight_leaves_the_smaller_points(measure):
    backend, device = TimedBackend(out_of_memory_at(8)), WatchedDevice()
    plan = settings(batch_sizes=(1, 2, 4, 8, 16))
    content = measure(backend, plan, device=device)
    reasons = {(f["batch_size"], f["mode"]): f["reason"] for f in content.failures}
    assert reasons.keys() == {(8, "fixed"), (16, "fixed"), (8, "natural"), (16, "natural")}
    tried = {
        (size, call[0].generation.ignore_eos)
        for size, call in zip(backend.sizes, backend.calls, strict=True)
    }
    for mode, ignored in (("fixed", True), ("natural", False)):
        assert reasons[8, mode] == "out of memory"
        assert ((16, ignored) in tried) == (reasons[16, mode] == "out of memory")
        assert reasons[16, mode] in {"out of memory", "out of memory at batch size 8"}
    assert len(content.blocks) == 3 * 2 * 3
    assert device.num_freed > len(content.blocks)
    assert backend.sizes.count(8) <= 2


def test_larger_batches_are_not_tried_when_a_smaller_one_had_no_room(measure):
    plan = settings(batch_sizes=(2, 16), modes=("natural",), num_passes=3, seed=0)
    seeds = (
        seed for seed in range(9) if next(replace(plan, seed=seed).blocks()).point.batch_size == 2
    )
    backend = TimedBackend(out_of_memory_at(2))
    content = measure(backend, replace(plan, seed=next(seeds)))
    assert backend.sizes == [2]
    assert [f["reason"] for f in content.failures] == [
        "out of memory", "out of memory at batch size 2",
    ]  # fmt: skip


def test_another_failure_costs_its_own_point_only(measure):
    broken = TimedBackend(lambda requests: ValueError("odd") if len(requests) == 2 else None)
    content = measure(broken, settings(modes=("natural",)))
    assert [(f["batch_size"], f["reason"]) for f in content.failures] == [(2, "ValueError: odd")]
    assert {block[0] for block in content.blocks} == {1, 4, 8}


def test_what_concerns_the_whole_run_ends_it(measure):
    with pytest.raises(ModelError):
        measure(TimedBackend(lambda requests: ModelError("no audio")), settings())
    with pytest.raises(DeviceError, match="does not answer"):
        measure(TimedBackend(out_of_memory_at(1)), settings(), device=WatchedDevice(alive=False))


def test_replies_to_other_requests_are_refused(measure):
    backend = TimedBackend()
    backend.generate = lambda requests, prepared=None: [Response("another", "C")]
    with pytest.raises(ModeltestError, match="another"):
        measure(backend, settings(batch_sizes=(1,)))


def test_a_resumed_sweep_measures_exactly_the_missing_blocks(measure, tmp_path):
    plan = settings(batch_sizes=(1, 2), modes=("natural",), min_seconds=0.1)
    measure(TimedBackend(), plan)
    [segment] = (tmp_path / "log").glob("*.jsonl")
    lines = segment.read_bytes().splitlines(keepends=True)
    ends = [i for i, line in enumerate(lines) if b'"type":"block"' in line]
    # Killed within the fourth block: one round of it is there, and half of a second one.
    segment.write_bytes(b"".join(lines[: ends[2] + 2]) + lines[ends[2] + 2][:40])
    logged = what_is_logged(read_sweep(tmp_path))
    left = missing_blocks(plan, logged)
    assert left == list(plan.blocks())[3:]
    backend = TimedBackend()
    content = measure(backend, plan)
    assert len(content.blocks) == 6
    assert Counter((r["batch_size"], r["pass"]) for r in content.rounds) == {
        (block.point.batch_size, block.pass_number): 2 for block in plan.blocks()
    }
    assert Counter(backend.sizes) == _calls(left)
    assert missing_blocks(plan, what_is_logged(content)) == []


def _calls(blocks: list[Block]) -> dict[int, int]:
    """Two rounds each, two warm-ups at first and one later."""
    sizes = Counter(block.point.batch_size for block in blocks)
    return {size: 3 * count + 1 for size, count in sizes.items()}


def test_a_clock_that_was_set_back_before_resuming_changes_nothing(measure, tmp_path, monkeypatch):
    day_s, now_s, now_ns = 86_400, time.time, time.time_ns
    plan = settings(batch_sizes=(1, 2), modes=("natural",), min_seconds=0.1)
    measure(TimedBackend(), plan)
    [segment] = (tmp_path / "log").glob("*.jsonl")
    lines = segment.read_bytes().splitlines(keepends=True)
    ends = [i for i, line in enumerate(lines) if b'"type":"block"' in line]
    segment.write_bytes(b"".join(lines[: ends[2] + 2]))
    monkeypatch.setattr(time, "time", lambda: now_s() - day_s)
    monkeypatch.setattr(time, "time_ns", lambda: now_ns() - day_s * 10**9)
    content = measure(TimedBackend(), plan)
    names = sorted(path.name for path in (tmp_path / "log").iterdir())
    assert names[1] == segment.name, "the later process has the earlier name"
    assert (len(content.blocks), content.problems) == (6, ())
    assert [r["pass"] for r in content.rounds] == sorted(r["pass"] for r in content.rounds)
    starts = [r["start_s"] for r in content.rounds]
    assert starts == sorted(starts), "not in the order of measuring"
    assert all(0 <= r["end_s"] - r["start_s"] < 60 for r in content.rounds)
    assert all(0 <= phase["seconds"] < 60 for phase in content.phases)


def test_failed_points_are_not_tried_again(measure):
    plan = settings(batch_sizes=(1, 8), modes=("natural",))
    measure(TimedBackend(out_of_memory_at(8)), plan)
    backend = TimedBackend()
    content = measure(backend, plan)
    assert backend.calls == []
    assert len(content.failures) == 1


@pytest.mark.parametrize("fails", [None, out_of_memory_at(2)])
def test_no_garbage_is_collected_while_something_is_timed(measure, fails):
    gc.unfreeze()
    assert gc.isenabled()
    backend = TimedBackend(fails)
    measure(backend, settings(batch_sizes=(1, 2)))
    assert set(backend.collecting) == {False}
    assert gc.isenabled()
    assert gc.get_freeze_count() == 0
    gc.freeze()  # as the other tests want it


def test_distinct_rounds_hold_nothing_that_was_heard_before(measure):
    backend = TimedBackend()
    two = material(clip("short", 1600), clip("long", 3200))
    content = measure(backend, settings(batch_sizes=(1, 4), min_seconds=3.0), two)
    counts = rounds_of(content, "distinct")
    assert counts.keys() == {(1, "fixed"), (4, "fixed")}
    assert all(count >= 5 for count in counts.values())
    heard = [request.audio[0] for call in backend.calls for request in call]
    originals = {"sha of short", "sha of long"}
    varied = [audio for audio in heard if audio.sha256 not in originals]
    assert len(varied) == sum(size * count for (size, _), count in counts.items())
    assert len({audio.sha256 for audio in varied}) == len(varied)
    assert len({audio.waveform.tobytes() for audio in varied}) == len(varied)
    assert {len(audio.waveform) for audio in varied} == {1600, 3200}


def test_distinct_and_repeated_rounds_take_turns(measure):
    content = measure(TimedBackend(), settings(batch_sizes=(1,), modes=("fixed",)))
    by_pass = [[r["kind"] for r in content.rounds if r["pass"] == number] for number in range(3)]
    assert by_pass == [
        ["copies", "distinct", "copies", "distinct"],
        ["distinct", "copies", "distinct", "copies"],
        ["copies", "distinct", "copies", "distinct"],
    ]


def test_a_round_says_what_was_seen(measure):
    backend = TimedBackend()
    backend.errors["cough#1"] = "the logits are not finite"
    content = measure(backend, settings(batch_sizes=(2,), modes=("fixed",)))
    record = next(r for r in content.rounds if r["kind"] == "copies")
    [batch] = record["batches"]
    assert record["end_s"] >= record["start_s"]
    assert record["suspended_s"] == pytest.approx(0.0, abs=0.1)
    assert batch["e2e_s"] == E2E_S
    assert (batch["ttft_s"], batch["step_s"]) == (0.06, [0.1, 0.09])
    assert (batch["input_tokens"], batch["output_tokens"]) == ([1600, 1600], [3, 3])
    assert batch["audio_s"] == pytest.approx(0.2)
    assert batch["hash_of"] == "token ids"
    assert batch["errors"] == ["the logits are not finite"]
    outputs = content.outputs[0]
    assert [item for item, _ in outputs["items"]] == ["cough#0", "cough#1"]
    assert (outputs["correct"], outputs["total"]) == (None, 2)


def test_the_machines_limits_are_recorded_with_the_load_of_others(measure, monkeypatch):
    peaks = Peaks(1e9, 2e9, "measured: by hand")
    monkeypatch.setattr("modeltest.devices.peaks.measure_peaks", lambda _device, _dtype: peaks)
    monkeypatch.setattr(LoadWatch, "other_load", lambda _self: 0.25)
    backend = TimedBackend()
    backend.name = "scripted"
    content = measure(backend, settings(batch_sizes=(1,)))
    assert content.peaks["source"] == "measured: by hand"
    assert content.peaks["other_load"] == 0.25


def test_work_is_recorded_once_per_point(measure):
    content = measure(TimedBackend(), settings(batch_sizes=(1, 4), modes=("natural",)))
    works = {work["batch_size"]: work["stages"] for work in content.works}
    assert len(content.works) == 2
    assert works[4] == {"decode": {"useful_flops": 4.0, "executed_flops": 2.0, "num_bytes": 9.0}}


def test_a_task_is_asked_whole_in_orders_of_its_own(measure):
    backend = TimedBackend()
    clips = [clip(f"s{i}", 1600 + i, "cough" if i < 3 else "sigh") for i in range(7)]
    plan = settings(batch_sizes=(4,), clip_source="task")
    content = measure(backend, plan, material(*clips, task=Truths()))
    assert {record["kind"] for record in content.rounds} == {"task"}
    assert all(len(record["batches"]) == 2 for record in content.rounds)
    for record in content.outputs:
        assert [item for item, _ in record["items"]] == [f"s{i}" for i in range(7)]
        # Behind its end a fixed reply is no answer any more.
        assert record["correct"] == (None if record["mode"] == "fixed" else 3)
    whole = [call for call in backend.calls if len(call) == 3]
    orders = {tuple(request.sample_id for request in call) for call in whole}
    assert len(orders) > 1


def test_another_attention_than_asked_for_degrades_every_point_once(measure):
    backend = TimedBackend()
    backend.attention = "eager"
    content = measure(backend, settings(batch_sizes=(1, 2), modes=("fixed",)))
    assert {(d["batch_size"], d["reason"]) for d in content.degraded} == {
        (1, "attention eager instead of sdpa"), (2, "attention eager instead of sdpa"),
    }  # fmt: skip
    assert len(content.degraded) == 2


def test_a_point_in_words():
    assert str(Point(8, "fixed")) == "batch size 8, fixed"
