"""Stock against fast on an accelerator: Qwen2-Audio-7B's architecture with random weights.

    python benchmarks/bench_accelerator.py [--output DIR] [--bs 1,2,4,8,16] [--new-tokens 256]
        [--engines stock,fast] [--audio-seconds 5] [--repeats 3] [--max-seconds 420]
        [--device auto|cuda|npu|cpu] [--tiny]

For a machine with a CUDA GPU or an NPU and nothing but PyTorch, transformers, numpy, pandas and
pyyaml (with PYTHONPATH=. where modeltest is not installed): the weights are made on the device in
bf16, the clips are synthetic, the token ids are made by hand, no tokenizer and no checkpoint is
needed. Exactly so many new tokens, end tokens ignored; every repeat has clips of its own, which
all engines hear one after the other.

    stock  transformers' feature extractor with 30 s of padding, and `generate`
    fast   modeltest's fast engine

Prints a table and writes it as accelerator.csv and accelerator.md: medians over the repeats of
TTFT, TPOT, tokens per second and the stages by the device's events; MBU = bytes that decoding
must read / time / measured copy bandwidth; MFU = useful floating-point operations / time /
measured matmul rate, of the whole batch; peak memory; how many replies are stock's (in bf16 some
may differ); tokens per second relative to stock. A point that does not fit in memory, or for
which no time is left, is a row with valid=false. `--tiny` runs everything on a small model.
"""

from __future__ import annotations

import argparse
import dataclasses
import gc
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from support.accelerator_table import Answer, Point, make_rows, write_tables
from support.clips import SAMPLING_RATE_HZ, Waveform, make_clips
from support.random_model import SHAPES, Shape, config_dict, make_model

from modeltest.devices.factory import choose, make_device
from modeltest.devices.peaks import Peaks, measure_peaks
from modeltest.protocols import Device
from modeltest.records import StageWork

NUM_PARAMETERS_7B = 8_397_094_912
NUM_TEXT_TOKENS_BEFORE, NUM_TEXT_TOKENS_BEHIND = 10, 50
WARM_UP_SEED = 999_983
NO_TIME_LEFT, OUT_OF_MEMORY = "no time left", "out of memory"


class Bench:
    """A model on a device, and prompts for it."""

    def __init__(self, shape: Shape, device: Device, num_new_tokens: int) -> None:
        import transformers

        self.device = device
        self.num_new_tokens = num_new_tokens
        self.model = make_model(shape, device.torch_name)
        self.config = self.model.config
        self.extractor = transformers.WhisperFeatureExtractor(
            feature_size=128, return_attention_mask=True
        )
        # The configuration's name for it differs between releases.
        self.audio_id = int(config_dict(shape)["audio_token_index"])

    @property
    def num_parameters(self) -> int:
        """Of the whole model."""
        return sum(parameter.numel() for parameter in self.model.parameters())

    def num_frames(self, clip: Waveform) -> int:
        """Mel frames that hold the clip, a begun one included."""
        return -(-len(clip) // int(self.extractor.hop_length))

    def input_ids(self, clips: Sequence[Waveform]) -> Any:
        """Text, the clip's audio tokens, text: (B, T) int64 on the host; clips of one length."""
        import torch

        [num_frames] = {self.num_frames(clip) for clip in clips}
        num_audio = ((num_frames - 1) // 2 + 1 - 2) // 2 + 1
        before = list(range(1, 1 + NUM_TEXT_TOKENS_BEFORE))
        behind = list(range(100, 100 + NUM_TEXT_TOKENS_BEHIND))
        return torch.tensor([[*before, *[self.audio_id] * num_audio, *behind]] * len(clips))

    def work(self, clips: Sequence[Waveform], fast: bool) -> dict[str, StageWork]:
        """Operations and bytes per stage."""
        from modeltest.backends.transformers.work import BatchShape, batch_work

        rows = len(clips)
        shape = BatchShape(
            frames=[[self.num_frames(clip)] for clip in clips],
            text_tokens=[NUM_TEXT_TOKENS_BEFORE + NUM_TEXT_TOKENS_BEHIND] * rows,
            output_tokens=[self.num_new_tokens] * rows,
        )
        return batch_work(self.config, shape, bytes_per_value=2, fast=fast)


Engine = Callable[[Sequence[Waveform], Any], Any]
"""Takes clips and a StageClock; gives new tokens, (B, steps), and has marked every stage."""


def stock_engine(bench: Bench) -> Engine:
    """Features of 30 s and `generate`, as a user calls them; the marks are hooks."""
    import torch
    import transformers

    from modeltest.backends.transformers.generation import TokenMarks

    config = transformers.GenerationConfig(
        max_new_tokens=bench.num_new_tokens, do_sample=False, use_cache=True, pad_token_id=0
    )
    bench.model.generation_config = config
    [projector] = [
        module
        for module in bench.model.modules()
        if type(module).__name__ == "Qwen2AudioMultiModalProjector"
    ]

    def answer(clips: Sequence[Waveform], clock: Any) -> Any:
        name = bench.device.torch_name
        features = bench.extractor(
            list(clips),
            sampling_rate=SAMPLING_RATE_HZ,
            padding="max_length",
            return_attention_mask=True,
            return_tensors="pt",
        )
        ids = bench.input_ids(clips).to(name)
        on_device = {
            "input_ids": ids,
            "attention_mask": torch.ones_like(ids),
            "input_features": features["input_features"].to(name, bench.model.dtype),
            "feature_attention_mask": features["attention_mask"].to(name),
        }
        clock.features_done()
        hook = projector.register_forward_hook(lambda *_: clock.encoder_done())
        try:
            rows = bench.model.generate(**on_device, stopping_criteria=[TokenMarks(clock)])
        finally:
            hook.remove()
        return rows[:, ids.shape[1] :]

    return answer


def fast_engine(bench: Bench) -> Engine:
    """Modeltest's fast engine without a processor."""
    import torch

    from modeltest.backends.transformers import trim
    from modeltest.backends.transformers.fast import Batch, FastGenerator, Limits
    from modeltest.backends.transformers.log_mel import LogMel

    generator, log_mel = FastGenerator(bench.model), LogMel(bench.extractor)

    def answer(clips: Sequence[Waveform], clock: Any) -> Any:
        frames = [bench.num_frames(clip) for clip in clips]
        positions = trim.positions_needed(max(frames), generator.max_positions)
        ids = bench.input_ids(clips)
        batch = Batch(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            features=log_mel(clips, positions * trim.FRAMES_PER_POSITION),
            num_frames=torch.tensor(frames),
            is_audio=ids == bench.audio_id,
        )
        on_device = generator.to_device(batch, bench.device.torch_name)
        clock.features_done()
        return generator.generate(on_device, Limits(bench.num_new_tokens), 0, clock).tokens

    return answer


ENGINES: dict[str, Callable[[Bench], Engine]] = {"stock": stock_engine, "fast": fast_engine}


def timed(bench: Bench, engine: Engine, clips: Sequence[Waveform]) -> Answer:
    """Answers a batch; the device is drained before and behind it."""
    import torch

    from modeltest.backends.transformers.stages import StageClock

    clock = StageClock(bench.device)
    bench.device.reset_peak_memory()
    with no_collection(), torch.inference_mode():
        clock.start()
        rows = engine(clips, clock)
        tokens = [tuple(row) for row in rows.tolist()]
        clock.generated()
        clock.decoded()
        timing = clock.times()
    if {len(row) for row in tokens} != {bench.num_new_tokens}:
        raise RuntimeError(f"replies of other lengths than {bench.num_new_tokens} tokens")
    return Answer(timing, tokens, bench.device.peak_memory_bytes())


@contextmanager
def no_collection() -> Iterator[None]:
    """Keeps Python's garbage collector out of a timed region."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def sweep(
    bench: Bench, points: Sequence[Point], options: argparse.Namespace, deadline_s: float
) -> None:
    """Fills the points: all engines of a batch size in turn, repeat by repeat."""
    engines = {name: ENGINES[name](bench) for name in options.engines}
    for size in options.bs:
        here = [point for point in points if point.batch_size == size]
        for repeat in range(options.repeats + 1):
            seed = WARM_UP_SEED + size if repeat == 0 else 1000 * size + repeat
            clips = make_clips([options.audio_seconds] * size, seed)
            for point in here:
                if not point.invalid_reason:
                    answer_point(bench, engines[point.engine], point, clips, deadline_s)
            if repeat == 0:  # the warm-up, at the point's own shape
                for point in here:
                    point.answers.clear()
        for point in here:
            if point.answers:
                point.invalid_reason = ""
            print(describe(point), flush=True)


def answer_point(
    bench: Bench, engine: Engine, point: Point, clips: Sequence[Waveform], deadline_s: float
) -> None:
    """One more answer of a point, or the reason why there is none."""
    if time.monotonic() > deadline_s:
        point.invalid_reason = NO_TIME_LEFT
        return
    try:
        point.answers.append(timed(bench, engine, clips))
        return
    except Exception as error:  # memory that ran out has a type of its own on each device
        if not bench.device.is_out_of_memory(error):
            raise
    # Out here the traceback, which holds the batch's tensors, is gone.
    point.answers.clear()
    point.invalid_reason = OUT_OF_MEMORY
    bench.device.free_memory()


def describe(point: Point) -> str:
    """One line while the user waits."""
    start = f"{point.engine:<6} bs {point.batch_size:<3}"
    if not point.answers:
        return f"{start} {point.invalid_reason}"
    e2e_s = statistics.median(answer.timing.e2e_s for answer in point.answers)
    return f"{start} {e2e_s:8.2f} s per batch, {len(point.answers)} repeats"


def make_head(bench: Bench, peaks: Peaks, options: argparse.Namespace) -> str:
    """What was run on what."""
    import torch
    import transformers

    name = bench.device.facts()["name"]
    return (
        f"{name}, torch {torch.__version__}, transformers {transformers.__version__}; "
        f"{bench.num_parameters:,} parameters in bf16, random; {options.audio_seconds:g} s of "
        f"audio, {NUM_TEXT_TOKENS_BEFORE + NUM_TEXT_TOKENS_BEHIND} text tokens, "
        f"{options.new_tokens} new tokens; peaks {peaks.bandwidth_bytes_per_s / 1e9:.0f} GB/s and "
        f"{peaks.flops_per_s / 1e12:.3g} TFLOP/s ({peaks.source})"
    )


def main() -> None:
    """Makes the model, sweeps, prints and writes the table."""
    options = _options()
    start_s = time.monotonic()
    device = make_device(choose(options.device))
    shape = SHAPES["embedded" if options.tiny else "7b"]
    peaks = measure_peaks(device, "bf16")
    bench = Bench(dataclasses.replace(shape, data_type="bf16"), device, options.new_tokens)
    if not options.tiny and bench.num_parameters != NUM_PARAMETERS_7B:
        raise SystemExit(f"the model has {bench.num_parameters:,} parameters, not the 7B's")
    head = make_head(bench, peaks, options)
    print(f"{head}\nready after {time.monotonic() - start_s:.0f} s", flush=True)
    points = [Point(engine, size) for size in options.bs for engine in options.engines]
    sweep(bench, points, options, start_s + options.max_seconds)

    def work_of(point: Point) -> dict[str, StageWork]:
        clips = make_clips([options.audio_seconds] * point.batch_size, seed=0)
        return bench.work(clips, fast=point.engine == "fast")

    rows = make_rows(points, peaks, work_of)
    print(write_tables(rows, head, options.output))
    print(f"took {time.monotonic() - start_s:.0f} s; tables in {options.output}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, default=Path("outputs/accelerator"), metavar="DIR")
    parser.add_argument("--bs", type=_sizes, default=[1, 2, 4, 8, 16], metavar="N,N,…")
    parser.add_argument("--engines", type=_engines, default=list(ENGINES), metavar="NAME,…")
    parser.add_argument("--new-tokens", type=int, default=256, metavar="N")
    parser.add_argument("--audio-seconds", type=float, default=5.0, metavar="S")
    parser.add_argument("--repeats", type=int, default=3, metavar="N")
    parser.add_argument(
        "--max-seconds", type=float, default=420.0, metavar="S", help="begin nothing after that"
    )
    parser.add_argument("--device", choices=["auto", "cuda", "npu", "cpu"], default="auto")
    parser.add_argument("--tiny", action="store_true", help="a small model, for a trial")
    return parser.parse_args()


def _sizes(text: str) -> list[int]:
    sizes = [int(size) for size in text.split(",")]
    if min(sizes) < 1:
        raise argparse.ArgumentTypeError("batch sizes start at 1")
    return sizes


def _engines(text: str) -> list[str]:
    names = text.split(",")
    if not set(names) <= set(ENGINES):
        raise argparse.ArgumentTypeError(f"choose from {', '.join(ENGINES)}")
    return names


if __name__ == "__main__":
    main()
