"""`modeltest serve` in a child process."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

STOPPED = 128 + 15


@dataclass
class Server:
    """A server that runs.

    Attributes:
        url: Where.
        said: What it told when it ended; until then empty.
    """

    url: str
    said: str = ""


@contextmanager
def served_model(project: Path, model: str, *arguments: str) -> Iterator[Server]:
    """Serves a model on a free port until the block ends, in order."""
    command = [sys.executable, "-m", "modeltest", "serve", model, "--device", "cpu", "--port", "0"]
    with subprocess.Popen(
        [*command, *arguments],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(project)},
    ) as process:
        line = process.stderr.readline()
        found = re.search(r"on (http://\S+) ", line)
        try:
            assert found, line + process.stderr.read()
            server = Server(found[1])
            yield server
        finally:
            process.terminate()
            said = process.stderr.read()
    assert process.returncode == STOPPED
    server.said = said
