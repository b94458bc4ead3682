"""A sweep of a service: so many requests in flight, each reply lets the next one go."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from modeltest.devices.service import ServiceDevice
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
from modeltest.runner.material import Clip, Material
from modeltest.runner.rounds import RoundTimer
from modeltest.runner.sweep import run_blocks, what_is_logged
from modeltest.runner.sweep_plan import Block, Point, SweepSettings

WALL_S = 0.01


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


def material() -> Material:
    waveform = np.random.default_rng(0).uniform(-1, 1, 4000).astype(np.float32)
    clips = (Clip("cough", Audio(waveform, 16_000, "sha", 0.25)),)
    return Material(clips, Prompt("?", "chat"), 3, 0)


@pytest.fixture
def service():
    return ServiceOfTests()


@pytest.fixture
def content(service, tmp_path, progress, perf_manifest):
    folder = tmp_path
    plan = SweepSettings((1, 4), ("natural",), 3, 3, 5, 0.01, False, 0, "audio", closed_loop=True)
    write_manifest(folder, {**perf_manifest, "sweep": plan.record()})
    with open_segment(folder) as segment:
        sweep = Sweep(plan, material(), "served", "served")
        measurer = BlockMeasurer(sweep, service, ServiceDevice(), segment)
        measurer.load()
        run_blocks(plan, what_is_logged(read_sweep(folder)), measurer, segment, progress)
    return read_sweep(folder)


def test_a_backend_with_requests_in_flight_is_a_service(service):
    assert isinstance(service, Service)


def test_four_requests_for_each_in_flight_and_one_to_warm_up(service, content):
    assert {(in_flight, len(requests)) for in_flight, requests in service.rounds} == {
        (1, 1), (1, 4), (4, 4), (4, 16),
    }  # fmt: skip
    assert {len(record["batches"]) for record in content.rounds} == {4, 16}


def test_no_clip_is_sent_twice_warm_ups_included(service, content):
    clips = [r.audio[0].sha256 for _, requests in service.rounds for r in requests]
    # 4,000 turns of one clip: two of so few requests may meet, as birthdays do, but not many.
    assert len(set(clips)) > 0.9 * len(clips)
    first, second = service.rounds[0][1], service.rounds[1][1]
    assert [r.audio[0].sha256 for r in first] != [r.audio[0].sha256 for r in second]


def test_a_round_lasts_from_the_first_request_to_the_last_reply(service):
    service.prepare_s = 1.0
    requests = material().closed_loop(Block(Point(4, "natural"), 0), 0)
    done = RoundTimer(service, ServiceDevice()).take_closed_loop(service, requests)
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
