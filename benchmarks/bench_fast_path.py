"""What each part of the fast engine is worth: the engine without it, against the whole.

    python benchmarks/bench_fast_path.py [--shape embedded|proportional|large] [--clips N]
        [--rounds N] [--new-tokens N]

Takes one part away at a time (support/random_model.py has the models) and runs it in turn with
the whole engine on the same clips, 8 at a time. Prints per part the median over the rounds of
the time without it divided by the time with it: above 1 the part makes it faster. Parts marked
"tried" are no part of the engine; there the ratio is the time with it by the time without it,
so that above 1 it makes it slower.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest import mock

from support.clips import Waveform, draw_lengths_s, make_clips
from support.eval_engines import FastEngine, Limits
from support.random_model import SHAPES, write_checkpoint

from modeltest.backends.transformers import fast, fast_inputs, trim
from modeltest.backends.transformers.log_mel import LogMel

Patch = Callable[[FastEngine], Any]


@dataclass(frozen=True, slots=True)
class Variant:
    """The engine with one thing otherwise.

    Attributes:
        name: What is missing, or what was tried.
        patch: Context in which the engine is changed.
        in_order: Batches in the clips' given order instead of by length.
        prefetch: Prepare the next batch in a thread.
    """

    name: str
    patch: Patch = lambda _: nullcontext()
    in_order: bool = False
    prefetch: bool = False


def thirty_seconds(_: FastEngine) -> Any:
    """The encoder on its full length."""
    return mock.patch.object(trim, "positions_needed", lambda _frames, longest: longest)


def growing_cache(_: FastEngine) -> Any:
    """The library's own cache, which copies itself at each step."""
    from transformers import DynamicCache

    class Growing(DynamicCache):  # type: ignore[misc]
        def __init__(self, _max_length: int) -> None:
            super().__init__()

    return mock.patch.object(fast, "PreallocatedCache", Growing)


class WithAllLogits:
    """The language model's body, followed by the head on all positions."""

    def __init__(self, body: Any, head: Any) -> None:
        self.layers = body.layers
        self._body, self._head = body, head

    def __call__(self, **inputs: Any) -> Any:
        """One pass."""
        output = self._body(**inputs)
        self._head(output.last_hidden_state)
        return output


def all_logits(_: FastEngine) -> Any:
    """The head on every position of the prompt."""
    real = fast.FastGenerator.generate

    def generate(self: Any, *arguments: Any) -> Any:
        with mock.patch.object(self, "_body", WithAllLogits(self._body, self._head)):
            return real(self, *arguments)

    return mock.patch.object(fast.FastGenerator, "generate", generate)


def last_layer_whole(_: FastEngine) -> Any:
    """The last layer's products and MLP on every position of the prompt."""
    whole = nullcontext()
    return mock.patch.object(fast.FastGenerator, "_last_position_only", return_value=whole)


class CompiledStep:
    """The language model's body, its passes over one new token compiled by torch.compile."""

    def __init__(self, body: Any) -> None:
        import torch

        self.layers = body.layers
        self._body = body
        self._step = torch.compile(body, dynamic=True)

    def __call__(self, **inputs: Any) -> Any:
        """One pass."""
        is_step = inputs["inputs_embeds"].shape[1] == 1
        return (self._step if is_step else self._body)(**inputs)


def compiled_step() -> Patch:
    """Compiled once: what is timed is running it, not the compiler, which the first run meets."""
    steps: dict[int, CompiledStep] = {}
    real = fast.FastGenerator.generate

    def generate(self: Any, *arguments: Any) -> Any:
        step = steps.setdefault(id(self), CompiledStep(self._body))
        with mock.patch.object(self, "_body", step):
            return real(self, *arguments)

    return lambda _: mock.patch.object(fast.FastGenerator, "generate", generate)


def clip_by_clip(_: FastEngine) -> Any:
    """Log-mel of each clip alone."""
    real = LogMel.__call__

    def singly(self: LogMel, waveforms: Sequence[Waveform], num_frames: int) -> Any:
        import torch

        return torch.cat([real(self, [waveform], num_frames) for waveform in waveforms])

    return mock.patch.object(LogMel, "__call__", singly)


def extractors_features(engine: FastEngine) -> Any:
    """The library's feature extractor on 30 s, cut afterwards."""
    extractor = engine.backend.processor.feature_extractor

    def whole(_: LogMel, waveforms: Sequence[Waveform], num_frames: int) -> Any:
        made = extractor(
            list(waveforms), sampling_rate=extractor.sampling_rate, return_tensors="pt"
        )
        return made["input_features"][:, :, :num_frames]

    return mock.patch.object(fast_inputs.LogMel, "__call__", whole)


WHOLE = Variant("the whole engine")
VARIANTS = (
    Variant("encoder on 30 s", thirty_seconds),
    Variant("batches in the given order", in_order=True),
    Variant("the extractor's features of 30 s", extractors_features),
    Variant("log-mel clip by clip", clip_by_clip),
    Variant("logits of all positions", all_logits),
    Variant("last layer on all positions", last_layer_whole),
    Variant("growing cache", growing_cache),
    Variant("tried: next batch prepared in a thread", prefetch=True),
    Variant("tried: decoding steps compiled", compiled_step()),
)


def main() -> None:
    """Prints one line per part."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--shape", choices=tuple(SHAPES), default="embedded")
    parser.add_argument("--clips", type=int, default=48, metavar="N")
    parser.add_argument("--rounds", type=int, default=7, metavar="N")
    parser.add_argument("--new-tokens", type=int, default=6, metavar="N")
    options = parser.parse_args()
    shape = SHAPES[options.shape]
    with tempfile.TemporaryDirectory() as folder:
        write_checkpoint(shape, Path(folder) / "model")
        engine = FastEngine(Path(folder) / "model", shape, Limits(8, options.new_tokens, False))
        measure(engine, options)


def measure(engine: FastEngine, options: argparse.Namespace) -> None:
    """Each variant in turn with the whole engine, new clips in every round."""
    lengths_s = draw_lengths_s(options.clips, seed=0)
    engine.run(make_clips(lengths_s[:8], seed=999))
    print(f"{options.shape}, {options.clips} clips, {options.new_tokens} new tokens, medians")
    for number, variant in enumerate(VARIANTS):
        run(engine, variant, make_clips(lengths_s, seed=998))  # compiles, allocates
        ratios = []
        for turn in range(options.rounds):
            clips = make_clips(lengths_s, seed=100 * number + turn)
            order = (WHOLE, variant) if turn % 2 else (variant, WHOLE)
            outcomes = {which.name: run(engine, which, clips) for which in order}
            whole, other = outcomes[WHOLE.name], outcomes[variant.name]
            if whole.ids != other.ids:
                raise SystemExit(f"{variant.name}: other replies")
            ratios.append(other.seconds / whole.seconds)
        low, high = min(ratios), max(ratios)
        print(
            f"  {statistics.median(ratios):5.2f} x  ({low:.2f} to {high:.2f})  {variant.name}",
            flush=True,
        )


def run(engine: FastEngine, variant: Variant, clips: Sequence[Waveform]) -> Any:
    """One round with the variant."""
    limits = engine.limits
    engine.limits = replace(limits, prefetch=variant.prefetch, in_order=variant.in_order)
    try:
        with variant.patch(engine):
            return engine.run(clips)
    finally:
        engine.limits = limits


if __name__ == "__main__":
    main()
