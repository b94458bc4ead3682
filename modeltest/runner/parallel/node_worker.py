"""What stands between a driver on another host and a worker process on this node.

A cluster's library makes one of these per device; nothing here knows which library.
"""

from __future__ import annotations

import os
import shutil
import socket
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from modeltest.backends.factory import check_model
from modeltest.errors import DataError, ModeltestError, StorageError, UsageError, one_line
from modeltest.runlog.layout import LOG_FOLDER
from modeltest.runlog.log_reader import HEAD
from modeltest.runlog.segment import SegmentReader, encode_line
from modeltest.runlog.source_facts import source_sha256
from modeltest.runner.child import error_header
from modeltest.runner.parallel.crew import BEAT_S, Ended
from modeltest.runner.parallel.local import LocalCrew
from modeltest.runner.parallel.worker import RECORD
from modeltest.settings.schema import ModelSettings

Said = tuple[dict[str, Any], bytes]
"""A frame: JSON values and raw bytes."""

_THREADS = "OMP_NUM_THREADS"


@dataclass(frozen=True, slots=True)
class Post:
    """What a node must know before it starts a worker.

    Attributes:
        run_id: Names the spool's folder.
        source_sha256: Of the driver's modeltest.
        model: The model's settings, as JSON.
        clip: A clip that has to be there, or nothing where none has a file.
        environment: Variables that steer devices and libraries, as the driver has them.
        not_searched: Folders that no module may come from: the cluster's library adds the
            driver's working directory.
    """

    run_id: str
    source_sha256: str
    model: str
    clip: str
    environment: dict[str, str]
    not_searched: list[str]


class NodeWorker:
    """A worker process on this node, heard and spoken to by calls from elsewhere.

    What the process says is numbered and kept until the driver has it, so that a lost reply
    costs nothing. Its records also lie in a segment of its own below the folder of temporary
    files, until the driver has them all on its disk; should the driver be lost, they stay.
    Errors are told with this node's name: to the driver it is one of many.
    """

    def __init__(self, post: Mapping[str, Any], greeting: Sequence[Said]) -> None:
        """Starts the process, if this node can do the work.

        Args:
            post: A `Post` as JSON values.
            greeting: The process's first frames; the folder of its segment is added here.
        """
        asked = Post(**post)
        self._node = socket.gethostname()
        self._lock = threading.Lock()
        self._outbox: deque[Said] = deque()
        self._num_received = 0
        self._num_records = 0
        self._how_ended: str | None = None
        self._spool: Path | None = None
        self._greeting = list(greeting)
        self._crew = LocalCrew(1, lambda _: self._greeting, asked.environment)
        sys.path[:] = [folder for folder in sys.path if folder not in asked.not_searched]
        try:
            refuse_unfit_node(asked)
            self._start(asked.run_id)
        except ModeltestError as error:
            self._outbox.append((self._named(error_header(error)), b""))
            self._how_ended = "it cannot do the work"

    def _start(self, run_id: str) -> None:
        # The driver's, or none: a cluster's library sets 1 for workers that ask for no core.
        os.environ.pop(_THREADS, None)
        try:
            self._spool = Path(tempfile.mkdtemp(prefix=f"modeltest-{run_id}-"))
            header, payload = self._greeting[0]
            self._greeting[0] = ({**header, "run_folder": str(self._spool)}, payload)
            self._crew.start(0)
        except OSError as error:
            reason = f"cannot take a worker's files ({error.strerror})"
            raise StorageError(one_line(f"the folder of temporary files {reason}")) from error

    def send(self, frames: Sequence[Said]) -> None:
        """Passes frames on; to a process that ended nothing, which `listen` tells."""
        with suppress(KeyError, ValueError):  # it ended before, or just now
            self._crew.send(0, frames)

    def listen(self, num_received: int) -> dict[str, Any]:
        """What the process said that the driver has not yet; waits a while for something.

        Args:
            num_received: Messages that the driver has; they are forgotten here.

        Returns:
            `node`: this host's name. `first`: number of the first message. `messages`: header
            and payload each, maybe none. `ended`: how the process ended, behind these
            messages, or None; with it, all records of the segment are told.
        """
        with self._lock:
            self._forget(num_received)
            if not self._outbox and self._how_ended is None:
                self._hear()
            return {
                "node": self._node,
                "first": self._num_received,
                "messages": list(self._outbox),
                "ended": self._how_ended,
            }

    def stop(self) -> None:
        """Ends the process; `listen` tells what it had said and logged by then."""
        self._crew.kill(0, "dismissed")

    def leave(self, num_received: int) -> None:
        """Removes the segment of the process, which ended, if the driver has all of it.

        Args:
            num_received: Messages whose records the driver has on its disk.
        """
        with self._lock:
            self._forget(num_received)
            if self._spool and self._how_ended is not None and not self._outbox:
                shutil.rmtree(self._spool, ignore_errors=True)

    def _forget(self, num_received: int) -> None:
        while self._num_received < num_received:
            self._outbox.popleft()
            self._num_received += 1

    def _hear(self) -> None:
        for event in self._crew.wait(BEAT_S):
            if isinstance(event, Ended):
                self._outbox += self._untold()
                self._how_ended = event.reason
            else:
                self._num_records += event.header.get("event") == RECORD
                self._outbox.append((self._named(event.header), event.payload))

    def _untold(self) -> list[Said]:
        """Records that the process wrote into its segment and did not come to tell."""
        if self._spool is None:
            return []
        records: list[Said] = []
        try:
            for path in self._spool.glob(f"{LOG_FOLDER}/*.jsonl"):
                # The head is this segment's own and never told: the driver's has another one.
                logged = (each for _, _, each in SegmentReader(path) if each["type"] != HEAD)
                for record in islice(logged, self._num_records, None):
                    records.append(({"event": RECORD}, encode_line(record)))
        except DataError:
            self._spool = None  # not to be removed: nobody knows what else is in there
        return records

    def _named(self, header: Mapping[str, Any]) -> dict[str, Any]:
        """A header whose error, if it is one, says where."""
        here, error = f"node {self._node}: ", header.get("error")
        if error is None or error.startswith(here):
            return dict(header)
        return {**header, "error": here + error}


def refuse_unfit_node(post: Post) -> None:
    """Makes sure that this node has the same modeltest, and model and clips where the driver has.

    Raises:
        ModeltestError: It has not.
    """
    if source_sha256() != post.source_sha256:
        raise UsageError(
            "has another modeltest than the driver; install the same one on every node"
        )
    check_model(ModelSettings.model_validate_json(post.model), "model_path")
    if post.clip and not Path(post.clip).is_file():
        raise DataError(
            f"{post.clip}: no such file; the data must lie at the same path on every node"
        )
