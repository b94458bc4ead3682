"""A real vLLM server on loopback, started and stopped."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MODEL_NAME = "qwen2_audio"
READY_S = 300.0
_STOP_S = 30.0
_OPTIONS = (
    "--served-model-name", MODEL_NAME, "--max-model-len", "1024", "--dtype", "float32",
    "--enforce-eager", "--limit-mm-per-prompt", '{"audio": 2}', "--host", "127.0.0.1",
)  # fmt: skip


@contextmanager
def vllm_server(python: Path, model: Path, log: Path) -> Iterator[str]:
    """Serves a model in fp32 and yields the server's address once it is well.

    Args:
        python: The interpreter of the environment that has vLLM.
        model: The checkpoint's folder.
        log: Where the server's output goes.

    Raises:
        RuntimeError: It does not come up; with the end of its output.
    """
    port = free_port()
    command = [str(python), "-m", "vllm.entrypoints.openai.api_server", "--model", str(model)]
    with log.open("wb") as output:
        server = subprocess.Popen(
            [*command, *_OPTIONS, "--port", str(port)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=_environment(),
            start_new_session=True,
        )
    address = f"http://127.0.0.1:{port}"
    try:
        _wait_until_well(address, server, log)
        yield address
    finally:
        _stop(server)


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _environment() -> dict[str, str]:
    """This process's, without what the gates set for modeltest; nothing is fetched or told."""
    ours = {"PYTHONPATH", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"}
    kept = {name: value for name, value in os.environ.items() if name not in ours}
    return kept | {
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
        "HF_HUB_OFFLINE": "1",
    }


def _wait_until_well(address: str, server: subprocess.Popen[bytes], log: Path) -> None:
    end_s = time.monotonic() + READY_S
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    while time.monotonic() < end_s and server.poll() is None:
        try:
            with opener.open(f"{address}/health", timeout=5) as answer:
                if answer.status == 200:
                    return
        except (urllib.error.URLError, OSError):
            pass
        time.sleep(0.5)
    tail = log.read_text("utf-8", "replace")[-2000:]
    raise RuntimeError(f"the vLLM server did not come up in {READY_S:g} s:\n{tail}")


def _stop(server: subprocess.Popen[bytes]) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(server.pid, number)
            server.wait(_STOP_S)
        except ProcessLookupError:
            break
        except subprocess.TimeoutExpired:
            continue
    server.wait(_STOP_S)
