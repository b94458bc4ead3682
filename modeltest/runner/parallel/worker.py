"""What a worker does: it loads the model once and answers the batches that it is dealt."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from modeltest.audio.workers import DecodeWorkers
from modeltest.backends.factory import make_backend
from modeltest.devices.factory import Choice, make_device
from modeltest.errors import ModelError
from modeltest.protocols import Task
from modeltest.records import Audio
from modeltest.runlog.digests import digest
from modeltest.runlog.manifest import machine_facts
from modeltest.runlog.run_log import health_record, phase_record
from modeltest.runner.accuracy import RecordLog, answered, is_failed_sample, warm_up
from modeltest.runner.batches import BatchMaker
from modeltest.runner.parallel.deck import Deal
from modeltest.runner.prefetch import prefetched
from modeltest.runner.recovery import load
from modeltest.settings.schema import ModelSettings, TaskSettings
from modeltest.tasks.factory import make_task

READY, RECORD, ANSWERED, END = "ready", "record", "answered", "end"
"""Events that a worker reports: the model is loaded; a record is in its log, as a line, where
that lies on another host than the run; the batch of that number is in the log; it is done."""

Say = Callable[[Mapping[str, Any]], None]


@dataclass(frozen=True, slots=True)
class Job:
    """What a worker makes its task, device and backend of.

    Attributes:
        task_name: Name of the task.
        task: Its settings, as JSON.
        model: The model's settings, as JSON.
        device: The chosen device.
        seed: Seeds the backend.
        deterministic: Take the operators that always add in the same order.
        backend_sha256: Digest of the backend's identity that it must have; nothing where it can
            have no other, as on the host that made the job.
    """

    task_name: str
    task: str
    model: str
    device: Choice
    seed: int
    deterministic: bool = False
    backend_sha256: str = ""

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Job:
        """The job that `dataclasses.asdict` wrote."""
        return cls(**{**record, "device": Choice(**record["device"])})


class Worker:
    """A model on a device, and the records of its replies."""

    def __init__(self, job: Job, rank: int, log: RecordLog, say: Say) -> None:
        """Makes device and backend; loads no weights.

        Args:
            job: What to make.
            rank: Its number, which is its device's, too.
            log: Receives the records.
            say: Reports to the coordinator.

        Raises:
            ModelError: The model here is another one.
        """
        settings = TaskSettings.model_validate_json(job.task)
        self._task: Task = make_task(job.task_name, settings)
        self._truncate_long = settings.long_audio == "truncate"
        self._device = make_device(job.device, rank)
        if job.deterministic:
            self._device.use_deterministic_algorithms()
        self._backend = make_backend(
            ModelSettings.model_validate_json(job.model), job.seed, self._device
        )
        if job.backend_sha256 not in {"", digest(self._backend.identity(certified=False))}:
            raise ModelError(
                f"node {socket.gethostname()}: the model at its path, or what the libraries make "
                "of it, is not the driver's; give every node the same files and packages"
            )
        self._rank = rank
        self._log = log
        self._say = say

    def run(self, clips: Iterable[Audio], deals: Iterable[Deal], stop: Callable[[], None]) -> None:
        """Loads, warms up and answers all batches.

        Args:
            clips: To warm up on.
            deals: Batches as they are dealt; waiting for the next one is the iterator's business.
            stop: Ends that waiting, from any thread.

        Raises:
            ModeltestError: Concerns more than a sample.
        """
        self._log.append(health_record("before", self._device.health(), self._rank))
        start_s = time.perf_counter()
        load(self._backend, self._device)
        seconds = time.perf_counter() - start_s
        warm_up_s = warm_up(self._task, self._backend, list(clips))
        self._say(
            {
                "event": READY,
                "load": phase_record("load", seconds, **self._backend.facts()),
                "warm_up": phase_record("warm_up", warm_up_s),
                "device": dict(self._device.facts()),
                "machine": machine_facts(),
            }
        )
        with DecodeWorkers() as decoders, closing(self._ready(deals, decoders, stop)) as ready:
            for deal in ready:
                self._answer(deal)
        self._log.append(health_record("after", self._device.health(), self._rank))
        peak_bytes = self._device.peak_memory_bytes()
        self._say({"event": END, "peak_memory_bytes": peak_bytes})
        self._backend.close()

    def _ready(
        self, deals: Iterable[Deal], decoders: DecodeWorkers, stop: Callable[[], None]
    ) -> Generator[Deal, None, None]:
        ahead = not self._device.is_host  # a CPU has no cores left for it
        maker = BatchMaker(
            self._task,
            self._backend,
            decoders,
            truncate_long=self._truncate_long,
            prepare=ahead,
        )
        # One at a time: to look ahead would be to wait for a batch that is not dealt yet.
        made = (deal for deal in deals for _ in maker.ready([deal.batch]))

        def stop_both() -> None:
            stop()
            decoders.stop()

        return prefetched(made, stop_both) if ahead else made

    def _answer(self, deal: Deal) -> None:
        num_failed = 0
        records = answered(self._task, deal.batch, self._backend, self._device, self._log)
        for record in records:
            self._log.append(record)
            num_failed += is_failed_sample(record)
        self._say({"event": ANSWERED, "batch": deal.number, "num_failed": num_failed})
