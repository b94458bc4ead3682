"""Deals batches to workers until each has its reply, however many workers end meanwhile."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from modeltest.errors import DeviceError
from modeltest.protocols import Progress
from modeltest.runlog.digests import short_digest
from modeltest.runlog.run_log import phase_record, stop_record, worker_record
from modeltest.runner.accuracy import RecordLog, record_of, record_of_probe
from modeltest.runner.batches import Batch, Work, failed, planned_batches, probe_batches
from modeltest.runner.child import raise_error
from modeltest.runner.logged_replies import LoggedReplies
from modeltest.runner.parallel.crew import Crew, Ended, Message
from modeltest.runner.parallel.dealt import deal_frames
from modeltest.runner.parallel.deck import MAX_DEALS, Deal, Deck
from modeltest.runner.parallel.worker import ANSWERED, END, READY

_LOG = logging.getLogger(__name__)

SILENT_S = 30.0
"""A worker that says nothing for so long, not even that it lives, is stopped or swapped out."""

START_SILENT_S = 60.0
"""The same before the model is loaded: libraries from a slow disk are opened without a word."""

SLOW_FACTOR = 20
SLOW_LEAST_S = 60.0
SLOW_FIRST_S = 600.0
"""A batch hangs when it takes that many times as long as the slowest before it, and a minute;
of the first nothing is known but that it may be compiled for."""

_MAX_FAILED_STARTS = 3
_POLL_S = 1.0
_END_S = 30.0


@dataclass(slots=True)
class _Post:
    """What is known of one worker."""

    is_ready: bool = False
    has_ended: bool = False
    is_done: bool = False
    num_failed_starts: int = 0
    heard_s: float = 0.0
    since_s: float = 0.0
    deals: deque[Deal] = field(default_factory=deque)

    @property
    def can_work(self) -> bool:
        """Whether it takes batches."""
        return self.is_ready and not self.has_ended

    @property
    def works_alone(self) -> bool:
        """Whether it has a batch that was lost before, which nothing may be dealt beside."""
        return any(deal.num_lost for deal in self.deals)


class Coordinator:
    """One evaluation by a crew.

    Workers log the replies of the batches that they are dealt; this logs the phases, and the
    failures of samples whose worker ended each time.
    """

    def __init__(  # noqa: PLR0913  (what an evaluation brings together)
        self,
        work: Work,
        crew: Crew,
        log: RecordLog,
        progress: Progress,
        *,
        read_logged: Callable[[], LoggedReplies],
        ahead: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Starts nothing yet.

        Args:
            work: Samples and how to ask them.
            crew: Answers them.
            log: Of this process.
            progress: Told of each batch.
            read_logged: Reads what the log has by now.
            ahead: Batches that a worker holds beside the one it answers.
            clock: Monotonic, seconds.
        """
        self._work = work
        self._crew = crew
        self._log = log
        self._progress = progress
        self._read_logged = read_logged
        self._ahead = ahead
        self._clock = clock
        self._deck = Deck(planned_batches(work))
        self._posts = [_Post() for _ in range(crew.size)]
        self._slowest_s = 0.0
        self._first_ready_s: float | None = None
        self._num_logged = 0
        self._num_failed = work.logged.num_failed
        self._peak_bytes: list[int] = []
        self._last_reason = ""

    def run(self) -> int:
        """Evaluates.

        Returns:
            The highest memory use of a worker, bytes; 0 where none told.

        Raises:
            DeviceError: No worker is left.
            ModeltestError: What a worker raised that concerns the whole run.
        """
        self._progress.start(len(self._work.samples), "evaluating")
        missing = sum(len(batch.members) for batch in planned_batches(self._work) if batch.is_done)
        self._progress.advance(missing)
        try:
            for worker in range(self._crew.size):
                self._start(worker)
            while self._is_unfinished():
                self._step()
        finally:
            if self._first_ready_s is not None:
                seconds = self._clock() - self._first_ready_s
                self._log.append(phase_record("eval", seconds, num_samples=self._num_logged))
            self._progress.finish()
        if not self._has_work():  # else it was stopped
            self._ask_probes(probe_batches(self._work))
        self._dismiss()
        return max(self._peak_bytes, default=0)

    def _is_unfinished(self) -> bool:
        limit = self._work.max_failed
        if limit is not None and self._num_failed > limit:
            reason = f"stopped after {self._num_failed} failed samples (--fail-on-error)"
            self._log.append(stop_record(reason))
            return False
        return self._has_work()

    def _has_work(self) -> bool:
        return bool(self._deck) or any(post.deals for post in self._posts)

    def _ask_probes(self, batches: Sequence[Batch]) -> None:
        """Deals them like the samples' batches, under numbers that those did not have."""
        if not batches:
            return
        num_before = -(-len(self._work.samples) // self._work.batch_size)
        self._deck = Deck(batches, first=num_before)
        self._progress.start(len(self._work.probes), "asking some once more")
        start_s = self._clock()
        try:
            while self._has_work():
                self._step()
        finally:
            self._log.append(phase_record("probes", self._clock() - start_s))
            self._progress.finish()

    def _step(self) -> None:
        if all(post.has_ended for post in self._posts):
            raise DeviceError(f"no worker is left: {self._last_reason}")
        self._deal()
        for event in self._crew.wait(_POLL_S):
            post = self._posts[event.worker]
            post.heard_s = self._clock()
            if isinstance(event, Message):
                self._take(event, post)
            else:
                self._bury(event, post)
        self._end_the_hung()

    def _start(self, worker: int) -> None:
        post = self._posts[worker]
        post.is_ready, post.heard_s = False, self._clock()
        self._crew.start(worker)

    def _deal(self) -> None:
        for held in range(self._ahead + 1):  # nobody gets a second one before all have one
            for worker, post in enumerate(self._posts):
                # Towards the end, what waited behind another would leave other workers idle.
                if held and len(self._deck) < len(self._posts):
                    return
                # Of two that are lost together nobody knows which one ends its workers. Each is
                # dealt alone from then on, before all that wait behind it.
                if held and self._deck.next_was_lost:
                    return
                if post.can_work and len(post.deals) <= held and not post.works_alone:
                    self._deal_to(worker, post)

    def _deal_to(self, worker: int, post: _Post) -> None:
        deal = self._deck.take()
        if deal is None:
            return
        if not post.deals:
            post.since_s = self._clock()
        post.deals.append(deal)
        self._crew.send(worker, deal_frames(deal))

    def _take(self, message: Message, post: _Post) -> None:
        header = message.header
        if "error" in header:
            self._refuse(message, post)
        elif header["event"] == READY:
            self._welcome(message, post)
        elif header["event"] == ANSWERED:
            self._count(message, post)
        elif header["event"] == END:
            post.is_done = True
            self._peak_bytes.append(int(header["peak_memory_bytes"]))

    def _welcome(self, message: Message, post: _Post) -> None:
        header = message.header
        post.is_ready, post.num_failed_starts = True, 0
        _LOG.info("worker %d is ready: %s", message.worker, header["device"])
        self._log.append(worker_record(message.worker, header["device"], header["machine"]))
        if self._first_ready_s is None:
            self._first_ready_s = self._clock()
            self._log.append(header["load"])
            self._log.append(header["warm_up"])

    def _count(self, message: Message, post: _Post) -> None:
        header = message.header
        deal = next((deal for deal in post.deals if deal.number == header["batch"]), None)
        if deal is None:
            # Late, doubled, or of before the batch was dealt again. What it tells is in the log,
            # where a second record of a sample is compared and not counted, so there is nothing to
            # end a worker for. Whoever holds a batch still has to answer it: one of which no
            # word comes is dealt again as one that hangs.
            _LOG.warning(
                "worker %d: answered batch %s, which it does not hold; not counted",
                message.worker,
                header["batch"],
            )
            return
        post.deals.remove(deal)
        now_s = self._clock()
        self._slowest_s = max(self._slowest_s, now_s - post.since_s)
        post.since_s = now_s
        self._num_failed += int(header["num_failed"])
        self._close(deal)

    def _close(self, deal: Deal) -> None:
        members = deal.batch.members
        self._num_logged += sum(member.is_missing for member in members)
        self._progress.advance(len(members))

    def _refuse(self, message: Message, post: _Post) -> None:
        """A worker's own error: a lost device costs the worker, all else the run."""
        try:
            raise_error(message.header)
        except DeviceError as error:
            _LOG.warning("worker %d: %s", message.worker, error)
            self._last_reason = str(error)
            self._give_up(message.worker, post)
            self._crew.kill(message.worker, str(error))  # a lost device may let no process end

    def _bury(self, end: Ended, post: _Post) -> None:
        if post.is_done:
            return
        reason = end.reason or "process ended early"
        _LOG.warning("worker %d: %s", end.worker, reason)
        if not post.has_ended:  # else its own words are known
            self._last_reason = reason
        deals, post.deals = list(post.deals), deque()
        for deal in deals:
            self._lose(deal, reason)
        post.num_failed_starts += not post.is_ready
        if post.num_failed_starts >= _MAX_FAILED_STARTS and not post.has_ended:
            self._give_up(end.worker, post)
        if not post.has_ended:
            self._start(end.worker)

    def _give_up(self, worker: int, post: _Post) -> None:
        post.has_ended = True
        record = {"type": "given_up", "worker": worker, "reason": self._last_reason}
        self._log.append(record)

    def _lose(self, deal: Deal, reason: str) -> None:
        deal.num_lost += 1
        if deal.num_lost < MAX_DEALS:
            self._deck.put_back(deal)
            self._log.append(_redealt_record(deal, reason))
            return
        reason = f"its worker ended {MAX_DEALS} times: {reason}"
        logged = self._read_logged().keys  # the worker may have come as far as some of them
        for member in deal.batch.members:
            if member.probe:  # a reply that is in the log goes before this
                member.failure = reason
                self._log.append(record_of_probe(self._work.task, member, failed(member)))
            elif member.is_missing and short_digest(member.key) not in logged:
                member.failure = reason
                self._log.append(record_of(self._work.task, member, failed(member)))
                self._num_failed += 1
        self._close(deal)

    def _end_the_hung(self) -> None:
        now_s = self._clock()
        slow_s = max(SLOW_LEAST_S, SLOW_FACTOR * self._slowest_s)
        allowed_s = slow_s if self._slowest_s else SLOW_FIRST_S
        for worker, post in enumerate(self._posts):
            if post.has_ended or post.is_done:
                continue
            silent_s = SILENT_S if post.is_ready else START_SILENT_S
            if now_s - post.heard_s > silent_s:
                self._end_one(worker, f"no sign of life for {silent_s:g} s")
            elif post.deals and now_s - post.since_s > allowed_s:
                self._end_one(worker, f"one batch took over {allowed_s:.0f} s")

    def _end_one(self, worker: int, reason: str) -> None:
        post = self._posts[worker]
        post.heard_s = post.since_s = self._clock()  # not again, before its end is told
        self._crew.kill(worker, reason)

    def _dismiss(self) -> None:
        """Lets the workers end in order; their replies are in the log whether they do or not."""
        waited = {w for w, post in enumerate(self._posts) if post.can_work}
        for worker in waited:
            self._crew.send(worker, [({"num_members": 0}, b"")])
        end_s = self._clock() + _END_S
        while waited and self._clock() < end_s:
            for event in self._crew.wait(_POLL_S):
                if isinstance(event, Ended):
                    waited.discard(event.worker)
                elif event.header.get("event") == END:
                    self._take(event, self._posts[event.worker])


def _redealt_record(deal: Deal, reason: str) -> dict[str, Any]:
    """That a batch was dealt again, for a reader of the log."""
    indices = [member.index for member in deal.batch.members]
    return {"type": "redealt", "indices": indices, "times_lost": deal.num_lost, "reason": reason}
