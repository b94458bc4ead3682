"""Other load, from a /proc/stat that is written by hand."""

import os
from types import SimpleNamespace

import pytest

from modeltest.runner import load_watch
from modeltest.runner.load_watch import LoadWatch, suspended_s

TICKS = os.sysconf("SC_CLK_TCK")


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Two cores, of which this process may use both; times in seconds."""
    state = SimpleNamespace(now_s=100.0, busy_s=[0.0, 0.0], own_s=0.0, path=tmp_path / "stat")
    monkeypatch.setattr(load_watch, "_usable_cores", lambda: frozenset({"cpu0", "cpu1"}))
    clock = SimpleNamespace(monotonic=lambda: state.now_s, process_time=lambda: state.own_s)
    monkeypatch.setattr(load_watch, "time", clock)
    times = SimpleNamespace(children_user=0.0, children_system=0.0)
    monkeypatch.setattr(load_watch, "os", SimpleNamespace(times=lambda: times, sysconf=os.sysconf))

    def write() -> None:
        cores = [
            f"cpu{n} {round(busy * TICKS)} 0 0 {round(state.now_s * TICKS)} 50 0 0 0 9 9"
            for n, busy in enumerate(state.busy_s)
        ]
        other = "cpu2 999999 0 0 0 0 0 0 0 0 0"  # a core that is not ours
        state.path.write_text("\n".join(["cpu 1 2 3 4", *cores, other, "intr 1 2 3"]) + "\n")

    def go_on(seconds: float, own_s: float, others_s: float) -> None:
        state.now_s += seconds
        state.own_s += own_s
        state.busy_s[0] += own_s
        state.busy_s[1] += others_s
        write()

    state.go_on = go_on
    write()
    return state


def test_others_are_what_is_busy_without_us(machine):
    watch = LoadWatch(machine.path)
    watch.begin()
    machine.go_on(2.0, own_s=2.0, others_s=1.0)
    assert watch.other_load() == pytest.approx(1 / 4)  # one of four core seconds


def test_a_machine_of_our_own(machine):
    watch = LoadWatch(machine.path)
    watch.begin()
    machine.go_on(2.0, own_s=3.9, others_s=0.0)
    assert watch.other_load() == 0.0


def test_short_rounds_are_judged_by_the_last_second(machine):
    watch = LoadWatch(machine.path)
    seen = []
    for _ in range(30):
        watch.begin()
        machine.go_on(0.1, own_s=0.1, others_s=0.05)
        seen.append(watch.other_load())
    assert seen[:3] == [None] * 3
    assert seen[-1] == pytest.approx(0.25, abs=0.02)
    # What happens now shows in the next second.
    for _ in range(12):
        watch.begin()
        machine.go_on(0.1, own_s=0.1, others_s=0.0)
    assert watch.other_load() == pytest.approx(0.0, abs=0.03)


def test_counters_that_stand_still_tell_nothing(machine):
    watch = LoadWatch(machine.path)
    watch.begin()
    machine.now_s += 2
    machine.own_s += 2
    assert watch.other_load() is None


@pytest.mark.parametrize("content", [None, "", "cpu0 a b", "cpu0 1 2"])
def test_a_machine_without_counters_claims_nothing(tmp_path, content):
    path = tmp_path / "stat"
    if content is not None:
        path.write_text(content)
    watch = LoadWatch(path)
    watch.begin()
    assert watch.other_load() is None


def test_suspended_time_is_not_negative():
    assert suspended_s() > -0.01
