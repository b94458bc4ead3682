"""A sweep of a service: so many requests in flight, each reply lets the next one go."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modeltest.backends.service.audio_part import wav_bytes
from modeltest.devices.service import ServiceDevice
from modeltest.errors import ModeltestError
from modeltest.protocols import Service
from modeltest.records import (
    Audio,
    Prompt,
    Request,
    Response,
    StageWork,
    StreamTimes,
    Timing,
)
from modeltest.runlog.manifest import write_manifest
from modeltest.runlog.run_log import open_segment
from modeltest.runlog.sweep_log import read_sweep
from modeltest.runner.blocks import BlockMeasurer, Sweep
from modeltest.runner.closed_loop import ClosedLoop, mark
from modeltest.runner.material import Clip, Material
from modeltest.runner.rounds import RoundTimer
from modeltest.runner.sweep import run_blocks, what_is_logged
from modeltest.runner.sweep_plan import Block, Point, SweepSettings

WALL_S = 0.01
NUM_REQUESTS = 10_000


class ServiceOfTests:
    """Replies at once, says that each reply took 0.3 s, and that the third request failed."""

    name = "openai"
    sampling_rate_hz = 16_000
    max_audio_s = 30.0
    can_ignore_eos = True
    is_on_this_host = True

    def __init__(self) -> None:
        self.rounds: list[tuple[int, list[Request]]] = []
        self.in_flight = 0
        self.prepare_s = 0.0
        self.num_drops = 0

    def drop_clips(self) -> None:
        self.num_drops += 1

    def limit_in_flight(self, num_requests: int) -> None:
        self.in_flight = num_requests

    def render(self, prompt: Prompt, num_clips: int) -> str:
        return prompt.text

    def num_input_tokens(self, request: Request) -> int:
        return 0

    def load(self) -> None: ...

    def prepare(self, requests: Sequence[Request]) -> list[str]:
        time.sleep(self.prepare_s)
        return [request.sample_id for request in requests]

    def generate(
        self, requests: Sequence[Request], prepared: Any = None, on_text: Any = None
    ) -> list[Response]:
        assert prepared == [request.sample_id for request in requests]
        self.rounds.append((self.in_flight, list(requests)))
        time.sleep(WALL_S)
        timing = Timing(0.3, stream=StreamTimes(0.1, (0.05, 0.15)))
        replies = [
            Response(r.sample_id, "C", input_tokens=9, output_tokens=3, timing=timing)
            for r in requests
        ]
        if len(replies) > 2:
            replies[2] = Response(requests[2].sample_id, "", error="status 503")
        return replies

    def identity(self, certified: bool) -> Mapping[str, Any]:
        return {}

    def facts(self) -> Mapping[str, Any]:
        return {}

    def work(self, requests: Sequence[Request], output_tokens: int) -> Mapping[str, StageWork]:
        return {}

    def close(self) -> None: ...


PLAN = SweepSettings((1, 4), ("natural",), 3, 3, 5, 0.01, False, 0, "audio", closed_loop=True)


def clip(name: str = "cough", num_samples: int = 4000) -> Clip:
    waveform = np.random.default_rng(0).uniform(-1, 1, num_samples).astype(np.float32)
    return Clip(name, Audio(waveform, 16_000, "sha", num_samples / 16_000))


def material(*clips: Clip) -> Material:
    return Material(clips or (clip(),), Prompt("?", "chat"), 3, 0)


@pytest.fixture
def service():
    return ServiceOfTests()


@pytest.fixture
def measure(service, tmp_path, progress, perf_manifest):
    """Measures what the log lacks, as a process of its own would, and reads the log."""

    def run(asked: Material, folder: Path = tmp_path):
        if not (folder / "manifest.json").exists():
            write_manifest(folder, {**perf_manifest, "sweep": PLAN.record()})
        with open_segment(folder) as segment:
            sweep = Sweep(PLAN, asked, "served", "served")
            measurer = BlockMeasurer(sweep, service, ServiceDevice(), segment)
            measurer.load()
            run_blocks(PLAN, what_is_logged(read_sweep(folder)), measurer, segment, progress)
        return read_sweep(folder)

    return run


@pytest.fixture
def content(measure):
    return measure(material())


def sent(service: ServiceOfTests) -> list[Request]:
    return [request for _, requests in service.rounds for request in requests]


def pcm16(requests: Sequence[Request]) -> list[bytes]:
    return [wav_bytes(r.audio[0].waveform, 16_000, "pcm16") for r in requests]


def test_a_backend_with_requests_in_flight_is_a_service(service):
    assert isinstance(service, Service)


def test_four_requests_for_each_in_flight_and_one_to_warm_up(service, content):
    assert {(in_flight, len(requests)) for in_flight, requests in service.rounds} == {
        (1, 1), (1, 4), (4, 4), (4, 16),
    }  # fmt: skip
    assert {len(record["batches"]) for record in content.rounds} == {4, 16}


def test_no_clip_is_sent_twice_warm_ups_included(service, content):
    asked = sent(service)
    assert len(asked) > 100
    assert len(set(pcm16(asked))) == len({r.audio[0].sha256 for r in asked}) == len(asked)
    assert len({request.sample_id for request in asked}) == len(asked)


@pytest.mark.parametrize("loudness", [0.0, 1.5], ids=["silent", "cut at full scale"])
def test_ten_thousand_requests_of_one_short_clip_all_differ(loudness):
    # 100 samples can be turned 100 ways only, and silence in one way.
    short = clip(num_samples=100)
    short.audio.waveform[:] *= loudness
    loop = ClosedLoop(material(short))
    requests: list[Request] = []
    while len(requests) < NUM_REQUESTS:
        requests += loop.next_round(Point(256, "natural"))
    assert len(set(pcm16(requests))) == len(requests)


def test_two_sweeps_with_one_seed_send_other_clips(service, measure, tmp_path):
    for name in ("first", "second"):
        measure(material(), tmp_path / name)
    asked = sent(service)
    assert len(set(pcm16(asked))) == len(asked)


@pytest.mark.parametrize("number", [0, 1, 0b1011, (1 << 96) - 1, 0xDEADBEEF_12345678_9ABCDEF0])
def test_a_number_is_in_the_lowest_bits_and_nobody_hears_it(number):
    before = np.linspace(-1.2, 1.2, 1000, dtype=np.float32)
    after = before.copy()
    mark(after, number)
    steps = np.frombuffer(wav_bytes(after, 16_000, "pcm16")[-2000:], "<i2").astype(int)
    places = [place * 1000 // 96 for place in range(96)]
    assert sum((int(steps[p]) & 1) << bit for bit, p in enumerate(places)) == number
    plain = np.frombuffer(wav_bytes(before, 16_000, "pcm16")[-2000:], "<i2").astype(int)
    assert np.abs(steps - plain).max() <= 1
    untouched = np.setdiff1d(np.arange(1000), places)
    assert (after[untouched] == before[untouched]).all()


def heard(requests: Sequence[Request]) -> list[str]:
    return [request.sample_id.partition("#")[0] for request in requests]


def test_all_points_hear_the_clips_in_one_order_that_goes_on_over_passes(service, measure):
    names = [f"clip{number}" for number in range(50)]
    measure(material(*map(clip, names)))
    orders = {}
    for in_flight in (1, 4):
        rounds = [r for lanes, r in service.rounds if lanes == in_flight]
        orders[in_flight] = heard([q for r in rounds if len(r) == 4 * in_flight for q in r])
    assert len(orders[1]) >= 3 * 4
    assert len(orders[4]) > 50
    shorter = min(len(orders[1]), 50)
    assert orders[1][:shorter] == orders[4][:shorter]
    assert sorted(orders[4][:50]) == sorted(names)
    assert orders[4][:50] != names
    assert orders[4][50:] == (orders[4][:50] * 20)[: len(orders[4]) - 50]


def test_a_resumed_sweep_goes_on_in_the_order_and_sends_other_clips(service, measure, monkeypatch):
    asked = material(*(clip(f"clip{number}") for number in range(1000)))
    with monkeypatch.context() as patch:
        generate, num_rounds = service.generate, []

        def breaks(requests, prepared=None, on_text=None):
            num_rounds.append(1)
            if len(num_rounds) > 12:
                raise ModeltestError("gone")
            return generate(requests, prepared, on_text)

        patch.setattr(service, "generate", breaks)
        with pytest.raises(ModeltestError, match="gone"):
            measure(asked)
    content = measure(asked)
    everything = sent(service)
    assert len(set(pcm16(everything))) == len(everything)
    counted = [r for record in content.rounds for r in record["batches"]]
    # The order as such, without what an interrupted block asked in vain.
    loop = ClosedLoop(asked)
    order = heard(loop.next_round(Point(250, "natural")))
    last = {1: 0, 4: 0}
    for record in content.rounds:
        last[record["batch_size"]] += len(record["batches"])
    assert len(counted) == sum(last.values())
    for in_flight, total in last.items():
        final = [r for lanes, r in service.rounds if lanes == in_flight][-1]
        assert heard(final) == order[total - 4 * in_flight : total]


def test_making_requests_is_no_part_of_a_round_and_is_written_down(service):
    service.prepare_s = 0.2

    def make() -> tuple[Request, ...]:
        time.sleep(0.1)
        return ClosedLoop(material()).next_round(Point(4, "natural"))

    done = RoundTimer(service, ServiceDevice()).take_closed_loop(service, make)
    assert 0.3 <= done.prepare_s < 3.0
    assert WALL_S <= done.wall_s < 0.2
    assert done.record(Block(Point(4, "natural"), 0), "requests", 0)["prepare_s"] == done.prepare_s


def test_clips_of_a_round_are_dropped_before_the_next_is_made(service, content):
    assert service.num_drops == len(service.rounds)


def test_a_round_lasts_from_the_first_request_to_the_last_reply(service):
    service.prepare_s = 1.0
    requests = ClosedLoop(material()).next_round(Point(4, "natural"))
    done = RoundTimer(service, ServiceDevice()).take_closed_loop(service, lambda: requests)
    assert WALL_S <= done.wall_s < service.prepare_s
    assert done.seconds == done.wall_s
    assert done.e2e_s[:5] == (0.3, 0.3, None, 0.3, 0.3)


def test_the_clients_share_is_recorded_and_a_service_beside_it_is_no_other_load(content):
    for record in content.rounds:
        assert 0 <= record["client_cpu"] < 1.5
        assert record["other_load"] is None


def test_each_request_has_its_own_times_and_failure(content):
    batches = content.rounds[0]["batches"]
    assert [batch["e2e_s"] for batch in batches] == [0.3, 0.3, None] + [0.3] * (len(batches) - 3)
    assert batches[0]["ttft_s"] == 0.1
    assert batches[0]["step_s"] == [0.05, 0.15]
    assert batches[0]["encoder_s"] is None
    assert batches[2]["errors"] == ["status 503"]


def test_nothing_is_claimed_about_replies_to_clips_that_differ(content):
    assert content.outputs == ()
    assert content.peaks is None
    assert content.works == ()
