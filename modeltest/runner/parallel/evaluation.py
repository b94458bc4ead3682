"""An evaluation by workers on this host, each with a segment of its own in the run's folder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from modeltest.devices.cpu import threads_per_process, usable_cores
from modeltest.devices.factory import Choice
from modeltest.errors import UsageError
from modeltest.protocols import Device, Progress
from modeltest.records import Audio
from modeltest.runlog.run_log import read_run
from modeltest.runner.accuracy import RecordLog
from modeltest.runner.batches import Work
from modeltest.runner.clip_frames import audio_header
from modeltest.runner.logged_replies import LoggedReplies
from modeltest.runner.parallel.coordinator import Coordinator
from modeltest.runner.parallel.crew import Crew
from modeltest.runner.parallel.local import LocalCrew
from modeltest.runner.parallel.worker import Job
from modeltest.runner.plan import EvalPlan


def worker_job(plan: EvalPlan, choice: Choice) -> Job:
    """What each worker makes its task, device and backend of."""
    return Job(
        task_name=plan.task_settings.name,
        task=plan.task_settings.settings.model_dump_json(),
        model=plan.model_settings.settings.model_dump_json(),
        device=choice,
        seed=plan.seed,
        deterministic=plan.certified,
    )


def refuse_too_many_workers(
    size: int, choice: Choice, device: Device, *, may_share: bool = True
) -> None:
    """Makes sure that each worker has a device of its own.

    Args:
        size: Number of workers.
        choice: Says how many devices there are.
        device: Of their kind.
        may_share: Several may have one core of a CPU. So much was asked for of this host; a
            number that another host's run brings says nothing of this one.

    Raises:
        UsageError: There are too few.
    """
    if device.is_host and not may_share and size > usable_cores():
        raise UsageError(
            f"--dp {size}: this host has {usable_cores()} cores for as many; "
            f"take --dp {usable_cores()}"
        )
    if not device.is_host and size > choice.num_devices:
        raise UsageError(
            f"--dp {size}: needs as many devices, and {choice.num_devices} {device.label} can be "
            f"used; take --dp {choice.num_devices}, or make more visible"
        )


@dataclass(frozen=True, slots=True)
class ParallelEvaluation:
    """An evaluation by workers, wherever they are.

    Attributes:
        work: Samples and how to ask them.
        job: What the workers make.
        clips: To warm up on.
        device: Of the kind that the workers use.
        log: Of this process.
        progress: Told of each batch.
        size: Number of workers.
        run_folder: Where the log is.
    """

    work: Work
    job: Job
    clips: Sequence[Audio]
    device: Device
    log: RecordLog
    progress: Progress
    size: int
    run_folder: Path

    def greeting(self, job: Job, **asked: Any) -> Iterator[tuple[dict[str, Any], bytes]]:
        """The first frames for a worker: what it is asked, and the clips to warm up on."""
        yield {"job": asdict(job), **asked, "num_clips": len(self.clips)}, b""
        for clip in self.clips:
            yield {"audio": audio_header(clip)}, clip.waveform.tobytes()

    def carry_out(self, crew: Crew, ahead: int) -> int:
        """Evaluates by a crew.

        Args:
            crew: The workers.
            ahead: Batches that a worker holds beside the one it answers.

        Returns:
            The highest memory use of a worker, bytes.

        Raises:
            DeviceError: No worker is left.
            ModeltestError: What a worker raised that concerns the whole run.
        """
        coordinator = Coordinator(
            self.work,
            crew,
            self.log,
            self.progress,
            read_logged=lambda: LoggedReplies(read_run(self.run_folder).samples),
            ahead=ahead,
        )
        return coordinator.run()


def evaluate_on_this_host(evaluation: ParallelEvaluation) -> int:
    """Evaluates by processes, one per device; returns and raises as `carry_out`."""

    def greeting(rank: int) -> Iterator[tuple[dict[str, Any], bytes]]:
        run_folder = str(evaluation.run_folder)
        return evaluation.greeting(evaluation.job, rank=rank, run_folder=run_folder)

    on_host = evaluation.device.is_host
    environment = threads_per_process(evaluation.size) if on_host else {}
    with closing(LocalCrew(evaluation.size, greeting, environment)) as crew:
        # On a device, one more to make ready beside the one in work.
        return evaluation.carry_out(crew, ahead=0 if on_host else 1)
