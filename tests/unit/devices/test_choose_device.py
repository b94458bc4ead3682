import os
import sys

import pytest

from modeltest.devices import factory
from modeltest.devices.factory import Choice, choose, make_device
from modeltest.devices.probe import Hang, Probe
from modeltest.devices.why_not import NOT_INSTALLED, WhyNot
from modeltest.errors import DeviceError, UsageError

NO_CUDA = WhyNot("torch is built without CUDA", "install a CUDA build")
NO_CANN = WhyNot(
    "torch_npu is installed but CANN is not: libhccl.so not found",
    "install CANN and source its set_env.sh",
)
ALL = Probe("2.6.0", num_cuda=2, num_npu=8, torch_npu=True)
NPU_ONLY = Probe("2.6.0", num_npu=8, torch_npu=True, no_cuda=NO_CUDA)
CUDA_ONLY = Probe("2.6.0", num_cuda=2, no_npu=NOT_INSTALLED)
CPU_ONLY = Probe("2.6.0", no_npu=NOT_INSTALLED, no_cuda=NO_CUDA)
BROKEN_NPU = Probe("2.6.0", torch_npu=True, no_npu=NO_CANN, no_cuda=NO_CUDA)
BROKEN_NPU_AND_CUDA = Probe("2.6.0", num_cuda=1, torch_npu=True, no_npu=NO_CANN)


@pytest.mark.parametrize(
    ("found", "kind", "num"),
    [(ALL, "npu", 8), (NPU_ONLY, "npu", 8), (CUDA_ONLY, "cuda", 2), (CPU_ONLY, "cpu", 1)],
)
def test_auto_takes_npu_then_cuda_then_cpu(found, kind, num):
    choice = choose("auto", found)
    assert choice.kind == kind
    assert choice.num_devices == num


def test_auto_says_how_it_came_to_its_device():
    ordinary = "the first of npu, cuda, cpu that is usable, "
    assert choose("auto", ALL).reason == ordinary + "8 visible"
    assert choose("auto", CUDA_ONLY).reason == ordinary + "2 visible"
    assert choose("auto", CPU_ONLY).reason == (
        "torch_npu is not installed, torch is built without CUDA; using cpu"
    )


@pytest.mark.parametrize(("found", "kind"), [(BROKEN_NPU, "cpu"), (BROKEN_NPU_AND_CUDA, "cuda")])
def test_an_npu_that_was_meant_and_cannot_be_had_is_told(found, kind):
    choice = choose("auto", found)
    assert choice.kind == kind
    assert choice.reason == (
        f"torch_npu is installed but CANN is not: libhccl.so not found; using {kind}"
    )


@pytest.mark.parametrize(("kind", "num"), [("npu", 8), ("cuda", 2), ("cpu", 1)])
def test_a_device_that_is_there_is_taken_when_asked_for(kind, num):
    assert choose(kind, ALL) == Choice(kind, "asked for", num)


@pytest.mark.parametrize(
    ("requested", "found", "said", "usable"),
    [
        ("npu", CUDA_ONLY, "torch_npu is not installed", "cuda, cpu"),
        ("npu", CPU_ONLY, "torch_npu is not installed", "cpu"),
        ("npu", BROKEN_NPU, "libhccl.so not found (install CANN", "cpu"),
        ("cuda", CPU_ONLY, "torch is built without CUDA", "cpu"),
        ("cuda", NPU_ONLY, "torch is built without CUDA", "npu, cpu"),
    ],
)
def test_a_device_that_is_asked_for_is_never_replaced(requested, found, said, usable):
    with pytest.raises(DeviceError) as caught:
        choose(requested, found)
    message = str(caught.value)
    assert caught.value.exit_code == 5
    assert message.startswith(f"--device {requested}: ")
    assert said in message
    assert message.endswith(f"; usable: {usable}")
    assert len(message.splitlines()) == 1


@pytest.mark.parametrize("requested", ["auto", "npu", "cuda", "cpu"])
def test_without_torch_nothing_is_chosen(requested):
    found = Probe("", "torch is not installed", no_npu=NOT_INSTALLED, no_cuda=NO_CUDA)
    with pytest.raises(DeviceError, match=r"torch is not installed.*install the torch build") as e:
        choose(requested, found)
    assert e.value.exit_code == 5


HUNG = WhyNot("the Ascend driver did not answer within 120 s", "see npu-smi info")
NPU_HANGS = Probe(
    "2.6.0", num_cuda=2, torch_npu=True, no_npu=HUNG, hang=Hang("npu", HUNG)
)  # fmt: skip


@pytest.mark.parametrize("requested", ["auto", "npu"])
def test_a_driver_that_hangs_is_no_reason_to_compute_elsewhere(requested):
    with pytest.raises(DeviceError) as caught:
        choose(requested, NPU_HANGS)
    assert caught.value.exit_code == 5
    assert str(caught.value) == (
        f"--device {requested}: {HUNG.reason} (see npu-smi info); usable: cuda, cpu"
    )


@pytest.mark.parametrize(("requested", "num"), [("cuda", 2), ("cpu", 1)])
def test_another_device_can_be_asked_for_while_a_driver_hangs(requested, num):
    assert choose(requested, NPU_HANGS) == Choice(requested, "asked for", num)


def test_a_torch_that_takes_too_long_is_not_called_broken():
    slow = WhyNot("torch was not imported within 120 s", "try again")
    found = Probe("", slow.reason, no_cuda=slow, hang=Hang("torch", slow))
    with pytest.raises(DeviceError) as caught:
        choose("cpu", found)
    assert str(caught.value) == "--device cpu: torch was not imported within 120 s (try again)"


@pytest.fixture
def no_probe(monkeypatch):
    def probed():
        raise AssertionError("the machine was probed")

    monkeypatch.setattr(factory, "probe", probed)


def test_for_the_cpu_nothing_has_to_be_found_out(no_probe):
    assert choose("cpu") == Choice("cpu", "asked for")


@pytest.mark.parametrize("requested", ["auto", "npu"])
@pytest.mark.parametrize(
    "variables",
    [
        {"ASCEND_RT_VISIBLE_DEVICES": "1, 2"},
        {"PYTORCH_NPU_ALLOC_CONF": "", "PYTORCH_ALLOC_CONF": ""},
    ],
)
def test_variables_that_torch_npu_misreads_are_refused_first(
    monkeypatch, no_probe, requested, variables
):
    monkeypatch.setattr(factory, "torch_npu_installed", lambda: True)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UsageError) as caught:
        choose(requested)
    assert caught.value.exit_code == 2
    assert choose("cpu").kind == "cpu", "they are nothing to the CPU"


def test_the_cpu_is_made_without_touching_torch_npu(monkeypatch):
    monkeypatch.delenv("TORCH_DEVICE_BACKEND_AUTOLOAD", raising=False)
    device = make_device(Choice("cpu", "asked for"), index=3)
    assert (device.kind, device.label, device.torch_name) == ("cpu", "CPU", "cpu")
    assert "TORCH_DEVICE_BACKEND_AUTOLOAD" not in os.environ


def test_for_the_cpu_a_torch_npu_is_kept_out_of_the_process(monkeypatch, tmp_path):
    (tmp_path / "torch_npu.py").write_text("raise ImportError\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("TORCH_DEVICE_BACKEND_AUTOLOAD", "1")
    monkeypatch.delitem(sys.modules, "torch_npu", raising=False)
    make_device(Choice("cpu", "asked for"))
    assert sys.modules.pop("torch_npu") is None
    assert os.environ["TORCH_DEVICE_BACKEND_AUTOLOAD"] == "0"


@pytest.mark.parametrize("kind", ["npu", "cuda"])
@pytest.mark.parametrize("index", [-1, 2])
def test_a_device_beyond_the_visible_ones_is_not_made(kind, index):
    with pytest.raises(DeviceError, match=rf"^{kind}:{index}: .*2 visible"):
        make_device(Choice(kind, "asked for", 2), index)
