"""What an evaluation costs per clip: modeltest's fast engine, stock transformers, vLLM.

    python benchmarks/bench_eval.py [--shape embedded|proportional|large|all] [--clips N]
        [--rounds N] [--vllm-python PATH] [--vllm-max-num-seqs N]

Three models with random weights (support/random_model.py says how large and why), batches of 8,
exactly 6 new tokens per clip, clips of 1 to 10 s with VocalSound's mean of 4.2 s. Every round has
new clips of the same lengths, so that no cache can serve one; in each round the engines answer
the same clips one after the other, in an order that changes from round to round. Medians over the
rounds, ratios taken within each round.

    fast   modeltest's backend on length-sorted batches, features and detokenising included
    stock  processor and `generate` as a user writes them, 30 s of padding, order as given
    vllm   `vllm.LLM.generate` on all clips at once, own process and environment, own scheduling;
           only with --vllm-python, an interpreter that can import vllm

Prints how many replies differ from fast's (fp32: none of stock's may, or the exit code is 1), the
stages of fast, and how far it is from the time that its floating-point operations alone take at
the rate of a measured large matrix product.
"""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

# The fork of a tokenizer's threads is no matter here, the warning is.
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from support.clips import Waveform, draw_lengths_s, make_clips
from support.eval_engines import FastEngine, Limits, Outcome, StockLoop
from support.random_model import (
    PROMPT,
    SHAPES,
    Shape,
    prefill_to_encoder_ratio,
    write_checkpoint,
)
from support.vllm_engine import VllmEngine

from modeltest.runner.load_watch import LoadWatch

BATCH_SIZE, NEW_TOKENS = 8, 6
WARM_UP_SEED, LENGTH_SEED = 999_983, 0
Run = Callable[[Sequence[Waveform]], Outcome]


@dataclass(frozen=True, slots=True)
class Plan:
    """How much of a shape is run, and what is promised of it.

    Attributes:
        num_clips: Per round; chosen so that a shape takes less than 5 minutes on two cores.
        num_rounds: Odd, so that a median is a round's.
        targets: Least ratio of another engine's time to fast's.
    """

    num_clips: int
    num_rounds: int
    targets: dict[str, float]


PLANS = {
    "embedded": Plan(64, 5, {"stock": 8.0, "vllm": 12.0}),
    "proportional": Plan(48, 3, {"stock": 2.8, "vllm": 3.0}),
    "large": Plan(16, 3, {}),
}


def main() -> int:
    """Runs the shapes; 1 when a reply of stock in fp32 differs from fast's."""
    options = _options()
    # So that vLLM's processes end with this one.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    names = list(PLANS) if options.shape == "all" else [options.shape]
    num_wrong = 0
    for name in names:
        start_s = time.perf_counter()
        with tempfile.TemporaryDirectory(prefix="bench_eval_") as folder:
            num_wrong += bench(SHAPES[name], PLANS[name], options, Path(folder))
        print(f"  took {time.perf_counter() - start_s:.0f} s\n", flush=True)
    return int(num_wrong > 0)


def bench(shape: Shape, plan: Plan, options: argparse.Namespace, folder: Path) -> int:
    """Runs and prints one shape; returns how many replies are wrong."""
    num_clips = options.clips or plan.num_clips
    num_rounds = options.rounds or plan.num_rounds
    lengths_s = draw_lengths_s(num_clips, LENGTH_SEED)
    limits = Limits(BATCH_SIZE, NEW_TOKENS, options.prefetch)
    checkpoint = folder / "model"
    num_parameters = write_checkpoint(shape, checkpoint)
    _print_head(shape, num_parameters, lengths_s, num_rounds)
    fast, stock = FastEngine(checkpoint, shape, limits), StockLoop(checkpoint, shape, limits)
    engines: dict[str, Run] = {"fast": fast.run, "stock": stock.run}
    if options.vllm_python is None:
        print("  vllm skipped: give --vllm-python an interpreter that can import vllm")
        rounds = run_rounds(engines, lengths_s, num_rounds)
    else:
        with _start_vllm(options, checkpoint, shape, folder) as vllm:
            print(
                f"  vllm {vllm.facts['vllm']}, {vllm.facts['torch_threads']} threads, "
                f"max_num_seqs {options.vllm_max_num_seqs or 'its default'}"
            )
            engines["vllm"] = lambda clips: Outcome(*vllm.generate(list(clips)), {}, {})
            rounds = run_rounds(engines, lengths_s, num_rounds)
    print_speeds(rounds, plan.targets, num_clips)
    num_wrong = print_differences(rounds)
    print_stages(rounds["fast"], fast, shape, num_clips)
    print_flop_ratio(rounds["fast"][0], fast.stock_flops(make_clips(lengths_s, 1)))
    return num_wrong if shape.data_type == "fp32" else 0


def run_rounds(
    engines: dict[str, Run], lengths_s: list[float], num_rounds: int
) -> dict[str, list[Outcome]]:
    """Warms every engine up on clips of its own, then runs the rounds in turning order."""
    warm_up = make_clips(lengths_s[:BATCH_SIZE], WARM_UP_SEED)
    for run in engines.values():
        run(warm_up)
    names = list(engines)
    watch, loads = LoadWatch(), [0.0]
    outcomes: dict[str, list[Outcome]] = {name: [] for name in names}
    for number in range(num_rounds):
        clips = make_clips(lengths_s, number + 1)
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            watch.begin()
            outcome = engines[name](clips)
            if name != "vllm":  # which is another process itself
                loads.append(watch.other_load() or 0.0)
            if {len(ids) for ids in outcome.ids} != {NEW_TOKENS}:
                raise RuntimeError(f"{name}: replies of other lengths than {NEW_TOKENS} tokens")
            outcomes[name].append(outcome)
    print(
        f"  other programs took {statistics.mean(loads[1:]):.0%} of the cores' time, at most "
        f"{max(loads):.0%} in one run: {'repeat on an idle machine' if max(loads) > 0.1 else 'ok'}"
    )
    return outcomes


def print_speeds(
    rounds: dict[str, list[Outcome]], targets: dict[str, float], num_clips: int
) -> None:
    """Milliseconds per clip, and how often slower than fast each engine is."""
    for name, outcomes in rounds.items():
        print(f"  {name:<8}{_spread([o.seconds / num_clips * 1e3 for o in outcomes])} ms per clip")
    for name, outcomes in rounds.items():
        if name == "fast":
            continue
        ratios = [
            other.seconds / fast.seconds
            for other, fast in zip(outcomes, rounds["fast"], strict=True)
        ]
        best = min(o.seconds for o in outcomes) / min(o.seconds for o in rounds["fast"])
        line = f"  {name}/fast {_spread(ratios)} x, of the best rounds {best:.2f} x"
        if name in targets:
            verdict = "met" if statistics.median(ratios) >= targets[name] else "MISSED"
            line += f"   target {targets[name]:g} {verdict}"
        print(line)


def print_differences(rounds: dict[str, list[Outcome]]) -> int:
    """Replies whose token ids are not fast's; returns stock's number."""
    fast = [ids for outcome in rounds["fast"] for ids in outcome.ids]
    print(f"  {len(set(fast))} of {len(fast)} replies of fast are unlike all others")
    num_wrong = 0
    for name, outcomes in rounds.items():
        if name == "fast":
            continue
        other = [ids for outcome in outcomes for ids in outcome.ids]
        differ = [a != b for a, b in zip(fast, other, strict=True)]
        first = sum(a[0] != b[0] for a, b in zip(fast, other, strict=True))
        print(f"  {name}: {sum(differ)} of {len(fast)} replies differ, {first} in the first token")
        num_wrong += sum(differ) if name == "stock" else 0
    return num_wrong


def print_stages(outcomes: list[Outcome], engine: FastEngine, shape: Shape, num_clips: int) -> None:
    """The median round's stages, beside the time that their operations alone would take."""
    middle = sorted(outcomes, key=lambda outcome: outcome.seconds)[len(outcomes) // 2]
    if not middle.stages_s:
        print("  stages: the backend does not tell")
        return
    rate = measure_flops_per_s(engine, shape) if middle.work else 0.0
    per_clip_ms = 1e3 / num_clips
    print("  stages of fast   ms per clip   FLOP floor   times the floor   useful of executed")
    for stage, seconds in middle.stages_s.items():
        line = f"    {stage:<14}{seconds * per_clip_ms:12.3f}"
        if stage in middle.work:
            work = middle.work[stage]
            floor_s = work.useful_flops / rate
            share = work.useful_flops / work.executed_flops
            line += f"{floor_s * per_clip_ms:13.3f}{seconds / floor_s:18.2f}{share:21.0%}"
        print(line)
    if middle.work:
        floor_s = sum(work.useful_flops for work in middle.work.values()) / rate
        print(
            f"    {'all':<14}{middle.seconds * per_clip_ms:12.3f}{floor_s * per_clip_ms:13.3f}"
            f"{middle.seconds / floor_s:18.2f}   at {rate / 1e9:.0f} GFLOP/s, measured"
        )


def print_flop_ratio(fast: Outcome, stock_flops: float) -> None:
    """What stock/fast would be if every operation took the same time in both."""
    if fast.work:
        executed = sum(work.executed_flops for work in fast.work.values())
        useful = sum(work.useful_flops for work in fast.work.values())
        print(
            f"  by operations alone stock/fast is {stock_flops / executed:.2f} x, without any "
            f"padding in fast {stock_flops / useful:.2f} x"
        )


def measure_flops_per_s(engine: FastEngine, shape: Shape) -> float:
    """What a large matrix product reaches on the device in the shape's precision."""
    from modeltest.devices.peaks import measure_peaks

    return float(measure_peaks(engine.device, shape.data_type).flops_per_s)


def _start_vllm(
    options: argparse.Namespace, checkpoint: Path, shape: Shape, folder: Path
) -> VllmEngine:
    described = {
        "model": str(checkpoint),
        "dtype": shape.torch_dtype,
        "prompt": PROMPT,
        "new_tokens": NEW_TOKENS,
        "max_num_seqs": options.vllm_max_num_seqs,
    }
    return VllmEngine(options.vllm_python, described, folder)


def _print_head(shape: Shape, num_parameters: int, lengths_s: list[float], num_rounds: int) -> None:
    import torch
    import transformers

    print(
        f"{shape.name}: {num_parameters / 1e6:.1f} M parameters, {shape.data_type}, encoder to "
        f"prefill 1 : {prefill_to_encoder_ratio(shape):.2f} at 5 s (stock; 7B "
        f"1 : {prefill_to_encoder_ratio(SHAPES['7b']):.2f})\n"
        f"  {num_rounds} rounds of {len(lengths_s)} clips, {min(lengths_s):.1f} to "
        f"{max(lengths_s):.1f} s, mean {statistics.mean(lengths_s):.2f} s; batches of "
        f"{BATCH_SIZE}, {NEW_TOKENS} new tokens\n"
        f"  torch {torch.__version__}, transformers {transformers.__version__}, "
        f"{torch.get_num_threads()} threads",
        flush=True,
    )


def _spread(values: Sequence[float]) -> str:
    return f"{statistics.median(values):9.2f} ({min(values):.2f} to {max(values):.2f})"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shape", choices=[*PLANS, "all"], default="all")
    parser.add_argument("--clips", type=int, metavar="N", help="per round (default: the shape's)")
    parser.add_argument("--rounds", type=int, metavar="N", help="default: the shape's")
    parser.add_argument("--vllm-python", type=Path, metavar="PATH")
    parser.add_argument(
        "--vllm-max-num-seqs",
        type=int,
        default=BATCH_SIZE,
        metavar="N",
        help="sequences that vLLM runs at a time; 0 leaves it to vLLM, which was slower",
    )
    parser.add_argument(
        "--prefetch",
        action="store_true",
        help="fast prepares the next batch in a thread; eval does so on accelerators only",
    )
    return parser.parse_args()


if __name__ == "__main__":
    raise SystemExit(main())
