"""Workers on the nodes of a Ray cluster, one per device: actors that pass frames on."""

from __future__ import annotations

import logging
import os
import queue
import re
import signal
import site
import socket
import sys
import sysconfig
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import modeltest
from modeltest.errors import DeviceError, ModeltestError, UsageError, one_line
from modeltest.runlog.segment import SegmentWriter, decode_line
from modeltest.runner.child import raise_error
from modeltest.runner.parallel.crew import Crew, Ended, Frames, Message
from modeltest.runner.parallel.node_worker import NodeWorker, Post, Said
from modeltest.runner.parallel.worker import ANSWERED, RECORD

_LOG = logging.getLogger(__name__)

ANY_CLUSTER = "auto"
"""Address of the cluster that $RAY_ADDRESS names, or that this host belongs to."""

START_S = 120.0
"""An actor that has not come to life by then is given up, seconds: it finds no free device."""

_BEAT = {"event": "beat"}
_AGAIN_S = 1.0
_LEAVE_S = 5.0
_COLLECT_POLL_S = 0.5
_REACH_S = 5.0
# In what Ray says of an actor that could not be made.
_ADDRESS = re.compile(r"\bip=([0-9a-fA-F.:]+)")
# Ray's own arguments for two resources; all others go by their names.
_ARGUMENTS = {"CPU": "num_cpus", "GPU": "num_gpus"}


class Cluster:
    """A connection to a Ray cluster, which this host belongs to."""

    def __init__(self, address: str) -> None:
        """Connects.

        Args:
            address: `HOST:PORT` of the head, or `ANY_CLUSTER`.

        Raises:
            UsageError: Ray is not installed, or there is no such cluster.
        """
        if address == ANY_CLUSTER:
            address = os.environ.get("RAY_ADDRESS") or ANY_CLUSTER
        if address != ANY_CLUSTER:
            _refuse_unreachable(address)
        # Read when Ray is imported: no telemetry.
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        self._ray = _import_ray()
        _connect(self._ray, address)
        self.address = address

    def num_nodes(self) -> int:
        """How many are up."""
        return sum(bool(node["Alive"]) for node in self._ray.nodes())

    def num_devices(self, resource: str) -> int:
        """How many of a resource (`NPU`, `GPU` or `CPU`) all nodes have together."""
        return int(self._ray.cluster_resources().get(resource, 0))

    def num_workers(self, asked: int | None, resource: str) -> int:
        """One per device, or as many as were asked for.

        Raises:
            DeviceError: The cluster has none of them.
            UsageError: It has too few.
        """
        found = self.num_devices(resource)
        if not found:
            raise DeviceError(
                f"--ray: the cluster's {self.num_nodes()} nodes have no {resource}; start Ray on "
                "nodes that have (ray status lists what it has), or choose another --device"
            )
        if asked and asked > found:
            raise UsageError(f"--dp {asked}: the cluster has {found} {resource}; take --dp {found}")
        return asked or found

    def crew(
        self,
        size: int,
        resource: str,
        post: Post,
        greeting: Callable[[], list[Said]],
        open_segment: Callable[[int], SegmentWriter],
    ) -> RayCrew:
        """Workers on this cluster; none is started yet."""
        return RayCrew(self._ray, size, resource, post, greeting, open_segment)

    def close(self) -> None:
        """Leaves the cluster, which ends what this process started there."""
        self._ray.shutdown()


@dataclass(slots=True)
class _Hand:
    """One incarnation of a worker.

    Attributes:
        actor: Ray's handle.
        started_s: When it was asked for.
        num_received: Messages that are here.
        node: Where it runs; empty while it was not heard.
        again_s: When to listen again after a call that did not get through.
        failure: The error that its process ends by, if it is not its device's.
    """

    actor: Any
    started_s: float
    num_received: int = 0
    node: str = ""
    again_s: float = 0.0
    failure: ModeltestError | None = None


class RayCrew(Crew):
    """Actors of `NodeWorker`; their records are written into a segment each, here.

    A record is in its segment before the message behind it is told. A worker's own segment is
    removed when this one is on the disk. An error of one worker is the end of that worker: what
    its node lacks, another may have.
    """

    def __init__(
        self,
        ray: Any,
        size: int,
        resource: str,
        post: Post,
        greeting: Callable[[], list[Said]],
        open_segment: Callable[[int], SegmentWriter],
    ) -> None:
        """Starts nothing yet.

        Args:
            ray: The library, connected.
            size: Number of workers.
            resource: What each takes one of.
            post: What a node must know.
            greeting: The first frames for each worker.
            open_segment: Starts the segment of a worker.
        """
        self._ray = ray
        self._size = size
        self._resource = resource
        self._post = {name: getattr(post, name) for name in Post.__slots__}
        self._greeting = greeting
        self._open_segment = open_segment
        self._class = ray.remote(concurrency_groups={"send": 1, "listen": 1})(NodeWorker).options(
            max_restarts=0,
            scheduling_strategy="SPREAD",
            **_demand(resource),
            **_search_path(),
        )
        self._hands: dict[int, _Hand] = {}
        self._segments: dict[int, SegmentWriter] = {}
        self._arrivals: queue.SimpleQueue[tuple[int, _Hand, Any, bool]] = queue.SimpleQueue()
        self._ends: list[Ended] = []
        self._leaving: list[Any] = []
        self._failures: dict[int, ModeltestError] = {}
        self._has_answered = False

    @property
    def size(self) -> int:
        """How many there are."""
        return self._size

    @property
    def common_failure(self) -> ModeltestError | None:
        """The last error, if every worker ended by one of its own before any had answered."""
        if self._has_answered or len(self._failures) < self._size:
            return None
        return next(reversed(self._failures.values()))

    def start(self, worker: int) -> None:
        """Asks for an actor, on whatever node has a device free."""
        self._failures.pop(worker, None)
        actor = self._class.remote(self._post, self._greeting())
        self._hands[worker] = _Hand(actor, time.monotonic())
        self._listen(worker)

    def send(self, worker: int, frames: Frames) -> None:
        """Sends frames; Ray keeps their order."""
        if hand := self._hands.get(worker):
            said = [(dict(header), payload) for header, payload in frames]
            sent = hand.actor.send.options(concurrency_group="send").remote(said)
            self._when_done(worker, hand, sent, is_send=True)

    def wait(self, timeout_s: float) -> list[Message | Ended]:
        """What happened, and that workers live which do not say so themselves yet."""
        beats = self._nudge()
        events: list[Message | Ended] = []
        with suppress(queue.Empty):
            arrival = self._arrivals.get(timeout=timeout_s)
            while True:
                events += self._take(*arrival)
                arrival = self._arrivals.get_nowait()
        ends, self._ends = self._ends, []
        return [*beats, *events, *ends]

    def kill(self, worker: int, reason: str) -> None:
        """Kills an actor, and with it its process; a node that is gone does not matter."""
        if hand := self._hands.pop(worker, None):
            self._ends.append(Ended(worker, _at(hand.node, reason)))
            self._ray.kill(hand.actor, no_restart=True)

    def close(self) -> None:
        """Ends all workers; what they had logged by then is in the log, if they can be reached.

        Raises:
            StorageError: The disk here does not take it; it stays where the workers are.
        """
        try:
            self._collect()
            for segment in self._segments.values():
                segment.close()
        finally:
            for hand in self._hands.values():
                self._ray.kill(hand.actor, no_restart=True)
            self._hands.clear()

    def _collect(self) -> None:
        """Ends the workers' processes and takes what they had said; waits a while for that."""
        for worker, hand in list(self._hands.items()):
            if hand.node:
                self._stop(worker)
                self._listen(worker)  # a signal may have come between a reply and the next call
        end_s = time.monotonic() + _LEAVE_S
        while any(hand.node for hand in self._hands.values()) and time.monotonic() < end_s:
            self._listen_again()
            with suppress(queue.Empty):
                self._take(*self._arrivals.get(timeout=_COLLECT_POLL_S))
        if self._leaving:
            left_s = max(0.0, end_s - time.monotonic())
            self._ray.wait(self._leaving, num_returns=len(self._leaving), timeout=left_s)

    def _nudge(self) -> list[Message | Ended]:
        """Beats for the workers that are on their way; listens again to those out of reach."""
        self._listen_again()
        now_s = time.monotonic()
        beats: list[Message | Ended] = []
        for worker, hand in list(self._hands.items()):
            if hand.node:
                continue
            if now_s - hand.started_s < START_S:
                beats.append(Message(worker, _BEAT))
            else:
                self.kill(worker, f"no node had a free {self._resource} within {START_S:g} s")
        return beats

    def _listen_again(self) -> None:
        now_s = time.monotonic()
        for worker, hand in list(self._hands.items()):
            if hand.again_s and now_s >= hand.again_s:
                self._listen(worker)

    def _listen(self, worker: int) -> None:
        hand = self._hands[worker]
        hand.again_s = 0.0
        heard = hand.actor.listen.options(concurrency_group="listen").remote(hand.num_received)
        self._when_done(worker, hand, heard)

    def _when_done(self, worker: int, hand: _Hand, result: Any, is_send: bool = False) -> None:
        # A queue, since Ray's own waiting does not let a signal's exception through.
        result.future().add_done_callback(
            lambda future: self._arrivals.put((worker, hand, future, is_send))
        )

    def _take(self, worker: int, hand: _Hand, future: Any, is_send: bool) -> list[Message | Ended]:
        if self._hands.get(worker) is not hand:
            return []  # of one that was given up
        error = future.exception()
        if isinstance(error, self._ray.exceptions.ActorUnavailableError):
            if is_send:  # nobody knows whether it arrived: what this worker has is dealt again
                self.kill(worker, "a message to it was lost")
                return []
            hand.again_s = time.monotonic() + _AGAIN_S
            return []
        if error is not None:
            del self._hands[worker]
            _LOG.info("worker %d: %s", worker, error)
            return [self._end(worker, hand, _how_lost(error, hand.node))]
        heard = future.result()
        return self._heard(worker, hand, heard) if heard else []  # `send` returns nothing

    def _heard(self, worker: int, hand: _Hand, heard: Mapping[str, Any]) -> list[Message | Ended]:
        # The first reply tells that its node lives; from then on the process beats by itself.
        events: list[Message | Ended] = [] if hand.node else [Message(worker, _BEAT)]
        hand.node = heard["node"]
        for number, (header, payload) in enumerate(heard["messages"], heard["first"]):
            if number < hand.num_received:
                continue
            if header.get("event") == RECORD:
                self._keep(worker, payload)
            elif "error" not in header or not self._fail(worker, header):
                events.append(Message(worker, header))
                self._has_answered |= header.get("event") == ANSWERED
            hand.num_received = number + 1
        if heard["ended"] is None:
            self._listen(worker)
            return events
        self._let_go(worker)
        how = heard["ended"] and _at(hand.node, heard["ended"])
        return [*events, self._end(worker, hand, how)]

    def _fail(self, worker: int, header: Mapping[str, Any]) -> bool:
        """Whether this is an error that ends this worker and is not its device's."""
        try:
            raise_error(header)
        except DeviceError:
            return False  # a lost device may let no process end: the end is not to be waited for
        except ModeltestError as error:
            self._hands[worker].failure = error
            self._stop(worker)
            return True

    def _stop(self, worker: int) -> None:
        self._leaving.append(self._hands[worker].actor.stop.remote())

    def _end(self, worker: int, hand: _Hand, reason: str) -> Ended:
        if hand.failure is None:
            return Ended(worker, reason)
        self._failures[worker] = hand.failure
        return Ended(worker, str(hand.failure))

    def _keep(self, worker: int, line: bytes) -> None:
        record = decode_line(line.removesuffix(b"\n"))
        if record is None:
            raise DeviceError(f"worker {worker} sent a record that is none")
        if worker not in self._segments:
            self._segments[worker] = self._open_segment(worker)
        self._segments[worker].append(record)

    def _let_go(self, worker: int) -> None:
        """Of a worker whose process ended: its actor ends when nobody holds it."""
        hand = self._hands.pop(worker)
        if worker in self._segments:
            self._segments[worker].sync()
        self._leaving.append(hand.actor.leave.remote(hand.num_received))


def not_searched() -> list[str]:
    """Folders that Ray adds to the workers' search path and no module may come from."""
    wanted = _folders()
    here = (os.getcwd(), os.path.dirname(os.path.realpath(sys.argv[0])))
    return [folder for folder in here if folder not in wanted]


def _folders() -> list[str]:
    """Where a node is to look for modeltest, if it is not installed there as any package is."""
    installed = {*site.getsitepackages(), *sysconfig.get_paths().values()}
    ours = str(Path(modeltest.__file__).resolve().parents[1])
    given = [os.path.abspath(p) for p in os.environ.get("PYTHONPATH", "").split(os.pathsep) if p]
    return [*([] if ours in {*installed, *given} else [ours]), *given]


def _search_path() -> dict[str, Any]:
    folders = _folders()
    variables = {"PYTHONPATH": os.pathsep.join(folders)}
    return {"runtime_env": {"env_vars": variables}} if folders else {}


def _demand(resource: str) -> dict[str, Any]:
    if argument := _ARGUMENTS.get(resource):
        return {"num_cpus": 0, argument: 1}
    return {"num_cpus": 0, "resources": {resource: 1}}


def _at(node: str, reason: str) -> str:
    """A reason with its node, if that is known and not said already."""
    return reason if not node or reason.startswith(f"node {node}: ") else f"{reason} (node {node})"


def _how_lost(error: BaseException, node: str) -> str:
    """In our words where it is a node or process that is gone, else Ray's last line."""
    if node:
        return f"node {node} or its worker's process was lost"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    address = _ADDRESS.search(str(error))
    said = one_line(lines[-1] if lines else type(error).__name__)
    return _at(address[1] if address else "", said)


def _import_ray() -> Any:
    try:
        import ray
    except ImportError as error:
        raise UsageError(
            f"--ray: Ray is not installed here ({one_line(str(error))}); on every node: "
            "pip install 'modeltest[distributed]'"
        ) from error
    return ray


def _connect(ray: Any, address: str) -> None:
    # What a raylet tells every driver of the cluster would be printed among the results; Ray's
    # own debugger turns it off by this, and there is no public way.
    ray._private.worker._worker_logs_enabled = False
    handler = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(
            address=address,
            log_to_driver=False,
            configure_logging=False,
            logging_level=logging.ERROR,
        )
    except ConnectionError as error:
        raise UsageError(
            "--ray: no Ray cluster runs on this host; start one with ray start --head here and "
            "ray start --address=HEAD:6379 on the other nodes, then try again"
        ) from error
    except (RuntimeError, ValueError) as error:  # another version of Ray or Python, no node
        raise UsageError(f"--ray {address}: {one_line(' '.join(str(error).split()))}") from error
    finally:
        signal.signal(signal.SIGTERM, handler)  # Ray takes it, and modeltest's is the better one


def _refuse_unreachable(address: str) -> None:
    """Ray itself tries for minutes.

    Raises:
        UsageError: It is no address, or nobody listens there.
    """
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or "/" in host:
        raise UsageError(
            f"--ray {address}: not HOST:PORT of a Ray cluster's head; run the command on one of "
            "its nodes"
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), _REACH_S).close()
    except (OSError, OverflowError) as error:
        raise UsageError(f"--ray {address}: cannot be reached ({error})") from error
