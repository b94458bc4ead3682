"""NpuDevice and CudaDevice on a `torch.npu` and `torch.cuda` that write down their calls."""

import os
import sys
import time
import types

import pytest

from modeltest.devices.cuda import CudaDevice
from modeltest.devices.factory import Choice, make_device
from modeltest.devices.npu import NpuDevice
from modeltest.devices.npu_variables import DEFAULTS
from modeltest.devices.probe_child import look_at_torch
from modeltest.errors import DeviceError

torch = pytest.importorskip("torch")


class Event:
    def __init__(self, enable_timing):
        assert enable_timing
        self.at_ms = None

    def record(self):
        Event.now_ms += 250.0
        self.at_ms = Event.now_ms

    def elapsed_time(self, other):
        return other.at_ms - self.at_ms


@pytest.fixture
def driver(monkeypatch):
    """What stands in for torch.cuda and torch.npu; `asked` is what they were asked."""
    Event.now_ms = 0.0
    module = types.ModuleType("torch.npu")
    module.asked = []

    def answering(name, answer=None):
        def function(*arguments, **keywords):
            module.asked.append((name, *arguments, *keywords.items()))
            return answer

        return function

    for name, answer in {
        "set_device": None, "synchronize": None, "empty_cache": None, "set_compile_mode": None,
        "reset_peak_memory_stats": None, "max_memory_allocated": 5_000, "device_count": 4,
        "mem_get_info": (30_000, 32_000), "get_device_name": "Ascend910B4",
        "is_bf16_supported": True,
        "get_device_properties": types.SimpleNamespace(uuid="1-2"),
    }.items():  # fmt: skip
        setattr(module, name, answering(name, answer))
    module.config = types.SimpleNamespace(allow_internal_format=True)
    module.Event = Event
    torch_npu = types.ModuleType("torch_npu")
    torch_npu.__version__ = "2.13.0"
    monkeypatch.setattr(torch, "npu", module, raising=False)
    monkeypatch.setattr(torch, "cuda", module)
    monkeypatch.setitem(sys.modules, "torch_npu", torch_npu)
    return module


@pytest.fixture
def plain_environment(monkeypatch):
    """No variable for NPUs, and none left behind."""
    plain = {k: v for k, v in os.environ.items() if k not in {*DEFAULTS, "PYTORCH_ALLOC_CONF"}}
    plain.pop("ASCEND_RT_VISIBLE_DEVICES", None)
    plain.pop("MODELTEST_NPU_VARIABLES", None)
    monkeypatch.setattr(os, "environ", plain)
    return plain


@pytest.mark.parametrize(("kind", "label"), [(NpuDevice, "NPU"), (CudaDevice, "GPU")])
def test_both_drive_the_device_of_their_index(driver, kind, label):
    device = kind(2)
    name = f"{device.kind}:2"
    assert (device.torch_name, device.label, device.is_host) == (name, label, False)
    assert ("set_device", name) in driver.asked
    device.synchronize()
    device.reset_peak_memory()
    assert device.peak_memory_bytes() == 5_000
    assert (device.available_memory_bytes(), device.total_memory_bytes()) == (30_000, 32_000)
    device.free_memory()
    asked = {
        ("synchronize", name), ("reset_peak_memory_stats", name), ("max_memory_allocated", name),
        ("mem_get_info", name), ("empty_cache",),
    }  # fmt: skip
    assert asked <= set(driver.asked)


def test_time_between_marks_is_in_seconds(driver):
    device = NpuDevice()
    first, second = device.mark(), device.mark()
    assert device.seconds_between(first, second) == 0.25  # the events are 250 ms apart


@pytest.mark.parametrize(
    ("error", "is_it"),
    [
        (RuntimeError("NPU out of memory. Tried to allocate 2.00 GiB"), True),
        (RuntimeError("CUDA error: out of memory"), True),
        (getattr(torch, "OutOfMemoryError", RuntimeError)("NPU out of memory."), True),
        (RuntimeError("ERR00100 PTA call acl api failed, error code is 107001"), False),
        (ValueError("out of memory"), False),
        (MemoryError("out of memory"), False),
    ],
)
def test_want_of_device_memory_is_recognised(driver, error, is_it):
    assert NpuDevice().is_out_of_memory(error) is is_it


@pytest.mark.parametrize("kind", ["npu", "cuda"])
@pytest.mark.parametrize("call", ["set_device", "mem_get_info"])
def test_a_device_that_cannot_be_opened_is_one_line(driver, plain_environment, kind, call):
    def fail(*_arguments):
        raise RuntimeError("out of memory: somebody has it all\nat aclrtMalloc in file x.cpp")

    setattr(driver, call, fail)
    with pytest.raises(DeviceError) as caught:
        make_device(Choice(kind, "asked for", 4), 2)
    assert str(caught.value) == (
        f"{kind}:2 cannot be opened (out of memory: somebody has it all); end what uses it, or "
        "choose another device"
    )


def test_an_npu_is_set_up_before_it_is_used(driver, plain_environment):
    plain_environment["HCCL_BUFFSIZE"] = "200"
    device = make_device(Choice("npu", "asked for", 4), 1)
    assert driver.asked[:2] == [
        ("set_compile_mode", ("jit_compile", False)), ("set_device", "npu:1"),
    ]  # fmt: skip
    assert driver.config.allow_internal_format is False
    assert plain_environment["LCCL_DETERMINISTIC"] == "1"
    facts = device.facts()
    assert facts["variables"]["HCCL_BUFFSIZE"] == {"value": "200", "set_by": "caller"}
    assert facts["variables"]["LCCL_DETERMINISTIC"] == {"value": "1", "set_by": "modeltest"}
    assert (facts["jit_compile"], facts["allow_internal_format"]) == (False, False)
    assert (facts["name"], facts["index"], facts["visible_devices"]) == ("Ascend910B4", 1, 4)
    assert (facts["memory_total_bytes"], facts["memory_free_bytes"]) == (32_000, 30_000)
    assert facts["torch_npu"] == "2.13.0"


@pytest.mark.parametrize(
    ("name", "simulated"),
    [("Ascend910B4", False), ("Ascend910B-Simulated", True), ("SIMULATED", True)],
)
def test_a_simulated_npu_says_so_in_its_name(driver, name, simulated):
    driver.get_device_name = lambda device: name
    assert NpuDevice().facts()["simulated"] is simulated
    assert CudaDevice().facts()["simulated"] is False


def test_precisions_that_a_user_is_warned_of(driver):
    for device in (NpuDevice(), CudaDevice()):
        driver.is_bf16_supported = lambda **_: True
        assert device.warnings("bf16") == device.warnings("fp32") == ()
        [warning] = device.warnings("fp16") or [""]
        assert ("bf16 is recommended" in warning) == (device.label == "NPU")
        driver.is_bf16_supported = lambda **_: False
        assert "has no bf16" in device.warnings("bf16")[0]
        assert device.warnings("fp16") == ()


# Compute capabilities: V100 7.0, T4 7.5, A100 8.0, H100 9.0; NVIDIA has bf16 since 8.0.
@pytest.mark.parametrize(
    ("capability", "warned"), [((7, 0), True), ((7, 5), True), ((8, 0), False), ((9, 0), False)]
)
@pytest.mark.parametrize("tells_emulation", [True, False])
def test_bf16_that_torch_only_emulates_is_warned_of(
    driver, monkeypatch, capability, warned, tells_emulation
):
    def newer(including_emulation=True):
        return including_emulation or capability >= (8, 0)

    def older():
        return True

    monkeypatch.setattr(torch.version, "hip", None)
    driver.is_bf16_supported = newer if tells_emulation else older
    driver.get_device_capability = lambda device: capability
    warnings = CudaDevice().warnings("bf16")
    assert any("has no bf16" in warning for warning in warnings) is warned


def test_rocms_capability_is_not_nvidias(driver, monkeypatch):
    monkeypatch.setattr(torch.version, "hip", "6.0")
    driver.is_bf16_supported = lambda: True
    assert CudaDevice().warnings("bf16") == ()


def test_the_npu_that_is_meant_is_found_in_the_vendors_table(driver, monkeypatch):
    asked = []
    monkeypatch.setattr("modeltest.devices.npu.npu_health", asked.append)
    for visible in (None, "4,6", "0,1,2"):
        if visible is None:
            monkeypatch.delenv("ASCEND_RT_VISIBLE_DEVICES", raising=False)
        else:
            monkeypatch.setenv("ASCEND_RT_VISIBLE_DEVICES", visible)
        NpuDevice(1).health()
    assert asked == [1, 6, 1]


def test_the_gpu_that_is_meant_is_found_by_its_uuid_or_what_is_visible(driver, monkeypatch):
    asked = []
    monkeypatch.setattr("modeltest.devices.cuda.gpu_health", asked.append)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3, 5")
    CudaDevice(1).health()
    driver.get_device_properties = lambda device: types.SimpleNamespace()
    CudaDevice(1).health()
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    CudaDevice(1).health()
    assert asked == ["GPU-1-2", "5", "1"]


def test_a_gpus_determinism_leaves_the_callers_workspace(driver, monkeypatch):
    switched = []
    monkeypatch.setattr(
        torch, "use_deterministic_algorithms", lambda mode, warn_only: switched.append(mode)
    )
    monkeypatch.setattr(torch.utils.deterministic, "fill_uninitialized_memory", True)
    for name in ("benchmark", "deterministic"):
        monkeypatch.setattr(torch.backends.cudnn, name, name == "benchmark")
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8")
    CudaDevice().use_deterministic_algorithms()
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":16:8"
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG")
    CudaDevice().use_deterministic_algorithms()
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    assert (torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic) == (False, True)
    assert switched == [True, True]


def test_a_device_that_is_full_hides_no_other_from_check(driver):
    def mem_get_info(index):
        if index == 1:
            raise RuntimeError("CUDA error: out of memory")
        return 1_000, 2_000

    driver.mem_get_info = mem_get_info
    driver.is_available = lambda: True
    findings = list(look_at_torch(time.monotonic() + 60))
    assert [finding["num_cuda"] for finding in findings if "num_cuda" in finding] == [4]
    devices = [device for finding in findings for device in finding.get("devices", ())]
    assert [(d["torch_name"], d["free_bytes"], d["error"]) for d in devices] == [
        ("cuda:0", 1_000, ""),
        ("cuda:1", 0, "CUDA error: out of memory"),
        ("cuda:2", 1_000, ""),
        ("cuda:3", 1_000, ""),
    ]
