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
from pathlib import Path
from typing import Any

from modeltest.backends.factory import check_model
from modeltest.errors import DataError, DeviceError, ModeltestError, UsageError
from modeltest.runlog.source_facts import source_sha256
from modeltest.runner.child import error_header
from modeltest.runner.parallel.crew import BEAT_S, Ended
from modeltest.runner.parallel.local import LocalCrew
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
        self._how_ended: str | None = None
        self._spool: Path | None = None
        self._greeting = list(greeting)
        self._crew = LocalCrew(1, lambda _: self._greeting, asked.environment)
        sys.path[:] = [folder for folder in sys.path if folder not in asked.not_searched]
        try:
            refuse_unfit_node(asked)
        except ModeltestError as error:
            self._outbox.append((error_header(DeviceError(f"node {self._node}: {error}")), b""))
            self._how_ended = f"node {self._node} cannot do the work"
            return
        self._spool = Path(tempfile.mkdtemp(prefix=f"modeltest-{asked.run_id}-"))
        header, payload = self._greeting[0]
        self._greeting[0] = ({**header, "run_folder": str(self._spool)}, payload)
        # The driver's, or none: a cluster's library sets 1 for workers that ask for no core.
        os.environ.pop(_THREADS, None)
        self._crew.start(0)

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
            messages, or None.
        """
        with self._lock:
            while self._num_received < num_received:
                self._outbox.popleft()
                self._num_received += 1
            if not self._outbox and self._how_ended is None:
                self._hear()
            return {
                "node": self._node,
                "first": self._num_received,
                "messages": list(self._outbox),
                "ended": self._how_ended,
            }

    def leave(self) -> None:
        """Ends the process and removes its segment: the driver has all of it on its disk."""
        if self._spool is None:
            return
        with suppress(KeyError):  # it ended
            self._crew.kill(0, "dismissed")
        shutil.rmtree(self._spool, ignore_errors=True)

    def _hear(self) -> None:
        for event in self._crew.wait(BEAT_S):
            if isinstance(event, Ended):
                self._how_ended = event.reason
            else:
                self._outbox.append((dict(event.header), event.payload))


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
