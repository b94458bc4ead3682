"""vLLM's offline engine on the CPU, in a child process with an environment of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import numpy as np

from support.clips import Waveform

CHILD = Path(__file__).with_name("vllm_child.py")
_KV_CACHE_GIB = "1"


class VllmEngine:
    """A loaded engine that waits for clips; use as a context manager.

    It takes all clips of a round in one call and schedules them itself. It serves clips and
    prompts that it has seen from its caches: pass distinct clips only. Between calls its
    processes are stopped, because they poll and would take time from the other engines.
    """

    def __init__(self, python: Path, options: dict[str, Any], folder: Path) -> None:
        """Starts the child and waits until the model is loaded.

        Args:
            python: The interpreter of the environment that has vLLM.
            options: `model`, `dtype` (torch's name), `prompt`, `new_tokens`,
                `max_num_seqs` (0 for vLLM's own default).
            folder: Empty; for clips and the child's log.

        Raises:
            RuntimeError: The child ended; with the end of its log.
        """
        self._folder = folder
        self._log = folder / "vllm.log"
        with self._log.open("wb") as log:
            self._child = subprocess.Popen(
                [str(python), str(CHILD), json.dumps(options)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=_environment(),
                text=True,
                encoding="utf-8",
                start_new_session=True,
            )
        self.facts = self._answer()
        self._signal(signal.SIGSTOP)

    def __enter__(self) -> VllmEngine:
        return self

    def __exit__(self, *_exception: object) -> None:
        if self._child.poll() is None:
            self._signal(signal.SIGKILL)  # the whole group: engine and workers hold nothing
        self._child.wait()

    def generate(self, clips: list[Waveform]) -> tuple[float, list[tuple[int, ...]]]:
        """Seconds that the child measured around its call, and the new tokens of each clip."""
        archive = self._folder / "clips.npz"
        np.savez(archive, **{f"{index:06d}": clip for index, clip in enumerate(clips)})  # type: ignore[arg-type]
        assert self._child.stdin is not None
        self._signal(signal.SIGCONT)
        self._child.stdin.write(json.dumps({"clips": str(archive)}) + "\n")
        self._child.stdin.flush()
        answer = self._answer()
        self._signal(signal.SIGSTOP)
        return float(answer["seconds"]), [tuple(ids) for ids in answer["ids"]]

    def _signal(self, number: signal.Signals) -> None:
        os.killpg(self._child.pid, number)

    def _answer(self) -> dict[str, Any]:
        assert self._child.stdout is not None
        line = self._child.stdout.readline()
        if not line:
            self._child.wait()
            end = self._log.read_text(encoding="utf-8", errors="replace")[-2000:]
            raise RuntimeError(f"vLLM ended with exit code {self._child.returncode}:\n{end}")
        answer: dict[str, Any] = json.loads(line)
        return answer


def _environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return {
        **kept,
        "VLLM_CPU_KVCACHE_SPACE": _KV_CACHE_GIB,
        "VLLM_NO_USAGE_STATS": "1",
        "HF_HUB_OFFLINE": "1",
    }
