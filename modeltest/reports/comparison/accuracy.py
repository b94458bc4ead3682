"""Is run B as accurate as run A? The paired difference, what it is made of, and a verdict."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from modeltest.errors import UsageError
from modeltest.metrics.cluster_bootstrap import cluster_totals
from modeltest.metrics.intervals import Spread, share_spread
from modeltest.metrics.paired import (
    Outcome,
    PairedInterval,
    design_effect,
    mcnemar_exact,
    non_inferiority,
    paired_interval,
)
from modeltest.metrics.power import POWERS, samples_needed
from modeltest.metrics.slice_differences import holm
from modeltest.records import Verdict
from modeltest.reports.comparison.agreement import Difference, refusal, withheld
from modeltest.reports.comparison.pairs import ChangedSample, Pairs, pair_up
from modeltest.reports.comparison.what_differs import Sameness, at, what_differs
from modeltest.reports.summary import Summary
from modeltest.runlog.run_log import RunContent

_ALL = "all"


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two runs.

    Attributes:
        run_id: As the manifest has it.
        model: Name of its settings.
        place: Where it ran, for a person: device, precision, backend.
        verdict: Its own.
        unparsed: Replies without a single answer, among the pairs.
        errors: Samples that failed, among the pairs.
        num_done: Samples that it evaluated.
        num_planned: Samples that its manifest names.
    """

    run_id: str
    model: str
    place: str
    verdict: Verdict
    unparsed: int
    errors: int
    num_done: int
    num_planned: int


@dataclass(frozen=True, slots=True)
class SubsetComparison:
    """Both runs on one subset of the samples.

    Attributes:
        subset: `all`, or `<key>=<value>`.
        total: Pairs.
        accuracies: Of A and of B.
        spreads: Of A and of B, the intervals of their accuracies.
        difference: B minus A.
        interval: Of the difference.
        num_regressions: Samples on which only A is right.
        num_improvements: Samples on which only B is right.
        p_value: Of McNemar's exact test.
        p_adjusted: The same after Holm, among the subsets of the same key; None for `all`.
    """

    subset: str
    total: int
    accuracies: tuple[float, float]
    spreads: tuple[Spread, Spread]
    difference: float
    interval: PairedInterval
    num_regressions: int
    num_improvements: int
    p_value: float
    p_adjusted: float | None = None


@dataclass(frozen=True, slots=True)
class Needed:
    """How many samples would decide, at a power.

    Attributes:
        power: How often they would.
        if_equal: If B is truly as accurate as A; the decision is PASS then.
        if_as_seen: If the difference seen is the true one; None where it is the margin itself.
    """

    power: float
    if_equal: int
    if_as_seen: int | None


@dataclass(frozen=True, slots=True)
class AccuracyComparison:
    """Two accuracy runs. Accuracies, differences and the margin are shares, not percentages.

    Attributes:
        outcome: PASS, FAIL or INCONCLUSIVE against the margin.
        withheld: Why there is no verdict whatever the figures are, one line for each reason.
        margin: The loss of accuracy that does not matter.
        first: A, the reference.
        second: B.
        overall: All pairs.
        subsets: Classes first, then other slices.
        changed: What the runs do not say alike: regressions, then improvements, then samples on
            which both are wrong in different ways.
        num_same_replies: Pairs with the same reply, letter by letter.
        design_effect: How many times the variance of independent samples the difference's is.
        needed: Samples for a decision, per power.
        different: What may differ between the runs and does.
        unknown: What could not be compared.
    """

    outcome: Outcome
    withheld: tuple[str, ...]
    margin: float
    first: Side
    second: Side
    overall: SubsetComparison
    subsets: tuple[SubsetComparison, ...]
    changed: tuple[ChangedSample, ...]
    num_same_replies: int
    design_effect: float
    needed: tuple[Needed, ...]
    different: tuple[Difference, ...]
    unknown: tuple[str, ...]

    @property
    def discordance(self) -> float:
        """Share of the pairs on which just one run is right."""
        return (self.overall.num_regressions + self.overall.num_improvements) / self.overall.total

    @property
    def is_significant(self) -> bool:
        """Whether the interval of the difference leaves 0 out."""
        return self.overall.interval.low > 0 or self.overall.interval.high < 0


def compare_accuracy(
    first: tuple[RunContent, Summary],
    second: tuple[RunContent, Summary],
    margin: float,
    other_model: bool = False,
) -> AccuracyComparison:
    """Compares run B with run A, sample by sample.

    Args:
        first: A, the reference.
        second: B.
        margin: The loss of accuracy that does not matter, as a share above 0.
        other_model: B may be another model: fine-tuned, quantised.

    Raises:
        UsageError: Something that has to be the same is not; names every difference.
    """
    manifests = (first[0].manifest, second[0].manifest)
    sameness = what_differs(*manifests)
    _refuse(sameness, other_model)
    pairs = pair_up(first[0], second[0])
    reasons = withheld((("A", first[1].verdict), ("B", second[1].verdict)))
    every = range(len(pairs))
    overall = _compared(_ALL, pairs, every)
    effect = design_effect(_differences(pairs, every), pairs.speakers)
    judged = non_inferiority(overall.interval.low, overall.interval.high, margin)
    return AccuracyComparison(
        outcome="INCONCLUSIVE" if reasons else judged,
        withheld=reasons,
        margin=margin,
        first=_side(*first, pairs, 0),
        second=_side(*second, pairs, 1),
        overall=overall,
        subsets=tuple(_subsets(pairs, manifests[0])),
        changed=tuple(pairs.changed),
        num_same_replies=pairs.num_same_replies,
        design_effect=effect,
        needed=tuple(_needed(overall, margin, effect)),
        different=(*(sameness.of_the_model if other_model else ()), *sameness.allowed),
        unknown=(*sameness.unknown, *_without_speaker(pairs)),
    )


def _refuse(sameness: Sameness, other_model: bool) -> None:
    found = (*sameness.forbidden, *(() if other_model else sameness.of_the_model))
    if not found:
        return
    mend = "" if sameness.forbidden else "; --other-model compares two models"
    raise UsageError(refusal(found) + mend)


def _side(run: RunContent, summary: Summary, pairs: Pairs, number: int) -> Side:
    manifest = run.manifest
    place = (
        at(manifest, "device.name"),
        at(manifest, "place.dtype"),
        at(manifest, "place.backend"),
    )
    return Side(
        run_id=manifest["place"]["run_id"],
        model=manifest["model"]["name"],
        place=", ".join(str(part) for part in place),
        verdict=summary.verdict,
        unparsed=pairs.unparsed[number],
        errors=pairs.errors[number],
        num_done=summary.num_done,
        num_planned=summary.num_planned,
    )


def _compared(subset: str, pairs: Pairs, places: Sequence[int]) -> SubsetComparison:
    differences = _differences(pairs, places)
    speakers = [pairs.speakers[place] for place in places]
    improved, regressed = differences.count(1), differences.count(-1)
    correct = [[side[place] for place in places] for side in pairs.correct]
    first, second = (share_spread(*cluster_totals(each, speakers)) for each in correct)
    return SubsetComparison(
        subset=subset,
        total=len(places),
        accuracies=(sum(correct[0]) / len(places), sum(correct[1]) / len(places)),
        spreads=(first, second),
        difference=(improved - regressed) / len(places),
        interval=paired_interval(differences, speakers),
        num_regressions=regressed,
        num_improvements=improved,
        p_value=mcnemar_exact(improved, regressed),
    )


def _differences(pairs: Pairs, places: Iterable[int]) -> list[int]:
    first, second = pairs.correct
    return [second[place] - first[place] for place in places]


def _without_speaker(pairs: Pairs) -> list[str]:
    number = pairs.num_without_speaker
    return [f"speakers of {number} samples, which are not known"] if number else []


def _subsets(pairs: Pairs, manifest: Mapping[str, Any]) -> Iterator[SubsetComparison]:
    """Classes in the task's order, then other slices; p-values adjusted among those of a key."""
    classes = [f"class={label}" for label in manifest["labels"]]
    others = sorted(pairs.places.keys() - set(classes))
    families: dict[str, list[SubsetComparison]] = {}
    for subset in (*classes, *others):
        places = pairs.places.get(subset, array("l"))
        if places:
            key = subset.partition("=")[0]
            families.setdefault(key, []).append(_compared(subset, pairs, places))
    for family in families.values():
        adjusted = holm([each.p_value for each in family])
        yield from (replace(each, p_adjusted=p) for each, p in zip(family, adjusted, strict=True))


def _needed(overall: SubsetComparison, margin: float, effect: float) -> Iterator[Needed]:
    flips = (overall.num_regressions + overall.num_improvements) / overall.total
    for power in POWERS:
        if_equal, if_as_seen = (
            samples_needed(margin, flips, power, difference, effect)
            for difference in (0.0, overall.difference)
        )
        yield Needed(power, if_equal or 0, if_as_seen)
