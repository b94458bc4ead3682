"""Whether perf's stage times are true: against a clock of its own, on stages of known length.

    python benchmarks/bench_timer.py [--rounds 15] [--batch-size 2] [--new-tokens 5] [--log FILE]

Runs the embedded model through the real backend and its two engines on the CPU. Hooks make each
stage longer by a known sleep and write down when it begins and ends, by CLOCK_MONOTONIC_RAW: the
hardware's clock, which neither modeltest nor NTP touches. A token is there once `argmax` has chosen
it from the logits. Every stage sleeps for another time, so
that a stage charged to its neighbour shows. `prepared ahead` gives the batch's features to the
engine as evaluation does, made before the call.

Prints per stage the sleep, the witness's time, perf's time and their difference, medians over the
rounds. Exit code 1 when a stage differs by more than 2 % and more than 0.2 ms. With --log every
time stamp of the witness is kept as a JSON line.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from support.clips import SAMPLING_RATE_HZ, make_clips

from modeltest.backends.transformers.backend import TransformersBackend, TransformersSettings
from modeltest.devices.cpu import CpuDevice
from modeltest.records import AUDIO_PLACEHOLDER, Audio, Generation, Prompt, Request, Timing
from modeltest.settings.paths import assets_dir

SLEEPS_S = {
    "features": 0.030,
    "encoder": 0.060,
    "prefill": 0.045,
    "step": 0.025,
    "detokenize": 0.015,
}
TOLERATED_SHARE, TOLERATED_S = 0.02, 0.0002
CASES = {
    "fast engine": ("fast", False),
    "fast engine, prepared ahead": ("fast", True),
    "stock engine": ("stock", False),
}
Times = dict[str, float]


@dataclass
class Witness:
    """Sleeps at the stages' beginnings and notes when they begin and end.

    Attributes:
        stamps: (what happened, nanoseconds of the raw clock) of the current batch.
        has_logits: A token can be chosen.
    """

    stamps: list[tuple[str, int]] = field(default_factory=list)
    has_logits: bool = False

    def note(self, event: str) -> None:
        """Reads the clock."""
        self.stamps.append((event, time.clock_gettime_ns(time.CLOCK_MONOTONIC_RAW)))

    def attach(self, backend: TransformersBackend, num_requests: int) -> None:
        """Hooks into a loaded backend; prompts are rendered once per request of a batch."""
        named = {type(module).__name__: module for module in backend.model.modules()}
        head = backend.model.get_output_embeddings()
        named["Qwen2AudioEncoder"].register_forward_pre_hook(self._encoder_begins)
        named["Qwen2AudioMultiModalProjector"].register_forward_hook(
            lambda *_: self.note("encoder ends")
        )
        named["Qwen2Model"].register_forward_pre_hook(self._pass_begins)
        head.register_forward_hook(self._logits_are_there)
        for owner in (torch, torch.Tensor):
            setattr(owner, "argmax", self._noting_the_token(owner.argmax))  # noqa: B010  (mypy: replaced)
        render, tokenizer = backend.render, backend.processor.tokenizer
        batch_decode, generate = tokenizer.batch_decode, backend.model.generate

        def slow_render(prompt: Prompt, num_clips: int) -> str:
            time.sleep(SLEEPS_S["features"] / num_requests)
            return render(prompt, num_clips)

        def slow_batch_decode(*args: Any, **kwargs: Any) -> Any:
            self.note("text begins")
            time.sleep(SLEEPS_S["detokenize"])
            texts = batch_decode(*args, **kwargs)
            self.note("text ends")
            return texts

        def noted_generate(**kwargs: Any) -> Any:
            self.note("features end")
            return generate(**kwargs)

        setattr(backend, "render", slow_render)  # noqa: B010  (mypy: a method is assigned to)
        tokenizer.batch_decode = slow_batch_decode
        backend.model.generate = noted_generate  # called by the stock engine only

    def times(self) -> Times:
        """Seconds of the batch's stages, by the stamps."""
        at = {event: stamp for event, stamp in self.stamps if event != "token"}
        tokens = [stamp for event, stamp in self.stamps if event == "token"]
        prepared = at.get("prepared", 0) - at.get("preparing", 0)
        nanoseconds = {
            "features": prepared + at.get("features end", at["encoder begins"]) - at["request"],
            "encoder": at["encoder ends"] - at["encoder begins"],
            "prefill": tokens[0] - at["encoder ends"],
            "TTFT": prepared + tokens[0] - at["request"],
            "step": (tokens[-1] - tokens[0]) / (len(tokens) - 1),
            "detokenize": at["text ends"] - at["text begins"],
            "e2e": prepared + at["text ends"] - at["request"],
        }
        return {stage: length / 1e9 for stage, length in nanoseconds.items()}

    def _encoder_begins(self, *_ignored: Any) -> None:
        self.note("encoder begins")
        time.sleep(SLEEPS_S["encoder"])

    def _logits_are_there(self, *_ignored: Any) -> None:
        self.has_logits = True

    def _noting_the_token(self, argmax: Callable[..., Any]) -> Callable[..., Any]:
        def noted(*args: Any, **kwargs: Any) -> Any:
            chosen = argmax(*args, **kwargs)
            if self.has_logits:
                self.note("token")
                self.has_logits = False
            return chosen

        return noted

    def _pass_begins(self, *_ignored: Any) -> None:
        is_prefill = all(event != "token" for event, _ in self.stamps)
        time.sleep(SLEEPS_S["prefill" if is_prefill else "step"])


def main() -> int:
    """Prints one table per case; 1 when a stage is off."""
    options = _options()
    num_wrong = 0
    log: list[str] = []
    for case, (engine, ahead) in CASES.items():
        backend, witness = _backend(engine), Witness()
        witness.attach(backend, options.batch_size)
        requests = _requests(options.batch_size, options.new_tokens)
        pairs = []
        for number in range(options.rounds + 1):
            pairs.append(_run(backend, witness, requests, ahead))
            log.append(json.dumps({"case": case, "round": number, "stamps": witness.stamps}))
        num_wrong += _report(case, pairs[1:], options.new_tokens)  # the first one warms up
    if options.log:
        options.log.write_text("".join(f"{line}\n" for line in log), encoding="utf-8")
    print(f"{num_wrong or 'no'} stage(s) off by more than 2 % and more than 0.2 ms")
    return 1 if num_wrong else 0


def _run(
    backend: TransformersBackend, witness: Witness, requests: Sequence[Request], ahead: bool
) -> tuple[Times, Times]:
    """One batch: (the witness's times, perf's)."""
    witness.stamps = []
    prepared = None
    if ahead:
        witness.note("preparing")
        prepared = backend.prepare(requests)
        witness.note("prepared")
        time.sleep(0.01)  # waiting for the engine; in nobody's time
    witness.note("request")
    replies = backend.generate(requests, prepared)
    if replies[0].timing is None:
        raise SystemExit("the backend gave no times")
    return witness.times(), _perf_times(replies[0].timing)


def _perf_times(timing: Timing) -> Times:
    stages = timing.stages
    if stages is None:
        raise SystemExit("the backend gave no stage times")
    return {
        "features": stages.feature_s,
        "encoder": stages.encoder_s,
        "prefill": stages.prefill_s,
        "TTFT": stages.ttft_s,
        "step": statistics.fmean(stages.step_s),
        "detokenize": stages.detokenize_s,
        "e2e": timing.e2e_s,
    }


def _report(case: str, pairs: Sequence[tuple[Times, Times]], new_tokens: int) -> int:
    """Prints a case; returns how many stages are off."""
    until_first = SLEEPS_S["features"] + SLEEPS_S["encoder"] + SLEEPS_S["prefill"]
    whole = until_first + (new_tokens - 1) * SLEEPS_S["step"] + SLEEPS_S["detokenize"]
    slept = {**SLEEPS_S, "TTFT": until_first, "e2e": whole}
    print(f"{case}, {len(pairs)} rounds")
    print(f"  {'stage':12}{'slept':>10}{'witness':>10}{'perf':>10}{'difference':>14}")
    num_wrong = 0
    for stage in pairs[0][0]:
        known, told = ([pair[side][stage] for pair in pairs] for side in (0, 1))
        middle_s = statistics.median(known)
        off_s = statistics.median(b - a for a, b in zip(known, told, strict=True))
        is_wrong = abs(off_s) > max(TOLERATED_SHARE * middle_s, TOLERATED_S)
        num_wrong += is_wrong
        print(
            f"  {stage:12}{slept[stage] * 1e3:7.1f} ms{middle_s * 1e3:7.2f} ms"
            f"{statistics.median(told) * 1e3:7.2f} ms{off_s * 1e3:+8.3f} ms"
            f"{off_s / middle_s:+8.2%}{'  OFF' if is_wrong else ''}"
        )
    return num_wrong


def _backend(engine: str) -> TransformersBackend:
    settings = TransformersSettings(assets_dir() / "qwen2_audio_tiny", "fp32", "sdpa", engine)
    backend = TransformersBackend(settings, CpuDevice())
    backend.load()
    return backend


def _requests(batch_size: int, new_tokens: int) -> list[Request]:
    lengths_s = [1.0 + 0.5 * (number % 3) for number in range(batch_size)]
    prompt = Prompt(f"{AUDIO_PLACEHOLDER}What kind of sound is this? ASSISTANT:", "raw")
    generation = Generation(new_tokens, ignore_eos=True)
    return [
        Request(str(number), (Audio(clip, SAMPLING_RATE_HZ, "", length_s),), prompt, generation)
        for number, (clip, length_s) in enumerate(
            zip(make_clips(lengths_s, 0), lengths_s, strict=True)
        )
    ]


def _at_least(least: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        value = int(text)
        if value < least:
            raise argparse.ArgumentTypeError(f"at least {least}")
        return value

    return number


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=_at_least(1), default=15, metavar="N")
    parser.add_argument("--batch-size", type=_at_least(1), default=2, metavar="N")
    parser.add_argument("--new-tokens", type=_at_least(2), default=5, metavar="N")
    parser.add_argument("--log", type=Path, metavar="FILE", help="the witness's time stamps")
    return parser.parse_args()


if __name__ == "__main__":
    raise SystemExit(main())
