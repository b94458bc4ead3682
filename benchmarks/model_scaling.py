"""What more devices bring: a model of start-up, cost per batch, the driver and the tail.

    python benchmarks/model_scaling.py [RUN] [--samples N,N] [--bs N] [--devices N,N]
        [--batch-s S] [--per-audio-s S] [--start-s S] [--weights-gb GB] [--storage-gb-s GB]
        [--per-host N] [--driver-ms MS] [--plot FILE]

Nothing is measured here: the constants are. With RUN, the folder of a finished run by one
process, cost per batch and start-up are read from its log, and its clips' lengths are drawn
from; an option overrides what the run says. The cost of a batch is a line, fitted by least
squares, in the seconds of audio that it is padded to (longest clip times clips).

Batches are planned and dealt by modeltest's own `batch_plan` and `Deck` to that many devices; a
worker holds one batch beside the one in work; the driver takes `--driver-ms` per answered batch,
one after the other. All workers load at once: with `--weights-gb` and `--storage-gb-s` not faster
than the storage can give every host the weights once.

Prints, per number of samples and devices: batches per device, seconds until the workers are
ready, of the evaluation and of both, the speed-up and efficiency against one device, and how far
the evaluation is from its lower bound, the greater one of all work by devices and the costliest
batch. `--plot` draws speed-up and efficiency.
"""

from __future__ import annotations

import argparse
import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from modeltest.records import AudioFacts, Sample
from modeltest.runlog.run_log import RunContent, read_run
from modeltest.runner.batches import Batch, Member, batch_plan
from modeltest.runner.parallel.deck import Deck

DEVICES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
COLOURS = ("#1f6fb2", "#d1711f", "#2b9a8b", "#7b4fa3")
_AHEAD = 1
_SEED = 0
_HEADER = (
    f"{'samples':>9}{'devices':>9}{'batches/device':>16}{'ready s':>9}{'eval s':>11}"
    f"{'total s':>11}{'speed-up':>10}{'efficiency %':>14}{'over bound %':>14}"
)


@dataclass(frozen=True, slots=True)
class Constants:
    """What was measured, or is assumed.

    Attributes:
        batch_s: Of any batch, seconds.
        per_audio_s: More for each padded second of audio of a batch, seconds.
        start_s: From the start of a process until it is ready, alone, seconds.
        driver_s: Of the driver's time, for each answered batch, seconds.
        batch_size: Clips per batch.
        weights_gb: Read once by each host, whose workers share its page cache.
        storage_gb_s: Given to all hosts together; 0 is no limit.
        per_host: Devices of a host.
    """

    batch_s: float
    per_audio_s: float
    start_s: float
    driver_s: float
    batch_size: int
    weights_gb: float = 0.0
    storage_gb_s: float = 0.0
    per_host: int = 8

    def ready_s(self, num_devices: int) -> float:
        """Until so many workers that start together are ready, seconds."""
        if not self.storage_gb_s:
            return self.start_s
        num_hosts = -(-num_devices // self.per_host)
        return max(self.start_s, num_hosts * self.weights_gb / self.storage_gb_s)


@dataclass(frozen=True, slots=True)
class Modelled:
    """An evaluation that did not take place.

    Attributes:
        num_samples: Clips.
        num_devices: Workers.
        num_batches: All of them.
        ready_s: Until the workers are ready.
        eval_s: From there to the last reply.
        bound_s: No dealing takes less than this for the evaluation.
        alone_s: What one device takes, start-up included.
    """

    num_samples: int
    num_devices: int
    num_batches: int
    ready_s: float
    eval_s: float
    bound_s: float
    alone_s: float

    @property
    def total_s(self) -> float:
        """Start-up included."""
        return self.ready_s + self.eval_s

    @property
    def speed_up(self) -> float:
        """Against one device."""
        return self.alone_s / self.total_s

    @property
    def efficiency(self) -> float:
        """Of each device's time, against one device."""
        return self.speed_up / self.num_devices


def batches_of(seconds: NDArray[np.float64], batch_size: int) -> Iterator[tuple[Batch, float]]:
    """The batches of clips of these lengths, and the audio that each is padded to, seconds."""
    facts = [(AudioFacts("", 0, float(s), 16_000, 1, ""),) for s in seconds]
    for indices in batch_plan(facts, batch_size):
        members = [Member(i, Sample(str(i), (), ""), facts[i], "", True) for i in indices]
        yield Batch(members), float(seconds[indices].max()) * len(indices)


def dealt(deck: Deck, costs: Sequence[float], num_devices: int, driver_s: float) -> float:
    """Seconds until the last batch of a deck is answered.

    Args:
        deck: Waiting batches.
        costs: Seconds of each batch, by its number.
        num_devices: Workers, all ready at 0.
        driver_s: What the driver needs to note a reply and deal the next batch.
    """
    free_s, num_held = [0.0] * num_devices, [0] * num_devices
    driver_free_s = last_s = 0.0
    answers: list[tuple[float, int]] = []

    def deal_to(worker: int, now_s: float) -> None:
        if (deal := deck.take()) is not None:
            num_held[worker] += 1
            free_s[worker] = max(free_s[worker], now_s) + costs[deal.number]
            heapq.heappush(answers, (free_s[worker], worker))

    for held in range(1 + _AHEAD):  # as the coordinator deals
        for worker in range(num_devices):
            if not held or len(deck) >= num_devices:
                deal_to(worker, 0.0)
    while answers:
        answered_s, worker = heapq.heappop(answers)
        last_s = driver_free_s = max(driver_free_s, answered_s) + driver_s
        num_held[worker] -= 1
        while num_held[worker] <= _AHEAD and (not num_held[worker] or len(deck) >= num_devices):
            if not deck:
                break
            deal_to(worker, driver_free_s)
    return last_s


def modelled(
    seconds: NDArray[np.float64], constants: Constants, devices: Sequence[int]
) -> list[Modelled]:
    """Evaluations of clips of these lengths by these numbers of devices."""
    planned = list(batches_of(seconds, constants.batch_size))
    costs = [constants.batch_s + constants.per_audio_s * audio_s for _, audio_s in planned]
    work_s, longest_s = sum(costs), max(costs)
    alone_s = constants.ready_s(1) + dealt(
        Deck(batch for batch, _ in planned), costs, 1, constants.driver_s
    )
    return [
        Modelled(
            num_samples=len(seconds),
            num_devices=count,
            num_batches=len(costs),
            ready_s=constants.ready_s(count),
            eval_s=dealt(Deck(batch for batch, _ in planned), costs, count, constants.driver_s),
            bound_s=max(work_s / count, longest_s),
            alone_s=alone_s,
        )
        for count in devices
    ]


def clip_seconds(known: NDArray[np.float64], num_samples: int) -> NDArray[np.float64]:
    """So many lengths, drawn from those that are known; all of them if that many are asked."""
    if num_samples == len(known):
        return known
    return np.random.default_rng(_SEED).choice(known, num_samples)


def like_vocalsound(num_samples: int = 10_000) -> NDArray[np.float64]:
    """Lengths of 1 to 10 s with a mean of about 4.2 s, where no run gives any."""
    return 1.0 + 9.0 * np.random.default_rng(_SEED).beta(1.7, 3.1, num_samples)


def measured(run: RunContent, driver_s: float) -> tuple[Constants, NDArray[np.float64], float]:
    """Constants and clip lengths of a run by one process, and how good the line is.

    Returns:
        The constants, the lengths in seconds, and the share of the batches' variance that the
        line explains (R²).

    Raises:
        SystemExit: The run says too little.
    """
    phases = {phase["name"]: phase for phase in run.phases}
    if run.manifest.get("dp", 1) != 1 or not {"load", "warm_up", "eval"} <= set(phases):
        raise SystemExit(f"{run.folder}: give a finished run by one process (without --dp)")
    samples = list(run.samples)
    seconds = np.array([sum(clip["heard_s"] for clip in s["clips"]) for s in samples])
    e2e_s = np.array([(s["response"]["timing"] or {"e2e_s": np.nan})["e2e_s"] for s in samples])
    size = int(run.manifest["model"]["settings"]["batch_size"])
    plan = list(batch_plan([(AudioFacts("", 0, float(s), 1, 1, ""),) for s in seconds], size))
    audio_s = np.array([seconds[indices].max() * len(indices) for indices in plan])
    batch_s = np.array([np.nanmax(e2e_s[indices]) for indices in plan])
    per_audio_s, fixed_s = np.polyfit(audio_s, batch_s, 1)
    residual = batch_s - (fixed_s + per_audio_s * audio_s)
    beside_s = max(0.0, phases["eval"]["seconds"] - float(batch_s.sum())) / len(plan)
    start_s = phases["load"]["seconds"] + phases["warm_up"]["seconds"]
    constants = Constants(
        float(fixed_s) + beside_s, float(per_audio_s), start_s, driver_s, batch_size=size
    )
    return constants, seconds, 1.0 - float(residual.var() / batch_s.var())


def line(row: Modelled) -> str:
    """One row of the table."""
    over = 100 * (row.eval_s / row.bound_s - 1)
    return (
        f"{row.num_samples:>9,}{row.num_devices:>9,}{row.num_batches / row.num_devices:>16.1f}"
        f"{row.ready_s:>9.1f}{row.eval_s:>11.1f}{row.total_s:>11.1f}{row.speed_up:>10.1f}"
        f"{100 * row.efficiency:>14.1f}{over:>14.1f}"
    )


def draw(groups: Sequence[Sequence[Modelled]], what: str, path: Path) -> None:
    """Speed-up and efficiency by number of devices, a line per number of samples."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10.0, 4.6), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    devices = [row.num_devices for row in groups[0]]
    left.plot(devices, devices, color="#8c9aa8", linestyle="--", label="ideal")
    for rows, colour in zip(groups, COLOURS, strict=False):
        style = {"color": colour, "marker": "o", "markersize": 4}
        label = f"{rows[0].num_samples:,} clips"
        left.plot(devices, [row.speed_up for row in rows], label=label, **style)
        right.plot(devices, [100 * row.efficiency for row in rows], label=label, **style)
    left.set_yscale("log", base=2)
    left.set_ylabel("speed-up, start-up included")
    right.set_ylabel("efficiency, %")
    right.set_ylim(0, 105)
    for axes in (left, right):
        axes.set_xscale("log", base=2)
        axes.set_xticks(devices, [str(count) for count in devices], fontsize=8)
        axes.set_xlabel("devices")
        axes.grid(True, color="#e3e7ec", linewidth=0.8)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, fontsize=9)
    left.set_yticks(devices, [str(count) for count in devices], fontsize=8)
    figure.suptitle("Modelled, not measured: more devices", x=0.01, ha="left", fontweight="bold")
    left.set_title(what, loc="left", fontsize=8, color="#5a6672")
    figure.savefig(path, format="png", metadata={"Software": None})


def main() -> None:
    """Reads the constants, prints the table, draws the plot."""
    options = _options()
    constants, known = _constants(options)
    what = (
        f"a batch of {constants.batch_size}: {constants.batch_s:.4g} s + "
        f"{constants.per_audio_s:.4g} s per padded second; ready in {constants.start_s:.3g} s; "
        f"driver {1000 * constants.driver_s:g} ms a batch"
    )
    if constants.storage_gb_s:
        what += (
            f"\n{constants.weights_gb:g} GB of weights to each host of {constants.per_host} "
            f"devices, from storage that gives {constants.storage_gb_s:g} GB/s"
        )
    print(what)
    print(_HEADER)
    groups = []
    for count in options.samples or [len(known)]:
        rows = modelled(clip_seconds(known, count), constants, options.devices)
        groups.append(rows)
        print("\n".join(map(line, rows)))
    if options.plot:
        draw(groups, what, options.plot)


def _constants(options: argparse.Namespace) -> tuple[Constants, NDArray[np.float64]]:
    driver_s = options.driver_ms / 1000
    if options.run:
        constants, known, explained = measured(read_run(options.run), driver_s)
        print(f"{options.run.name}: {len(known)} clips; the line explains {100 * explained:.0f} %")
    else:
        constants, known = Constants(0.0, 0.0, 0.0, driver_s, 8), like_vocalsound()
    given = {
        name: getattr(options, name)
        for name in ("batch_s", "per_audio_s", "start_s", "batch_size", "weights_gb", "per_host")
        if getattr(options, name) is not None
    }
    return replace(constants, storage_gb_s=options.storage_gb_s, **given), known


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Model of data-parallel evaluation.")
    parser.add_argument("run", type=Path, nargs="?", help="folder of a run by one process")
    parser.add_argument("--samples", type=_counts, help="numbers of clips (default: the run's)")
    parser.add_argument("--devices", type=_counts, default=DEVICES)
    parser.add_argument("--bs", type=int, dest="batch_size")
    parser.add_argument("--batch-s", type=float)
    parser.add_argument("--per-audio-s", type=float)
    parser.add_argument("--start-s", type=float)
    parser.add_argument("--driver-ms", type=float, default=3.0)
    parser.add_argument("--weights-gb", type=float)
    parser.add_argument("--per-host", type=int)
    parser.add_argument("--storage-gb-s", type=float, default=0.0)
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args()
    if options.run is None and None in (options.batch_s, options.per_audio_s, options.start_s):
        parser.error("give a RUN, or --batch-s, --per-audio-s and --start-s")
    return options


def _counts(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


if __name__ == "__main__":
    main()
