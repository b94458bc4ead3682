"""Environment variables that steer an NPU: what modeltest sets, and what it found set.

They count only when they are set before torch_npu is imported. A variable that the caller set
keeps the caller's value, always; who set what is recorded.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from typing import Any

from modeltest.devices.visible_npus import VARIABLE, visible_npus
from modeltest.errors import UsageError

_ALLOCATOR = "PYTORCH_NPU_ALLOC_CONF"
_SHARED_ALLOCATOR = "PYTORCH_ALLOC_CONF"

DEFAULTS: Mapping[str, str] = {
    # Larger blocks are not split: less fragmentation, as the original launcher had it.
    _ALLOCATOR: "max_split_size_mb:2048",
    # An operator that the NPU lacks fails instead of moving to the CPU unseen.
    "TORCH_NPU_FALLBACK_CPU_DISABLE": "1",
    # The original launcher's determinism. It steers collectives and ATB's own operators; on
    # transformers' operators it is not known to do anything.
    "LCCL_DETERMINISTIC": "1",
    "HCCL_DETERMINISTIC": "true",
    "ATB_MATMUL_SHUFFLE_K_ENABLE": "0",
    "ATB_LLM_LCOC_ENABLE": "0",
    "HCCL_BUFFSIZE": "120",
}
"""What modeltest sets on an NPU unless the caller did."""

_ONLY_RECORDED = (
    VARIABLE, _SHARED_ALLOCATOR, "ASCEND_LAUNCH_BLOCKING", "TASK_QUEUE_ENABLE",
    "INF_NAN_MODE_ENABLE", "ATB_OPERATION_EXECUTE_ASYNC", "ATB_CONVERT_NCHW_TO_ND",
    "ATB_CONTEXT_WORKSPACE_SIZE",
)  # fmt: skip
# Names of what modeltest set, for the processes that it starts: they find them set.
_SET_BY_MODELTEST = "MODELTEST_NPU_VARIABLES"


def check_npu_variables(environ: Mapping[str, str]) -> None:
    """Makes sure that torch_npu will understand the caller's variables.

    Raises:
        UsageError: It would misread one, or end the process because of two.
    """
    visible_npus(environ)
    if _ALLOCATOR in environ and _SHARED_ALLOCATOR in environ:
        raise UsageError(
            f"{_ALLOCATOR} and {_SHARED_ALLOCATOR} are both set, at which torch_npu ends the "
            "process; unset one of them"
        )


def set_npu_variables(environ: MutableMapping[str, str]) -> None:
    """Sets what the caller left open; call it before torch_npu is imported.

    Raises:
        UsageError: See `check_npu_variables`.
    """
    check_npu_variables(environ)
    ours = _set_by_modeltest(environ)
    for name, value in DEFAULTS.items():
        if name in environ or (name == _ALLOCATOR and _SHARED_ALLOCATOR in environ):
            continue
        environ[name] = value
        ours.append(name)
    environ[_SET_BY_MODELTEST] = ",".join(ours)


def npu_variable_facts(environ: Mapping[str, str]) -> dict[str, Any]:
    """Every variable above with its value and who set it, as JSON values."""
    ours = _set_by_modeltest(environ)
    return {
        name: {
            "value": environ.get(name),
            "set_by": _who(name, environ, ours),
        }
        for name in (*DEFAULTS, *_ONLY_RECORDED)
    }


def _who(name: str, environ: Mapping[str, str], ours: list[str]) -> str | None:
    if name not in environ:
        return None
    return "modeltest" if name in ours and environ[name] == DEFAULTS[name] else "caller"


def _set_by_modeltest(environ: Mapping[str, str]) -> list[str]:
    names = environ.get(_SET_BY_MODELTEST, "").split(",")
    return [name for name in names if name in DEFAULTS]
