"""What torch_npu says, and what a user is told."""

import pytest

from modeltest.devices.why_not import why_no_cuda, why_npu_failed, why_npu_is_not_seen


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (
            "libhccl.so: cannot open shared object file: No such file or directory. Please check "
            "that the cann package is installed.\n[ERROR] 2026-01-01 (PID:1) ERR00005",
            "torch_npu is installed but CANN is not: libhccl.so not found",
        ),
        (
            "libascendcl.so: cannot open shared object file: No such file or directory",
            "torch_npu is installed but CANN is not: libascendcl.so not found",
        ),
        (
            "libge_runner.so.1: cannot open shared object file: No such file or directory",
            "torch_npu is installed but CANN is not: libge_runner.so.1 not found",
        ),
        (
            "libascend_hal.so: cannot open shared object file: No such file or directory",
            "torch_npu is installed but the Ascend driver is not: libascend_hal.so not found",
        ),
        (
            "/x/libtorch_npu.so: undefined symbol: _ZN3c104impl",
            "torch_npu does not fit torch or CANN: undefined symbol _ZN3c104impl",
        ),
        (
            "Two accelerators cannot be used at the same time in PyTorch: npu and cuda.\n[ERROR]",
            "torch_npu cannot be used with a torch that is built for another accelerator",
        ),
        (
            "ASCEND_HOME_PATH : /x does not exist. Please run 'source set_env.sh' in the CANN",
            "torch_npu finds no whole CANN: ASCEND_HOME_PATH : /x does not exist. Please run "
            "'source set_env.sh' in the CANN",
        ),
        ("the process ended by signal 11", "torch_npu cannot be used: the process ended by signal"),
        ("", "torch_npu cannot be used: no reason was given"),
    ],
)
def test_the_reason_is_told_in_one_line_with_advice(said, told):
    why = why_npu_failed(said)
    assert why.reason.startswith(told)
    assert len(why.reason.splitlines()) == 1
    assert why.advice
    assert "ERR" not in why.reason


def test_a_long_text_is_cut():
    assert len(why_npu_failed("x" * 10_000).reason) < 400


def test_no_device_is_seen(tmp_path):
    name = "ASCEND_RT_VISIBLE_DEVICES"
    assert why_npu_is_not_seen({name: ""}, tmp_path).reason == (
        "ASCEND_RT_VISIBLE_DEVICES is empty, so no NPU is visible"
    )
    assert "no /dev/davinci*" in why_npu_is_not_seen({}, tmp_path).reason
    (tmp_path / "davinci_manager").touch()  # the driver's own node, no device
    assert "no /dev/davinci*" in why_npu_is_not_seen({}, tmp_path).reason
    (tmp_path / "davinci0").touch()
    assert why_npu_is_not_seen({}, tmp_path).reason == "torch_npu sees no NPU"
    assert why_npu_is_not_seen({name: "7"}, tmp_path).reason == (
        "torch_npu sees no NPU with ASCEND_RT_VISIBLE_DEVICES=7"
    )


def test_no_gpu_is_seen(tmp_path):
    driver = tmp_path / "version"
    assert why_no_cuda(False, {}, driver).reason == "torch is built without CUDA"
    assert "names no device" in why_no_cuda(True, {"CUDA_VISIBLE_DEVICES": ""}, driver).reason
    assert "names no device" in why_no_cuda(True, {"CUDA_VISIBLE_DEVICES": "-1"}, driver).reason
    assert why_no_cuda(True, {"CUDA_VISIBLE_DEVICES": "0"}, driver).reason == (
        "torch sees no CUDA device"
    )
    driver.touch()
    assert why_no_cuda(False, {}, driver).reason == (
        "torch is built without CUDA although an NVIDIA driver is here"
    )
