"""Expected readings are those of torch_npu 2.13.0, re-told by its documentation."""

import pytest

from modeltest.devices.npu_variables import (
    DEFAULTS,
    check_npu_variables,
    npu_variable_facts,
    set_npu_variables,
)
from modeltest.devices.visible_npus import visible_npus
from modeltest.errors import UsageError
from modeltest.runlog.host_facts import _RECORDED, steering_variables

NAME = "ASCEND_RT_VISIBLE_DEVICES"


@pytest.mark.parametrize(
    ("text", "devices"),
    [(None, None), ("", ()), ("0", (0,)), ("2,3", (2, 3)), ("0,7,10", (0, 7, 10))],
)
def test_visible_devices(text, devices):
    assert visible_npus({} if text is None else {NAME: text}) == devices


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("1, 2", "no spaces"),
        (" 1", "no spaces"),
        ("0,1,", "digits and commas"),
        (",0", "digits and commas"),
        ("0;1", "digits and commas"),
        ("-1", "digits and commas"),
        ("0-3", "digits and commas"),
        ("NPU-0", "digits and commas"),
        ("٣", "digits and commas"),
        ("1,0", "must ascend"),
        ("0,0", "each device once"),
        ("0,2,1", "must ascend"),
    ],
)
def test_lists_that_torch_npu_misreads_are_refused(text, rule):
    with pytest.raises(UsageError, match=rule) as caught:
        visible_npus({NAME: text})
    assert str(caught.value).startswith(f"{NAME}={text!r}: ")
    with pytest.raises(UsageError):
        check_npu_variables({NAME: text})


def test_what_the_caller_left_open_is_set():
    environ = {"PATH": "/bin"}
    set_npu_variables(environ)
    # The original launcher's values, and two of modeltest's own.
    assert (
        environ.items()
        >= {
            "PYTORCH_NPU_ALLOC_CONF": "max_split_size_mb:2048",
            "TORCH_NPU_FALLBACK_CPU_DISABLE": "1",
            "LCCL_DETERMINISTIC": "1",
            "HCCL_DETERMINISTIC": "true",
            "ATB_MATMUL_SHUFFLE_K_ENABLE": "0",
            "ATB_LLM_LCOC_ENABLE": "0",
            "HCCL_BUFFSIZE": "120",
        }.items()
    )


@pytest.mark.parametrize("name", sorted(DEFAULTS))
@pytest.mark.parametrize("value", ["mine", ""])
def test_the_callers_value_wins(name, value):
    environ = {name: value}
    set_npu_variables(environ)
    assert environ[name] == value
    facts = npu_variable_facts(environ)
    assert facts[name] == {"value": value, "set_by": "caller"}
    assert {fact["set_by"] for other, fact in facts.items() if other in {*DEFAULTS} - {name}} == {
        "modeltest"
    }


def test_a_process_that_modeltest_starts_knows_who_set_what():
    environ = {"HCCL_BUFFSIZE": "200"}
    set_npu_variables(environ)
    before = npu_variable_facts(environ)
    child = dict(environ)
    set_npu_variables(child)
    assert npu_variable_facts(child) == before
    assert before["HCCL_BUFFSIZE"]["set_by"] == "caller"
    assert before["HCCL_DETERMINISTIC"]["set_by"] == "modeltest"
    child["HCCL_DETERMINISTIC"] = "strict"  # changed on the way
    assert npu_variable_facts(child)["HCCL_DETERMINISTIC"]["set_by"] == "caller"


def test_variables_that_are_not_set_are_nobodys():
    facts = npu_variable_facts({"TASK_QUEUE_ENABLE": "1"})
    assert facts["TASK_QUEUE_ENABLE"] == {"value": "1", "set_by": "caller"}
    assert facts["INF_NAN_MODE_ENABLE"] == {"value": None, "set_by": None}


def test_the_two_allocator_variables_are_never_both_set():
    environ = {"PYTORCH_ALLOC_CONF": "expandable_segments:True"}
    set_npu_variables(environ)
    assert "PYTORCH_NPU_ALLOC_CONF" not in environ
    both = {**environ, "PYTORCH_NPU_ALLOC_CONF": "max_split_size_mb:1"}
    with pytest.raises(UsageError, match=r"PYTORCH_NPU_ALLOC_CONF and PYTORCH_ALLOC_CONF"):
        set_npu_variables(both)


@pytest.mark.parametrize(
    "name",
    [
        "ASCEND_RT_VISIBLE_DEVICES", "MASTER_PORT", "TP_WORLD_SIZE", "INF_NAN_MODE_ENABLE",
        "TASK_QUEUE_ENABLE", "ATB_OPERATION_EXECUTE_ASYNC", "ATB_CONVERT_NCHW_TO_ND",
        "ATB_CONTEXT_WORKSPACE_SIZE", "ATB_LLM_BENCHMARK_ENABLE", "ATB_LLM_BENCHMARK_FILEPATH",
        "BIND_CPU", "RESERVED_MEMORY_GB", "ATB_LAUNCH_KERNEL_WITH_TILING",
        "ATB_LAYER_INTERNAL_TENSOR_REUSE", "ATB_WORKSPACE_MEM_ALLOC_GLOBAL",
    ],
)  # fmt: skip
def test_variables_of_the_original_documents_stand_in_the_manifest(monkeypatch, name):
    monkeypatch.setenv(name, "7")
    assert steering_variables()[name] == "7"


def test_everything_that_steers_an_npu_stands_in_the_manifest():
    assert npu_variable_facts({}).keys() <= _RECORDED
