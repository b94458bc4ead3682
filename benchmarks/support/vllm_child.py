"""Serves one benchmark from vLLM's own environment; started by `vllm_engine`, never by hand.

Imports nothing of modeltest. Reads one JSON object per line, answers with one: `{"clips": FILE}`
(an .npz archive) gives `{"seconds": …, "ids": [[…], …]}`, timed around a single `LLM.generate`.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from typing import Any, TextIO

import numpy as np


def keep_standard_output() -> TextIO:
    """Standard output for answers alone; what others print to it goes to standard error."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return answers


def vllm() -> Any:
    """The library, which the benchmark's own environment need not have."""
    return importlib.import_module("vllm")


def load(options: dict[str, Any]) -> Any:
    """The offline engine, as vLLM's documentation starts it."""
    return vllm().LLM(
        options["model"],
        max_model_len=1024,
        **({"max_num_seqs": options["max_num_seqs"]} if options["max_num_seqs"] else {}),
        dtype=options["dtype"],
        enforce_eager=True,
        limit_mm_per_prompt={"audio": 1},
    )


def generate(engine: Any, options: dict[str, Any], archive: str) -> dict[str, Any]:
    """Replies to all clips in one call, vLLM's own scheduling, greedy."""
    with np.load(archive) as clips:
        waveforms = [clips[name] for name in clips.files]
    sampling = vllm().SamplingParams(
        temperature=0.0, max_tokens=options["new_tokens"], ignore_eos=True
    )
    prompts = [
        {"prompt": options["prompt"], "multi_modal_data": {"audio": (waveform, 16_000)}}
        for waveform in waveforms
    ]
    start_s = time.perf_counter()
    outputs = engine.generate(prompts, sampling, use_tqdm=False)
    seconds = time.perf_counter() - start_s
    return {"seconds": seconds, "ids": [list(output.outputs[0].token_ids) for output in outputs]}


def main() -> None:
    """Loads what the first argument describes, then answers until standard input ends."""
    options = json.loads(sys.argv[1])
    answers = keep_standard_output()
    engine = load(options)
    import torch

    ready = {"vllm": vllm().__version__, "torch_threads": torch.get_num_threads()}
    print(json.dumps(ready), file=answers, flush=True)
    for line in sys.stdin:
        answer = generate(engine, options, json.loads(line)["clips"])
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
