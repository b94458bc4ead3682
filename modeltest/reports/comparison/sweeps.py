"""Is the second sweep as fast as the first? Ratios with intervals, and a verdict.

Only what can differ between machines and engines may differ: device, precision, engine and
attention. With another model, prompt, clip or length the ratio would say nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from modeltest.errors import UsageError
from modeltest.metrics.block_bootstrap import ratio_interval
from modeltest.metrics.paired import Outcome
from modeltest.reports.comparison.agreement import Difference, differences, refusal, withheld
from modeltest.reports.performance.summary import Row, SweepSummary
from modeltest.runlog.sweep_log import Record, SweepContent

ALLOWED = ("device", "dtype", "engine", "attention")
_OUTCOMES: tuple[Outcome, ...] = ("FAIL", "INCONCLUSIVE", "PASS")
# What may differ stands in the identity too, and what only orders or places the work.
_NOT_IDENTITY = frozenset({*ALLOWED, "padding_side", "seed"})


@dataclass(frozen=True, slots=True)
class PointComparison:
    """One point in both sweeps.

    Attributes:
        batch_size: Of both.
        mode: Of both.
        name: For a sentence.
        first: Output tokens per second of A, or None.
        second: Of B, or None.
        ratio: B over A.
        interval: Its 95 % interval.
        outcome: Against the tolerance.
        reason: Why there is no verdict, or empty.
    """

    batch_size: int
    mode: str
    name: str
    first: float | None
    second: float | None
    ratio: float | None
    interval: tuple[float, float] | None
    outcome: Outcome
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two sweeps.

    Attributes:
        outcome: The worst of the points', or INCONCLUSIVE when the verdict is withheld.
        withheld: Why it is, one line for each reason.
        points: Those that both sweeps planned.
        only_one: Points that one of them lacks, in words.
        differing: Allowed differences: what, A's value, B's value.
        tolerance: As a share.
    """

    outcome: Outcome
    withheld: tuple[str, ...]
    points: tuple[PointComparison, ...]
    only_one: tuple[str, ...]
    differing: tuple[Difference, ...]
    tolerance: float


def compare_sweeps(
    first: tuple[SweepContent, SweepSummary],
    second: tuple[SweepContent, SweepSummary],
    tolerance: float,
) -> Comparison:
    """Compares sweep B with sweep A.

    Args:
        first: A, the reference.
        second: B.
        tolerance: The share of A's throughput that B may lack.

    Raises:
        UsageError: They did not do the same work; names every difference.
    """
    _refuse_other_work(first[0].manifest, second[0].manifest)
    rows = {(row.mode, row.batch_size): row for row in first[1].rows}
    others = {(row.mode, row.batch_size): row for row in second[1].rows}
    both = [key for key in rows if key in others]
    if not both:
        raise UsageError("the two runs have no batch size in common")
    points = tuple(_compare(rows[key], others[key], tolerance) for key in both)
    reasons = withheld((("A", first[1].verdict), ("B", second[1].verdict)))
    worst = next(o for o in _OUTCOMES if any(point.outcome == o for point in points))
    return Comparison(
        outcome="INCONCLUSIVE" if reasons else worst,
        withheld=reasons,
        points=points,
        only_one=tuple(_only_one(rows, others)),
        differing=tuple(_allowed_differences(first[0].manifest, second[0].manifest)),
        tolerance=tolerance,
    )


def _compare(first: Row, second: Row, tolerance: float) -> PointComparison:
    a, b = first.figures, second.figures
    before, after = (f.output_tokens_per_s if f else None for f in (a, b))
    ratio, interval = None, None
    # Rounds without any token, or whose tokens nobody counted, give no ratio.
    if a and b and before and after and all(rate for block in a.blocks for rate in block):
        ratio, interval = after / before, ratio_interval(a.blocks, b.blocks)
    invalid = [name for name, row in (("A", first), ("B", second)) if not row.valid]
    outcome: Outcome = "INCONCLUSIVE"
    reason = ""
    if invalid:
        reason = f"not valid in {' and '.join(invalid)}"
    elif ratio is None:
        reason = "no throughput to compare"
    elif interval is None:
        reason = "too few passes for an interval"
    else:
        outcome = _judge(interval, tolerance)
    return PointComparison(
        batch_size=first.batch_size,
        mode=first.mode,
        name=first.name,
        first=before,
        second=after,
        ratio=ratio,
        interval=interval,
        outcome=outcome,
        reason=reason,
    )


def _judge(interval: tuple[float, float], tolerance: float) -> Outcome:
    low, high = interval
    if low >= 1 - tolerance:
        return "PASS"
    return "FAIL" if high < 1 - tolerance else "INCONCLUSIVE"


def _only_one(
    rows: Mapping[tuple[str, int], Row], others: Mapping[tuple[str, int], Row]
) -> Iterator[str]:
    for name, mine, theirs in (("A", rows, others), ("B", others, rows)):
        for key, row in mine.items():
            if key not in theirs:
                yield f"{row.name} is in {name} only"


def _refuse_other_work(first: Record, second: Record) -> None:
    found = list(differences(_work_of(first), _work_of(second)))
    if found:
        raise UsageError(refusal(found))


def _work_of(manifest: Record) -> dict[str, Any]:
    """What both sweeps must have in common."""
    sweep = manifest["sweep"]
    return {
        "model": _without(manifest["identity"], _NOT_IDENTITY),
        "prompt": manifest["prompt"]["rendered"],
        "clips": [clip["sha256"] for clip in manifest["clips"]],
        "data": manifest["data"]["sha256"],
        "modes": sorted(sweep["modes"]),
        "max_new_tokens": sweep["max_new_tokens"],
        "clip_source": sweep["clip_source"],
    }


def _without(value: Any, names: frozenset[str]) -> Any:
    if not isinstance(value, Mapping):
        return value
    return {key: _without(inner, names) for key, inner in value.items() if key not in names}


def _allowed_differences(first: Record, second: Record) -> Iterator[Difference]:
    for name in ALLOWED:
        a, b = (_label(manifest, name) for manifest in (first, second))
        if a != b:
            yield name, a, b


def _label(manifest: Record, name: str) -> str:
    value = manifest[name]
    return str(value["name"]) if name == "device" else str(value)
