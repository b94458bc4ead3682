"""One block in this process: warm-up at its own shape, then timed rounds into the run log."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass

from modeltest.protocols import Backend, Device, Service
from modeltest.records import Request
from modeltest.runlog.run_log import phase_record
from modeltest.runlog.segment import SegmentWriter
from modeltest.runner.closed_loop import ClosedLoop
from modeltest.runner.load_watch import LoadWatch
from modeltest.runner.material import Batches, Material
from modeltest.runner.point_work import round_work
from modeltest.runner.recovery import load
from modeltest.runner.rounds import Kind, PointError, Round, RoundTimer, outputs_record
from modeltest.runner.sweep import Logged
from modeltest.runner.sweep_plan import DISTINCT_SHARE, Block, Point, SweepSettings

REPEATED_KINDS = ("copies", "task")
"""Rounds that ask the same again, so that their replies can be compared."""
FIRST_WARM_UPS = 2
"""Rounds when a process first meets a point: what is captured or compiled needs a second."""


@dataclass(frozen=True, slots=True)
class Sweep:
    """What is measured.

    Attributes:
        settings: Points, passes and amounts.
        material: What is asked.
        dtype: Precision in which the machine's limits are measured, `bf16`, `fp16` or `fp32`.
        attention: The attention implementation that was asked for.
    """

    settings: SweepSettings
    material: Material
    dtype: str
    attention: str


class BlockMeasurer:
    """Measures blocks of a sweep; a `MeasureBlock`."""

    def __init__(self, sweep: Sweep, backend: Backend, device: Device, log: SegmentWriter) -> None:
        self._settings = sweep.settings
        self._sweep = sweep
        self._material = sweep.material
        self._backend = backend
        self._device = device
        self._service = backend if isinstance(backend, Service) else None
        self._closed_loop = ClosedLoop(sweep.material)
        self._log = log
        self._timer = RoundTimer(backend, device)
        self._met: set[Point] = set()
        self._logged_peaks = False
        self._degraded = ""

    def load(self) -> None:
        """Loads the weights and records how long that took.

        Raises:
            ModeltestError: They cannot be loaded.
        """
        start_s = time.perf_counter()
        load(self._backend, self._device)
        seconds = time.perf_counter() - start_s
        facts = self._backend.facts()
        self._log.append(phase_record("load", seconds, **facts))
        used = facts.get("attention", self._sweep.attention)
        if used != self._sweep.attention:
            self._degraded = f"attention {used} instead of {self._sweep.attention}"

    def __call__(self, block: Block, logged: Logged) -> str:
        """Measures one block.

        Args:
            block: Which.
            logged: What the log holds; the block's work and the machine's limits are
                recorded where they are missing.

        Returns:
            Why the point cannot be measured, or nothing.

        Raises:
            ModeltestError: Concerns the whole run.
        """
        try:
            with _little_to_collect():
                if not (logged.has_peaks or self._logged_peaks):
                    self._log_peaks()
                self._closed_loop.go_on(block.point, logged.num_asked.get(block.point, 0))
                self._measure(block, log_work=block.point not in logged.works)
        except PointError as error:
            return str(error)
        return ""

    def _measure(self, block: Block, log_work: bool) -> None:
        start_s = time.perf_counter()
        self._device.free_memory()
        num_warm_ups = self._warm_up(block)
        if self._degraded and block.pass_number == 0:  # once per point
            record = {"type": "degraded", **asdict(block.point), "reason": self._degraded}
            self._log.append(record)
        amount = _Amount(self._settings, block)
        first: Round | None = None
        while (kind := amount.next_kind()) is not None:
            number = amount.num_rounds
            done = self._take(block, kind, number)
            self._log.append(done.record(block, kind, number))
            amount.add(kind, done.seconds)
            if first is None and kind in REPEATED_KINDS:
                first = done
            del done  # a large round's clips need not be there twice while the next are made
        if first is not None:
            correct = self._material.num_correct(block, first.replies)
            self._log.append(outputs_record(block, first, correct))
            if log_work:
                self._log_work(block.point, first)
        seconds = time.perf_counter() - start_s
        self._log.append(
            {
                "type": "block",
                **block.record(),
                "seconds": seconds,
                "warm_up_rounds": num_warm_ups,
            }
        )

    def _warm_up(self, block: Block) -> int:
        """Rounds at the block's own shape, not recorded."""
        task = self._settings.clip_source == "task"
        num_rounds = 1 if block.point in self._met else FIRST_WARM_UPS
        for _ in range(num_rounds):
            material = self._material
            if self._service is not None:
                self._ask(self._service, block.point, self._closed_loop.warm_up)
                continue
            self._timer.take(
                material.longest(block.point) if task else material.copies(block.point)
            )
        self._met.add(block.point)
        return num_rounds

    def _take(self, block: Block, kind: Kind, number: int) -> Round:
        if self._service is None:
            return self._timer.take(self._batches(block, kind, number))
        return self._ask(self._service, block.point, self._closed_loop.next_round)

    def _ask(
        self, service: Service, point: Point, make: Callable[[Point], tuple[Request, ...]]
    ) -> Round:
        service.limit_in_flight(point.batch_size)
        return self._timer.take_closed_loop(service, lambda: make(point))

    def _batches(self, block: Block, kind: Kind, number: int) -> Batches:
        if kind == "task":
            return self._material.whole_task(block, number)
        if kind == "distinct":
            return self._material.distinct(block, number)
        return self._material.copies(block.point)

    def _log_peaks(self) -> None:
        self._logged_peaks = True
        if self._backend.name == "null" or self._service is not None:
            return
        from modeltest.devices.peaks import measure_peaks

        watch = LoadWatch()
        watch.begin()
        peaks = measure_peaks(self._device, self._sweep.dtype)
        self._log.append(
            {
                "type": "peaks",
                "bandwidth_bytes_per_s": peaks.bandwidth_bytes_per_s,
                "flops_per_s": peaks.flops_per_s,
                "source": peaks.source,
                "other_load": watch.other_load(),
            }
        )

    def _log_work(self, point: Point, done: Round) -> None:
        """The work of a whole round, stage by stage."""
        total = round_work(self._backend, done.batches, done.responses)
        if total:
            self._log.append({"type": "work", **asdict(point), "stages": total})


class _Amount:
    """How much of a block is measured, and what comes next."""

    def __init__(self, settings: SweepSettings, block: Block) -> None:
        self._main: Kind = "task" if settings.clip_source == "task" else "copies"
        if settings.closed_loop:
            self._main = "requests"
        self._least_rounds = settings.block_repeats
        self._least_s = settings.block_seconds
        self._least_distinct = settings.block_distinct(block.point.mode)
        # Which kind begins changes with the pass, so that neither always runs behind the other.
        self._last: Kind = "distinct" if block.pass_number % 2 == 0 else self._main
        self._num_main = self._num_distinct = 0
        self._main_s = self._distinct_s = 0.0

    @property
    def num_rounds(self) -> int:
        """Rounds so far, of both kinds."""
        return self._num_main + self._num_distinct

    def add(self, kind: Kind, seconds: float) -> None:
        """A round was measured."""
        self._last = kind
        if kind == "distinct":
            self._num_distinct += 1
            self._distinct_s += seconds
        else:
            self._num_main += 1
            self._main_s += seconds

    def next_kind(self) -> Kind | None:
        """The kind of the next round; None when the block is complete."""
        enough_main = self._num_main >= self._least_rounds and self._main_s >= self._least_s
        lacks_distinct = self._num_distinct < self._least_distinct
        if enough_main and not lacks_distinct:
            return None
        wants_distinct = lacks_distinct or (
            self._least_distinct and self._distinct_s < DISTINCT_SHARE * self._main_s
        )
        # In turns: a machine that slows down must not look like a hidden cache.
        return "distinct" if wants_distinct and self._last != "distinct" else self._main


@contextmanager
def _little_to_collect() -> Iterator[None]:
    """Sets aside what is there, so that collecting between rounds takes no time.

    What a caller set aside before stays so.
    """
    keep = gc.get_freeze_count() > 0
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        if not keep:
            gc.unfreeze()
