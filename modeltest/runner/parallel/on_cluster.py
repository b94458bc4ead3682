"""An evaluation by workers on the nodes of a Ray cluster; the run's folder is on this host."""

from __future__ import annotations

import os
from contextlib import closing
from dataclasses import replace
from typing import Any

from modeltest.errors import DeviceError
from modeltest.protocols import Backend
from modeltest.runlog.digests import digest
from modeltest.runlog.host_facts import steering_variables
from modeltest.runlog.manifest import manifest_sha256
from modeltest.runlog.run_log import open_segment
from modeltest.runlog.segment import SegmentWriter
from modeltest.runlog.source_facts import source_sha256
from modeltest.runner.batches import Work
from modeltest.runner.parallel.evaluation import ParallelEvaluation
from modeltest.runner.parallel.node_worker import Post, Said
from modeltest.runner.parallel.ray_crew import Cluster, not_searched
from modeltest.runner.parallel.worker import Job
from modeltest.settings.schema import ModelSettings

# What a node knows better than the driver: its devices, folders and interfaces.
_OF_THE_NODE = frozenset(
    {
        "ASCEND_RT_VISIBLE_DEVICES", "ASCEND_VISIBLE_DEVICES", "ASCEND_DEVICE_ID",
        "NPU_VISIBLE_DEVICES", "CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES",
        "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "CUDA_HOME", "ASCEND_HOME_PATH",
        "ASCEND_TOOLKIT_HOME", "ASCEND_OPP_PATH", "ASCEND_AICPU_PATH", "ASCEND_CACHE_PATH",
        "ASCEND_WORK_PATH", "ATB_HOME_PATH", "ATB_LLM_BENCHMARK_FILEPATH", "LD_PRELOAD",
        "CPU_AFFINITY_CONF", "GOMP_CPU_AFFINITY", "OMP_PLACES", "TP_WORLD_SIZE", "WORLD_SIZE",
        "RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_RANK", "MASTER_ADDR", "MASTER_PORT",
        "RANK_TABLE_FILE", "HCCL_IF_IP", "HCCL_SOCKET_IFNAME", "GLOO_SOCKET_IFNAME",
        "NCCL_SOCKET_IFNAME", "MODELTEST_PYTHON", "MODELTEST_CONFIG_DIR", "MODELTEST_LAUNCHER",
    }
)  # fmt: skip
_OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE")
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


def evaluate_on_cluster(evaluation: ParallelEvaluation, cluster: Cluster, backend: Backend) -> int:
    """Evaluates on the cluster's nodes, one worker per device.

    Args:
        evaluation: What.
        cluster: Where.
        backend: Made on this host; each worker's must be the same.

    Returns:
        As `ParallelEvaluation.carry_out`.

    Raises:
        DeviceError: No worker is left.
        ModeltestError: The same error on every node, before anything was answered; or what
            concerns the driver.
    """
    job = job_for_nodes(evaluation.job, digest(backend.identity(certified=False)))
    device, run_folder = evaluation.device, evaluation.run_folder

    def greeting() -> list[Said]:
        asked = {"tells_records": True, "manifest_sha256": manifest_sha256(run_folder)}
        return list(evaluation.greeting(job, rank=0, **asked))

    post = Post(
        run_id=run_folder.name,
        source_sha256=source_sha256(),
        model=job.model,
        clip=_first_file(evaluation.work),
        environment=variables_for_nodes(device.is_host),
        not_searched=not_searched(),
    )

    def segment(worker: int) -> SegmentWriter:
        return open_segment(run_folder, worker + 1)

    crew = cluster.crew(evaluation.size, device.label, post, greeting, segment)
    with closing(crew):
        try:
            # A batch is on its way while the one before is in work.
            return evaluation.carry_out(crew, ahead=1)
        except DeviceError as error:
            if failure := crew.common_failure:
                raise type(failure)(str(error)) from error
            raise


def job_for_nodes(job: Job, backend_sha256: str) -> Job:
    """The job of a worker that sees one device, in whatever working directory."""
    settings = ModelSettings.model_validate_json(job.model)
    changes: dict[str, Any] = {}
    if settings.model_path is not None:
        changes["model_path"] = os.path.abspath(settings.model_path)
    return replace(
        job,
        model=settings.model_copy(update=changes).model_dump_json(),
        device=replace(job.device, num_devices=1),
        backend_sha256=backend_sha256,
    )


def variables_for_nodes(computes_on_host: bool) -> dict[str, str]:
    """The variables of this process that the workers must have, too.

    A worker that computes on its host has one of its cores, unless the caller said otherwise.
    """
    ours = {name: v for name, v in steering_variables().items() if name not in _OF_THE_NODE}
    offline = {name: os.environ[name] for name in _OFFLINE if name in os.environ}
    return {**(_ONE_THREAD if computes_on_host else {}), **ours, **offline}


def _first_file(work: Work) -> str:
    paths = (source.path for source in work.samples[0].audio if source.path is not None)
    return os.path.abspath(next(paths, "")) if work.samples else ""
