"""How close a point comes to what the machine can do, and what holds it back.

MBU = bytes / (time x peak bandwidth), MFU = FLOPs / (time x peak FLOP/s). Bytes are those
that must be read at least; FLOPs are those on real frames and tokens, padding left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from modeltest.reports.performance.figures import STAGES, Figures
from modeltest.reports.performance.wording import percent
from modeltest.runlog.sweep_log import Record

PEAK_LOAD_LIMIT = 0.20
"""Above this share of other load the measured limits are too low to be relied on."""
FAR_FROM_LIMITS = 0.3
"""Below this share of both limits a stage waits for something else than the hardware."""


@dataclass(frozen=True, slots=True)
class StageRoof:
    """A stage of a point against the roofline.

    Attributes:
        seconds: Median time of a round in this stage.
        flops_per_s: Useful operations per second.
        bytes_per_s: Bytes per second.
        intensity: Useful operations per byte.
        bandwidth_share: `bytes_per_s` over the peak.
        compute_share: `flops_per_s` over the peak.
        waste: Executed over useful operations, minus 1: what padding costs.
    """

    seconds: float
    flops_per_s: float
    bytes_per_s: float
    intensity: float | None
    bandwidth_share: float
    compute_share: float
    waste: float | None


@dataclass(frozen=True, slots=True)
class Roofline:
    """A point against the machine's limits; None is "unknown".

    Attributes:
        mbu: Of decoding.
        mfu: Of the whole, by useful operations.
        stages: By name, those whose work and time are known.
        peak_source: How the limits were found.
        bound: One line that says what bounds the point.
        notes: Why the shares should not be relied on.
    """

    mbu: float | None = None
    mfu: float | None = None
    stages: Mapping[str, StageRoof] | None = None
    peak_source: str = ""
    bound: str = ""
    notes: tuple[str, ...] = ()


def point_roofline(
    name: str, figures: Figures | None, works: Sequence[Record], peaks: Record | None
) -> Roofline:
    """Compares a point with the machine's limits.

    Args:
        name: Of the point, for the line.
        figures: Of the point.
        works: Its `work` records; the work of one round.
        peaks: The machine's limits.
    """
    if figures is None:
        return Roofline()
    source = peak_source(peaks)
    stages = _stages(figures, works[0]["stages"], peaks) if works and peaks else {}
    decode = stages.get("decode")
    mfu = _mfu(figures, works[0]["stages"], peaks) if works and peaks else None
    doubts = tuple(_doubts(stages, mfu, peaks)) if peaks else ()
    return Roofline(
        mbu=decode.bandwidth_share if decode else None,
        mfu=mfu,
        stages=stages,
        peak_source="; ".join(part for part in (source, _exceeded(stages, mfu)) if part),
        bound=_bound(name, figures, stages, source),
        notes=doubts,
    )


def peak_source(peaks: Record | None) -> str:
    """How the limits were found, and what disturbed that."""
    if peaks is None:
        return ""
    load = _other_load(peaks)
    if load is None or load <= PEAK_LOAD_LIMIT:
        return str(peaks["source"])
    return f"{peaks['source']}; other processes used {percent(load)} of the machine meanwhile"


def _other_load(peaks: Record) -> float | None:
    load = peaks.get("other_load")  # older logs have none
    return float(load) if isinstance(load, (int, float)) else None


def _exceeded(stages: Mapping[str, StageRoof], mfu: float | None) -> str:
    shares = [share for roof in stages.values() for share in _shares(roof)]
    highest = max([*shares, mfu or 0.0], default=0.0)
    return f"{percent(highest)} of this was reached" if highest > 1 else ""


def _shares(roof: StageRoof) -> tuple[float, float]:
    return roof.bandwidth_share, roof.compute_share


def _doubts(stages: Mapping[str, StageRoof], mfu: float | None, peaks: Record) -> Iterator[str]:
    """Why shares of the limits may be too high."""
    load = _other_load(peaks)
    if load is not None and load > PEAK_LOAD_LIMIT:
        yield (
            f"other processes used {percent(load)} of the machine while its limits were "
            "measured: MBU and MFU may be too high"
        )
    if _exceeded(stages, mfu):
        yield (
            "more than the machine's limits was reached: they were measured too low, or the "
            "model fits the processor's cache; MBU and MFU are no shares of a true peak"
        )


def _stages(
    figures: Figures, work: Mapping[str, Mapping[str, float]], peaks: Record
) -> dict[str, StageRoof]:
    found = {}
    for stage in STAGES:
        seconds = figures.round_stage_s[stage]
        if stage not in work or not seconds:
            continue
        flops, num_bytes = float(work[stage]["useful_flops"]), float(work[stage]["num_bytes"])
        executed = float(work[stage]["executed_flops"])
        found[stage] = StageRoof(
            seconds=seconds,
            flops_per_s=flops / seconds,
            bytes_per_s=num_bytes / seconds,
            intensity=flops / num_bytes if num_bytes else None,
            bandwidth_share=num_bytes / seconds / peaks["bandwidth_bytes_per_s"],
            compute_share=flops / seconds / peaks["flops_per_s"],
            waste=executed / flops - 1 if flops else None,
        )
    return found


def _wait_for_a_service(name: str, figures: Figures) -> str:
    if figures.ttft_s is None:
        return f"{name}: what bounds it is unknown: without streaming a service tells no stages"
    share = percent(figures.ttft_s / figures.e2e_p50_s)
    return f"{name}: {share} of a request's time passes before its first token"


def _mfu(figures: Figures, work: Mapping[str, Mapping[str, float]], peaks: Record) -> float | None:
    flops = sum(float(stage["useful_flops"]) for stage in work.values())
    return flops / (figures.round_e2e_s * peaks["flops_per_s"]) if flops else None


def _bound(name: str, figures: Figures, stages: Mapping[str, StageRoof], source: str) -> str:
    """The longest stage, its share of the time, and which limit it is near."""
    if figures.kind == "requests":  # which overlap: their stages do not add up to a round
        return _wait_for_a_service(name, figures)
    known = {stage: s for stage, s in figures.round_stage_s.items() if s is not None}
    if not known:
        return f"{name}: what bounds it is unknown: the backend tells no stages"
    untold = [stage for stage in figures.round_stage_s if stage not in known]
    if untold:  # one of them may be the longest
        return f"{name}: what bounds it is unknown: the backend does not tell {', '.join(untold)}"
    longest = max(known, key=lambda stage: known[stage])
    start = f"{name}: {longest} takes {percent(known[longest] / figures.round_e2e_s)} of the time"
    roof = stages.get(longest)
    if roof is None:
        if longest in {"feature", "detokenize"}:
            return f"{start}: host-bound"
        return f"{start}; its limits are unknown"
    measured = source.startswith("measured")
    near_memory = roof.bandwidth_share >= roof.compute_share
    share = roof.bandwidth_share if near_memory else roof.compute_share
    if near_memory:
        limit = "measured copy bandwidth" if measured else "peak bandwidth"
        does = "moves weights and cache"
    else:
        limit = "measured matmul rate" if measured else "peak FLOP/s"
        does = "computes"
    kind = "memory-bound" if near_memory else "compute-bound"
    if share < FAR_FROM_LIMITS:
        kind = "far from both limits, launches and the host bound it"
    return f"{start} and {does} at {percent(share)} of the {limit}: {kind}"
