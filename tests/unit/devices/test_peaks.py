import re

import pytest

from modeltest.devices import peaks
from modeltest.devices.cpu import CpuDevice

MIB = 2**20


class Recorder(CpuDevice):
    """Writes down what it is asked; its clock gives the times of a script."""

    def __init__(self, seconds=()):
        self.asked = []
        self._seconds = list(seconds)
        self._now = 0

    def synchronize(self):
        self.asked.append("synchronize")

    def mark(self):
        self.asked.append("mark")
        self._now += 1
        return self._now - 1

    def seconds_between(self, first, second):
        self.asked.append("seconds")
        return sum(self._seconds[first:second])

    def free_memory(self):
        self.asked.append("free")

    def is_out_of_memory(self, error):
        return "no room" in str(error)


def no_room_above(limit, seconds):
    """Stands for a measurement: fails above a size, else takes the time for it."""

    def measure(*arguments):
        if arguments[-1] > limit:
            raise RuntimeError("no room")
        return seconds(arguments[-1])

    return measure


def test_both_rates_are_measured_on_this_machine():
    found = peaks.measure_peaks(CpuDevice(), "fp32")
    # From the slowest board to the fastest accelerator, in bytes and operations.
    assert 1e8 < found.bandwidth_bytes_per_s < 1e13
    assert 1e8 < found.flops_per_s < 1e16
    assert re.fullmatch(r"measured: copy of 256 MiB, matmul (\d+)x\1 fp32", found.source)


def test_a_copy_counts_what_is_read_and_what_is_written(monkeypatch):
    monkeypatch.setattr(peaks, "_copy_s", lambda *_: 0.5)
    monkeypatch.setattr(peaks, "_product_s", lambda *_: 1.0)
    found = peaks.measure_peaks(Recorder(), "bf16")
    assert found.bandwidth_bytes_per_s == 4 * 256 * MIB
    assert found.flops_per_s == 2 * 256**3
    assert found.source == "measured: copy of 256 MiB, matmul 256x256 bf16"


def test_an_accelerator_copies_more_than_its_cache_holds(monkeypatch):
    monkeypatch.setattr(peaks, "_copy_s", lambda *_: 0.5)
    monkeypatch.setattr(peaks, "_product_s", lambda *_: 1.0)
    monkeypatch.setattr(Recorder, "is_host", False)
    assert "copy of 1024 MiB" in peaks.measure_peaks(Recorder(), "bf16").source


def test_the_buffer_shrinks_until_it_fits(monkeypatch):
    device = Recorder()
    monkeypatch.setattr(peaks, "_copy_s", no_room_above(64 * MIB, lambda size: size / 1e9))
    assert peaks._copy_rate(device) == (64 * MIB, pytest.approx(2e9))
    assert device.asked == ["free", "free"]


def test_no_room_for_the_smallest_buffer_is_told(monkeypatch):
    monkeypatch.setattr(peaks, "_copy_s", no_room_above(0, lambda size: 1.0))
    with pytest.raises(RuntimeError, match="no room"):
        peaks._copy_rate(Recorder())


def test_other_failures_of_the_copy_are_not_taken_for_memory(monkeypatch):
    def lost(*_):
        raise RuntimeError("device lost")

    monkeypatch.setattr(peaks, "_copy_s", lost)
    monkeypatch.setattr(peaks, "_product_s", lost)
    for measure in (lambda: peaks._copy_rate(Recorder()), lambda: products(Recorder())):
        with pytest.raises(RuntimeError, match="device lost"):
            measure()


def launched(side):
    """Seconds of a product at 1e15 operations a second after 10 µs of launching."""
    return 2 * side**3 / 1e15 + 1e-5


def products(device):
    return peaks._product_rate(device, "bf16")


def test_a_fast_device_gets_the_largest_product(monkeypatch):
    monkeypatch.setattr(peaks, "_product_s", lambda _device, _dtype, side: launched(side))
    assert products(Recorder()) == (8192, pytest.approx(1e15, rel=0.01))


def test_a_slow_device_is_not_asked_for_products_of_seconds(monkeypatch):
    asked = []

    def measure(_device, _dtype, side):
        asked.append(side)
        return 2 * side**3 / 2e9

    monkeypatch.setattr(peaks, "_product_s", measure)
    assert products(Recorder()) == (256, pytest.approx(2e9))
    assert asked == [256, 512]  # 0.13 s; twice the side would take a second


def test_the_fastest_side_counts(monkeypatch):
    rates = {256: 1e12, 512: 4e12, 1024: 2e12}
    monkeypatch.setattr(
        peaks, "_product_s", lambda _device, _dtype, side: 2 * side**3 / rates.get(side, 3e12)
    )
    assert products(Recorder()) == (512, pytest.approx(4e12))


def test_products_without_room_leave_the_smaller_ones(monkeypatch):
    monkeypatch.setattr(peaks, "_product_s", no_room_above(1024, launched))
    assert products(Recorder())[0] == 1024
    monkeypatch.setattr(peaks, "_product_s", no_room_above(128, lambda side: 1.0))
    with pytest.raises(RuntimeError, match="no room"):
        products(Recorder())


def test_the_best_call_counts_and_the_clock_is_read_after_draining():
    calls = []
    # One call alone, then three queued behind each other; what lies between is not counted.
    device = Recorder([0.03, 9.0, 0.02, 0.01, 0.05])
    assert peaks._best_s(device, lambda: calls.append(len(device.asked))) == pytest.approx(0.01)
    assert calls[0] == 0  # the warm-up comes before the first mark
    assert device.asked == [
        *["synchronize", "mark", "mark", "synchronize", "seconds"],
        *["synchronize", "mark", "mark", "mark", "mark", "synchronize"],
        *["seconds"] * 3,
    ]


def test_a_slow_call_is_measured_once():
    device = Recorder([0.2])
    assert peaks._best_s(device, lambda: None) == 0.2
    assert device.asked.count("mark") == 2


def test_a_clock_that_stands_still_does_not_hang():
    assert 0 < peaks._best_s(Recorder([0.0] * 2000), lambda: None) < 1e-6
