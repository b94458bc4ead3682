import io
from types import SimpleNamespace

import pytest

from modeltest.cli import progress


class Clock:
    def __init__(self):
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=clock))
    return clock


def shown(clock, total, steps):
    """Lines that are printed for steps of (seconds, samples)."""
    stream = io.StringIO()
    display = progress.PlainProgress(stream)
    display.start(total, "evaluating")
    for seconds, samples in steps:
        clock.now_s += seconds
        display.advance(samples)
    display.finish()
    return stream.getvalue().splitlines()


def test_one_line_every_thirty_seconds(clock):
    assert shown(clock, 100, [(1, 1)] * 89) == [
        "evaluating: 30/100 samples, 1.00/s, about 70 s left",
        "evaluating: 60/100 samples, 1.00/s, about 40 s left",
    ]


def test_short_work_is_silent(clock):
    assert shown(clock, 8, [(3.7, 1)] * 8) == []


def test_slow_batches_get_a_line_each(clock):
    # 10 samples in 100 s are 0.1 a second: the other 90 take 900 s.
    assert shown(clock, 100, [(100, 10), (100, 10)]) == [
        "evaluating: 10/100 samples, 0.10/s, about 15 min left",
        "evaluating: 20/100 samples, 0.10/s, about 13 min left",
    ]


def test_nothing_done_says_nothing(clock):
    assert shown(clock, 100, [(100, 0)]) == []


def test_a_second_phase_starts_afresh(clock):
    stream = io.StringIO()
    display = progress.PlainProgress(stream)
    for label in ("checking", "evaluating"):
        display.start(4, label)
        clock.now_s += 40
        display.advance(2)
        display.finish()
    assert stream.getvalue().splitlines() == [
        "checking: 2/4 samples, 0.05/s, about 40 s left",
        "evaluating: 2/4 samples, 0.05/s, about 40 s left",
    ]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (45, "45 s"),
        (89, "89 s"),
        (120, "2 min"),
        (12 * 60, "12 min"),
        (89 * 60, "89 min"),
        (2 * 3600, "2 h 00 min"),
        (3 * 3600 + 5 * 60, "3 h 05 min"),
        (3 * 3600 + 20 * 60, "3 h 20 min"),
        (3600 * 3 - 10, "3 h 00 min"),
        (50 * 3600, "50 h 00 min"),
    ],
)
def test_duration(seconds, text):
    assert progress.duration(seconds) == text


def test_without_a_terminal_there_are_lines():
    assert isinstance(progress.make_progress(), progress.PlainProgress)


def test_steps_have_a_name(clock):
    stream = io.StringIO()
    display = progress.PlainProgress(stream, unit="block")
    display.start(4, "measuring")
    clock.now_s += 40
    display.advance(2)
    assert stream.getvalue() == "measuring: 2/4 blocks, 0.05/s, about 40 s left\n"
