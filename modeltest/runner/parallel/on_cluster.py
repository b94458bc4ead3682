"""An evaluation by workers on the nodes of a Ray cluster; the run's folder is on this host."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from modeltest.protocols import Backend, Device, Progress
from modeltest.records import Audio
from modeltest.runlog.digests import digest
from modeltest.runlog.host_facts import steering_variables
from modeltest.runlog.run_log import open_segment, read_run
from modeltest.runlog.source_facts import source_sha256
from modeltest.runner.accuracy import RecordLog
from modeltest.runner.batches import Work
from modeltest.runner.clip_frames import audio_header
from modeltest.runner.logged_replies import LoggedReplies
from modeltest.runner.parallel.coordinator import Coordinator
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


def evaluate_on_cluster(  # noqa: PLR0913  (what an evaluation brings together)
    work: Work,
    job: Job,
    clips: Sequence[Audio],
    device: Device,
    log: RecordLog,
    progress: Progress,
    *,
    cluster: Cluster,
    backend: Backend,
    size: int,
    run_folder: Path,
) -> int:
    """Evaluates by workers on the cluster's nodes, one per device.

    Args:
        work: Samples and how to ask them.
        job: What the workers make.
        clips: To warm up on.
        device: Of the kind that the workers use.
        log: Of this process.
        progress: Told of each batch.
        cluster: Where.
        backend: Made on this host; each worker's must be the same.
        size: Number of workers.
        run_folder: Where the log is.

    Returns:
        The highest memory use of a worker, bytes.

    Raises:
        DeviceError: No worker is left.
        ModeltestError: What a worker raised that concerns the whole run.
    """
    job = job_for_nodes(job, digest(backend.identity(certified=False)))

    def greeting() -> list[Said]:
        header = {"job": asdict(job), "rank": 0, "tells_records": True, "num_clips": len(clips)}
        heard = [({"audio": audio_header(clip)}, clip.waveform.tobytes()) for clip in clips]
        return [(header, b""), *heard]

    post = Post(
        run_id=run_folder.name,
        source_sha256=source_sha256(),
        model=job.model,
        clip=_first_file(work),
        environment=variables_for_nodes(device.is_host),
        not_searched=not_searched(),
    )
    with closing(
        cluster.crew(
            size, device.label, post, greeting, lambda worker: open_segment(run_folder, worker + 1)
        )
    ) as crew:
        coordinator = Coordinator(
            work,
            crew,
            log,
            progress,
            read_logged=lambda: LoggedReplies(read_run(run_folder).samples),
            ahead=1,  # a batch is on its way while the one before is in work
        )
        return coordinator.run()


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
