"""The machine and what of its environment steers devices and libraries; never secrets."""

from __future__ import annotations

import os
import platform
import re
import socket
from pathlib import Path
from typing import Any

from modeltest.settings.path_values import looks_secret

# Each by its name: a pattern would also record what somebody has named like one of them.
_RECORDED = frozenset(
    {
        "ASCEND_RT_VISIBLE_DEVICES", "ASCEND_VISIBLE_DEVICES", "ASCEND_DEVICE_ID",
        "ASCEND_LAUNCH_BLOCKING", "ASCEND_HOME_PATH", "ASCEND_TOOLKIT_HOME", "ASCEND_OPP_PATH",
        "ASCEND_AICPU_PATH", "ASCEND_GLOBAL_LOG_LEVEL", "ASCEND_GLOBAL_EVENT_ENABLE",
        "ASCEND_SLOG_PRINT_TO_STDOUT", "ASCEND_ENHANCE_ENABLE", "ASCEND_MAX_OP_CACHE_SIZE",
        "ASCEND_CACHE_PATH", "ASCEND_WORK_PATH", "NPU_VISIBLE_DEVICES",
        "NPU_FUZZY_COMPILE_BLACKLIST", "ACL_DEVICE_SYNC_TIMEOUT", "ACL_OP_COMPILER_CACHE_MODE",
        "TASK_QUEUE_ENABLE", "COMBINED_ENABLE", "CPU_AFFINITY_CONF",
        "MULTI_STREAM_MEMORY_REUSE", "INF_NAN_MODE_ENABLE", "INF_NAN_MODE_FORCE_DISABLE",
        "BIND_CPU", "RESERVED_MEMORY_GB", "HCCL_BUFFSIZE", "HCCL_ALGO", "HCCL_DETERMINISTIC",
        "HCCL_OP_EXPANSION_MODE", "HCCL_CONNECT_TIMEOUT", "HCCL_EXEC_TIMEOUT",
        "HCCL_IF_BASE_PORT", "HCCL_INTRA_PCIE_ENABLE", "HCCL_INTRA_ROCE_ENABLE",
        "HCCL_WHITELIST_DISABLE", "HCCL_RDMA_TC", "HCCL_RDMA_SL", "LCCL_DETERMINISTIC",
        "LCCL_PARALLEL", "ATB_LLM_BENCHMARK_ENABLE", "ATB_LLM_BENCHMARK_FILEPATH",
        "ATB_LLM_HCCL_ENABLE", "ATB_LLM_LCOC_ENABLE", "ATB_LLM_ENABLE_AUTO_TRANSPOSE",
        "ATB_MATMUL_SHUFFLE_K_ENABLE", "ATB_WORKSPACE_MEM_ALLOC_GLOBAL",
        "ATB_WORKSPACE_MEM_ALLOC_ALG_TYPE", "ATB_OPERATION_EXECUTE_ASYNC",
        "ATB_CONTEXT_WORKSPACE_SIZE", "ATB_LAUNCH_KERNEL_WITH_TILING",
        "ATB_STREAM_SYNC_EVERY_KERNEL_ENABLE", "ATB_HOME_PATH", "CUDA_VISIBLE_DEVICES",
        "CUDA_DEVICE_ORDER", "CUDA_LAUNCH_BLOCKING", "CUDA_MODULE_LOADING",
        "CUDA_DEVICE_MAX_CONNECTIONS", "CUDA_CACHE_DISABLE", "CUDA_HOME",
        "CUBLAS_WORKSPACE_CONFIG", "NVIDIA_TF32_OVERRIDE", "NVIDIA_VISIBLE_DEVICES",
        "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "NCCL_ALGO", "NCCL_PROTO",
        "NCCL_P2P_DISABLE", "NCCL_SHM_DISABLE", "NCCL_IB_DISABLE", "NCCL_DEBUG",
        "NCCL_BUFFSIZE", "NCCL_NTHREADS", "NCCL_MAX_NCHANNELS", "NCCL_MIN_NCHANNELS",
        "PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_NPU_ALLOC_CONF",
        "PYTORCH_NO_CUDA_MEMORY_CACHING", "PYTORCH_NO_NPU_MEMORY_CACHING",
        "TORCH_DEVICE_BACKEND_AUTOLOAD", "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE",
        "TORCH_CUDNN_SDPA_ENABLED", "TORCH_COMPILE_DISABLE", "TORCHDYNAMO_DISABLE",
        "OMP_NUM_THREADS", "OMP_PROC_BIND", "OMP_PLACES", "OMP_WAIT_POLICY", "OMP_DYNAMIC",
        "OMP_SCHEDULE", "MKL_NUM_THREADS", "MKL_DYNAMIC", "MKL_CBWR",
        "MKL_ENABLE_INSTRUCTIONS", "OPENBLAS_NUM_THREADS", "OPENBLAS_CORETYPE", "KMP_AFFINITY",
        "KMP_BLOCKTIME", "GOMP_CPU_AFFINITY", "ONEDNN_MAX_CPU_ISA", "ATEN_CPU_CAPABILITY",
        "LD_PRELOAD", "TP_WORLD_SIZE", "WORLD_SIZE", "RANK", "LOCAL_RANK", "MASTER_PORT",
        "MASTER_ADDR", "LOCAL_WORLD_SIZE", "GROUP_RANK", "RANK_TABLE_FILE", "HCCL_IF_IP",
        "HCCL_SOCKET_IFNAME", "GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME",
        "RAY_EXPERIMENTAL_NOSET_ASCEND_RT_VISIBLE_DEVICES", "ATB_CONVERT_NCHW_TO_ND",
        "ATB_LAYER_INTERNAL_TENSOR_REUSE", "NPU_FA2_SPARSE_MODE",
        "TORCH_NPU_FALLBACK_CPU_DISABLE", "TORCH_NPU_DEVICE_CAPABILITY",
        "PYTORCH_HAL_BASED_NPU_CHECK", "MODELTEST_NPU_VARIABLES",
        "MODELTEST_PYTHON", "MODELTEST_CONFIG_DIR", "MODELTEST_LAUNCHER",
    }
)  # fmt: skip
# `scheme://user:password@host`, in any value.
_URL_WITH_USER = re.compile(r"://[^\s/]*@")
# What /proc/cpuinfo of an ARM server has in place of a name.
_ARM_PARTS = ("CPU implementer", "CPU part")


def host_facts() -> dict[str, Any]:
    """Name, system, processor, cores and memory, whatever device computes."""
    return {
        "name": socket.gethostname(),
        "system": platform.platform(),
        "machine": platform.machine(),
        "processor": _processor_name(Path("/proc/cpuinfo")),
        "cores": os.cpu_count(),
        "memory_total_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
    }


def steering_variables() -> dict[str, str]:
    """The environment variables that are known to steer devices and libraries."""
    return {
        name: value
        for name, value in sorted(os.environ.items())
        if name in _RECORDED and not looks_secret(name) and not _URL_WITH_USER.search(value)
    }


def _processor_name(cpuinfo: Path) -> str:
    try:
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # not Linux
        lines = []
    pairs = [(key.strip(), value.strip()) for key, _, value in (s.partition(":") for s in lines)]
    facts = dict(reversed(pairs))  # of several processors, the first
    if name := facts.get("model name"):
        return name
    parts = [f"{key} {facts[key]}" for key in _ARM_PARTS if key in facts]
    return ", ".join(parts) or platform.processor() or platform.machine()
