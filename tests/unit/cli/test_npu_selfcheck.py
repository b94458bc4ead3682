"""The self-check on a device that is right, and on devices that are wrong in one way each.

The embedded model is left out here; the simulated NPU runs it.
"""

import pytest

from modeltest.cli import npu_selfcheck
from modeltest.cli.main import main
from modeltest.cli.npu_selfcheck import check_device
from modeltest.devices.cpu import CpuDevice
from modeltest.devices.factory import Choice
from modeltest.records import Response

torch = pytest.importorskip("torch")
MIB = 2**20
IDS = ((1,), (2,), (3,))


class Device(CpuDevice):
    """The CPU, with a peak that grows and stays as an accelerator's allocator's does."""

    def __init__(self):
        self._grown = [0, 64 * MIB, 64 * MIB]

    def facts(self):
        return {**super().facts(), "name": "Ascend910B4", "torch_npu": "2.13.0"}

    def health(self):
        return {"tool": "npu-smi", "health": "OK", "power_w": 88.2}

    def peak_memory_bytes(self):
        return self._grown.pop(0)


def answers(logits, ids=IDS):
    """What a model says of three requests, or of the one that is asked."""

    def attempt(attention, requests):
        return [
            Response(
                request.sample_id, "", output_ids=ids[int(request.sample_id)],
                option_logits=tuple(logits.get(attention, 0.0) for _ in "ABCDEF"),
            )
            for request in requests
        ]  # fmt: skip

    return attempt


@pytest.fixture
def rows(monkeypatch):
    def run(device, attempt=None):
        monkeypatch.setattr(npu_selfcheck, "_on", lambda _device: attempt or answers({}))
        return {found.what: found for found in check_device(device, Choice("npu", "", 2))}

    return run


def test_a_device_that_computes_rightly(rows):
    found = rows(Device())
    assert list(found) == [
        "device", "matmul", "attention", "out of memory", "peak memory", "events", "health",
    ]  # fmt: skip
    assert {row.state for row in found.values()} == {"ok"}
    assert "2 visible" in found["device"].detail
    assert found["health"].detail == "tool npu-smi, health OK, power_w 88.2"


def test_a_simulated_device_is_called_so(rows):
    class Simulated(Device):
        def facts(self):
            return {**super().facts(), "simulated": True}

    found = rows(Simulated())["device"]
    assert found.state == "warning"
    assert "simulated" in found.advice


def test_a_wrong_product_is_seen(rows, monkeypatch):
    real = torch.Tensor.__matmul__

    def wrong(left, right):  # right in float32, the reference, and one percent off in bf16
        return real(left, right) * (1.01 if left.dtype == torch.bfloat16 else 1)

    monkeypatch.setattr(torch.Tensor, "__matmul__", wrong)
    assert rows(Device())["matmul"].state == "bad"


@pytest.mark.parametrize(
    ("attempt", "said"),
    [
        (answers({"sdpa": 0.5}), "5.0e-01 (sdpa)"),
        (answers({"sdpa": float("nan")}), "inf (sdpa)"),
    ],
)
def test_attentions_that_differ_are_seen(rows, attempt, said):
    found = rows(Device(), attempt)["attention"]
    assert found.state == "bad"
    assert said in found.detail
    assert "eager" in found.advice


def test_replies_that_change_in_a_batch_are_seen(rows):
    def attempt(attention, requests):
        return answers({}, IDS if len(requests) == 1 else ((1,), (2,), (9,)))(attention, requests)

    found = rows(Device(), attempt)["attention"]
    assert found.state == "bad"
    assert "replies differ" in found.detail


def test_an_error_that_is_not_taken_for_want_of_memory_is_seen(rows):
    class Blind(Device):
        def is_out_of_memory(self, error):
            return False

    found = rows(Blind())["out of memory"]
    assert found.state == "bad"
    assert "not recognised" in found.detail


def test_a_device_that_is_lost_with_its_memory_is_seen(rows):
    class Lost(Device):
        def is_alive(self):
            return False

    assert "computes no more" in rows(Lost())["out of memory"].detail


@pytest.mark.parametrize("peaks", [[0, 0, 0], [0, 64 * MIB, 0], [0, 999 * MIB, 999 * MIB]])
def test_a_peak_that_does_not_grow_or_stay_is_seen(rows, peaks):
    device = Device()
    device._grown = peaks
    assert rows(device)["peak memory"].state == "bad"


@pytest.mark.parametrize("seconds", [0.0, 1e9])
def test_events_that_tell_another_time_are_seen(rows, seconds):
    class Timeless(Device):
        def seconds_between(self, first, second):
            return seconds

    assert rows(Timeless())["events"].state == "bad"


def test_a_check_that_fails_does_not_keep_the_others_from_being_made(rows):
    class Broken(Device):
        def mark(self):
            raise RuntimeError("ERR01234 PTA\nsecond line")

    found = rows(Broken())
    assert (found["events"].state, found["events"].detail) == ("bad", "RuntimeError: ERR01234 PTA")
    assert found["health"].state == "ok"


def test_a_health_that_is_not_ok_is_bad(rows):
    class Ill(Device):
        def health(self):
            return {"tool": "npu-smi", "health": "Alarm"}

    found = rows(Ill())["health"]
    assert found.state == "bad"
    assert found.detail.endswith("reports health Alarm")


def test_no_tool_is_a_warning(rows):
    class Toolless(Device):
        def health(self):
            return {"tool": "npu-smi", "unknown": "npu-smi is not installed"}

    assert rows(Toolless())["health"].state == "warning"


def test_without_an_npu_it_is_refused(capsys, monkeypatch):
    monkeypatch.setattr("modeltest.devices.probe.torch_npu_installed", lambda: False)
    monkeypatch.setattr("modeltest.devices.factory.torch_npu_installed", lambda: False)
    assert main(["check", "--npu-selfcheck"]) == 5
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("modeltest: --device npu: torch_npu is not installed")
