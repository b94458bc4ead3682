import os

import pytest

from modeltest.devices.factory import Choice, choose, make_device
from modeltest.devices.probe import Probe
from modeltest.errors import DeviceError

# What torch says where torch_npu is installed and CANN is not.
BROKEN = (
    "Failed to load the backend extension: torch_npu. You can disable extension auto-loading "
    "with TORCH_DEVICE_BACKEND_AUTOLOAD=0. (libhccl.so: cannot open shared object file)"
)
ALL = Probe("2.6.0", cuda=True, npu=True)
CUDA_ONLY = Probe("2.6.0", cuda=True, npu=False)
CPU_ONLY = Probe("2.6.0", cuda=False, npu=False)
BROKEN_NPU = Probe("", cuda=False, npu=False, error=BROKEN, torch_npu=True)


@pytest.mark.parametrize(("found", "kind"), [(ALL, "npu"), (CUDA_ONLY, "cuda"), (CPU_ONLY, "cpu")])
def test_auto_takes_npu_then_cuda_then_cpu(found, kind):
    choice = choose("auto", found)
    assert choice.kind == kind
    assert "npu" in choice.reason
    assert not choice.broken_torch_npu


@pytest.mark.parametrize("kind", ["npu", "cuda", "cpu"])
def test_a_device_that_is_there_is_taken_when_asked_for(kind):
    assert choose(kind, ALL) == Choice(kind, "asked for")


@pytest.mark.parametrize(
    ("requested", "found", "usable"),
    [
        ("npu", CUDA_ONLY, "cuda, cpu"),
        ("npu", CPU_ONLY, "cpu"),
        ("cuda", CPU_ONLY, "cpu"),
        ("cuda", Probe("2.6.0", cuda=False, npu=True), "npu, cpu"),
    ],
)
def test_a_device_that_is_asked_for_is_never_replaced(requested, found, usable):
    with pytest.raises(DeviceError) as caught:
        choose(requested, found)
    message = str(caught.value)
    assert caught.value.exit_code == 5
    assert message.startswith(f"--device {requested}:")
    assert message.endswith(f"usable: {usable}")


def test_broken_torch_npu_leaves_the_cpu_and_says_why():
    choice = choose("auto", BROKEN_NPU)
    assert choice.kind == "cpu"
    assert choice.broken_torch_npu
    assert "libhccl.so" in choice.reason
    assert choose("cpu", BROKEN_NPU).broken_torch_npu


@pytest.mark.parametrize("requested", ["npu", "cuda"])
def test_broken_torch_npu_is_the_reason_of_a_refusal(requested):
    with pytest.raises(DeviceError, match=r"libhccl\.so") as caught:
        choose(requested, BROKEN_NPU)
    assert caught.value.exit_code == 5


@pytest.mark.parametrize("requested", ["auto", "npu", "cuda", "cpu"])
def test_without_torch_nothing_is_chosen(requested):
    found = Probe("", cuda=False, npu=False, error="torch is not installed")
    with pytest.raises(DeviceError, match=r"torch is not installed.*install the torch build") as e:
        choose(requested, found)
    assert e.value.exit_code == 5


@pytest.mark.parametrize("found", [BROKEN_NPU, CPU_ONLY])
@pytest.mark.parametrize("requested", ["npu", "cuda"])
def test_a_refusal_is_one_line(requested, found):
    with pytest.raises(DeviceError) as caught:
        choose(requested, found)
    assert len(str(caught.value).splitlines()) == 1


def test_the_cpu_is_made_without_touching_torch_npu(monkeypatch):
    monkeypatch.delenv("TORCH_DEVICE_BACKEND_AUTOLOAD", raising=False)
    device = make_device(Choice("cpu", "asked for"))
    assert (device.kind, device.label, device.torch_name) == ("cpu", "CPU", "cpu")
    assert "TORCH_DEVICE_BACKEND_AUTOLOAD" not in os.environ


@pytest.mark.parametrize("requested", ["auto", "cpu"])
def test_a_torch_npu_that_kills_the_probe_leaves_the_cpu(requested):
    error = "importing torch failed: Segmentation fault"
    found = Probe("", cuda=False, npu=False, error=error, torch_npu=True)
    choice = choose(requested, found)
    assert choice.kind == "cpu"
    assert choice.broken_torch_npu
