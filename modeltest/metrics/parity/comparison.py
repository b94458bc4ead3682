"""Two traces, stage by stage: what differs by more than rounding, and where that begins."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from modeltest.metrics.parity.differences import (
    Difference,
    difference,
    kl_divergence,
    root_mean_square,
)
from modeltest.metrics.parity.tolerances import Tolerances
from modeltest.metrics.parity.traces import SampleTrace, StageValues, Trace

TOKENS, LOG_MEL, LOGITS, TEXT = "tokens", "log_mel", "logits", "text"

Outcome = Literal["PASS", "FAIL"]


@dataclass(frozen=True, slots=True)
class Worst:
    """The largest differences of a stage over its samples.

    Attributes:
        num_samples: Compared.
        max_abs: Largest |Δ| of any value.
        relative: Largest relative difference of a sample.
        cosine: Lowest of a sample.
        tolerance: What is allowed of `relative`.
        sample_id: Of the largest relative difference.
    """

    num_samples: int
    max_abs: float
    relative: float
    cosine: float
    tolerance: float
    sample_id: str

    @property
    def is_within(self) -> bool:
        """Not so where it is not a number."""
        return self.relative <= self.tolerance


@dataclass(frozen=True, slots=True)
class StageResult:
    """One stage of the comparison.

    Attributes:
        name: As in probes.py, and `tokens` and `text`.
        chained: Where each stage goes on with the one before; None of tokens and text.
        alone: Where each was given the reference's input; None where that was not tried.
        num_samples: Compared.
        num_differing: Of tokens and text, samples that are not the same; of text only those
            that rounding does not explain.
    """

    name: str
    chained: Worst | None = None
    alone: Worst | None = None
    num_samples: int = 0
    num_differing: int = 0

    @property
    def is_within(self) -> bool:
        """Whether nothing about it is outside what is allowed."""
        worst = [each for each in (self.chained, self.alone) if each is not None]
        return self.num_differing == 0 and all(each.is_within for each in worst)


@dataclass(frozen=True, slots=True)
class Flip:
    """Where two replies to a sample part.

    Attributes:
        step: The reply's token, from 0; None where a side shows no tokens.
        margin: How far the reference's token was above its second; where a side shows no
            tokens, the smallest margin of the other's reply. None where nobody knows.
        tie: The largest margin that rounding may turn around; None without logits.
    """

    step: int | None
    margin: float | None
    tie: float | None

    @property
    def is_explained(self) -> bool:
        """Whether rounding is enough to explain it."""
        return self.margin is not None and self.tie is not None and self.margin <= self.tie


@dataclass(frozen=True, slots=True)
class SampleResult:
    """One sample of the comparison.

    Attributes:
        reference: What side A showed.
        tested: What side B showed.
        same_tokens: Whether the prompts have the same tokens, or as many where a side shows
            none; None where nobody knows.
        stages: Relative difference by stage.
        kl_vocabulary: KL(A‖B) of the first token, nats; None without logits.
        kl_options: The same over the choices alone.
        options_max_abs: Largest |Δ| of the choices' logits.
        margin: How far the reference's first token was above its second; None if unknown.
        flip: Where the replies part; None where they are the same.
        answer_flipped: Whether the task reads another answer.
    """

    reference: SampleTrace
    tested: SampleTrace
    same_tokens: bool | None
    stages: Mapping[str, float]
    kl_vocabulary: float | None
    kl_options: float | None
    options_max_abs: float | None
    margin: float | None
    flip: Flip | None
    answer_flipped: bool

    @property
    def first_token_flipped(self) -> bool:
        """Whether the replies part at their first token."""
        return self.flip is not None and self.flip.step == 0


@dataclass(frozen=True, slots=True)
class Comparison:
    """All stages and samples.

    Attributes:
        tolerances: What was allowed.
        stages: In the order of their work.
        samples: In the order of the probe set.
        failed: Samples that a side did not answer: id, side (A or B) and why.
    """

    tolerances: Tolerances
    stages: tuple[StageResult, ...]
    samples: tuple[SampleResult, ...]
    failed: tuple[tuple[str, str, str], ...] = field(default=())

    @property
    def begins_in(self) -> StageResult | None:
        """The first stage outside its tolerance; those before are within theirs."""
        return next((stage for stage in self.stages if not stage.is_within), None)

    @property
    def at_fault(self) -> tuple[StageResult, ...]:
        """The stages that are outside their tolerance even from the reference's input."""
        return tuple(stage for stage in self.stages if stage.alone and not stage.alone.is_within)

    @property
    def outcome(self) -> Outcome:
        """PASS where every stage is within its tolerance and every sample was answered."""
        return "PASS" if self.begins_in is None and not self.failed else "FAIL"


def compare(reference: Trace, tested: Trace) -> Comparison:
    """Compares side B with side A.

    Args:
        reference: Of side A.
        tested: Of side B, the same samples in the same order.
    """
    tolerances = Tolerances.between(reference.data_type, tested.data_type)
    pairs = list(zip(reference.samples, tested.samples, strict=True))
    names = _stage_names(reference.samples)
    samples = tuple(_sample(a, b, names, tolerances) for a, b in pairs)
    stages = (
        _tokens_stage(samples),
        *_tensor_stages(pairs, names, tolerances),
        _text_stage(samples),
    )
    failed = [
        (trace.sample_id, side, trace.error)
        for side, of in (("A", reference), ("B", tested))
        for trace in of.samples
        if trace.error
    ]
    return Comparison(tolerances, stages, samples, tuple(failed))


def _stage_names(samples: Sequence[SampleTrace]) -> list[str]:
    """All stages, in the order of the sample that shows the most."""
    return max((list(sample.stages) for sample in samples), key=len, default=[])


def _tokens_stage(samples: Sequence[SampleResult]) -> StageResult:
    compared = [sample for sample in samples if sample.same_tokens is not None]
    differing = sum(not sample.same_tokens for sample in compared)
    return StageResult(TOKENS, num_samples=len(compared), num_differing=differing)


def _text_stage(samples: Sequence[SampleResult]) -> StageResult:
    unexplained = sum(s.flip is not None and not s.flip.is_explained for s in samples)
    return StageResult(TEXT, num_samples=len(samples), num_differing=unexplained)


def _tensor_stages(
    pairs: Sequence[tuple[SampleTrace, SampleTrace]],
    names: Sequence[str],
    tolerances: Tolerances,
) -> Iterator[StageResult]:
    for number, name in enumerate(names):
        features = name == LOG_MEL
        chained = _worst(
            name,
            [(a.sample_id, a.stages, b.stages) for a, b in pairs],
            tolerances.log_mel if features else tolerances.behind(number),
        )
        alone = None
        if not features:  # nothing comes before it
            alone = _worst(
                name, [(a.sample_id, a.alone, b.alone) for a, b in pairs], tolerances.one_stage
            )
        yield StageResult(name, chained, alone, chained.num_samples if chained else 0)


def _worst(
    name: str,
    pairs: Sequence[tuple[str, Mapping[str, StageValues], Mapping[str, StageValues]]],
    tolerance: float,
) -> Worst | None:
    found = [(sample_id, difference(a[name], b[name])) for sample_id, a, b in pairs
             if name in a and name in b]  # fmt: skip
    if not found:
        return None
    sample_id, largest = max(found, key=lambda each: _severity(each[1]))
    return Worst(
        num_samples=len(found),
        max_abs=max((each.max_abs for _, each in found), key=_nan_last),
        relative=largest.relative,
        cosine=min((each.cosine for _, each in found), key=lambda value: -_nan_last(-value)),
        tolerance=tolerance,
        sample_id=sample_id,
    )


def _severity(each: Difference) -> float:
    return _nan_last(each.relative)


def _nan_last(value: float) -> float:
    return math.inf if math.isnan(value) else value


def _sample(
    a: SampleTrace, b: SampleTrace, names: Sequence[str], tolerances: Tolerances
) -> SampleResult:
    logits = [side.stages[LOGITS].values[0] for side in (a, b) if LOGITS in side.stages]
    options = list(zip(a.option_logits, b.option_logits, strict=False))
    tie = None
    if logits:
        # The stages behind the features.
        tie = tolerances.tie(max(len(names) - 1, 1), root_mean_square(logits[0]))
    return SampleResult(
        reference=a,
        tested=b,
        same_tokens=_same_tokens(a, b),
        stages={
            name: difference(a.stages[name], b.stages[name]).relative
            for name in names
            if name in a.stages and name in b.stages
        },
        kl_vocabulary=kl_divergence(*logits) if _alike(logits) else None,
        kl_options=kl_divergence(*zip(*options, strict=True)) if options else None,
        options_max_abs=max((abs(second - first) for first, second in options), default=None),
        margin=a.margins[0] if a.margins else None,
        flip=_flip(a, b, tie),
        answer_flipped=not (a.error or b.error) and a.answer != b.answer,
    )


def _alike(logits: Sequence[Sequence[float]]) -> bool:
    return len(logits) == 2 and len(logits[0]) == len(logits[1])


def _same_tokens(a: SampleTrace, b: SampleTrace) -> bool | None:
    if a.input_ids and b.input_ids:
        return a.input_ids == b.input_ids
    if a.input_tokens is None or b.input_tokens is None:
        return None
    return a.input_tokens == b.input_tokens


def _flip(a: SampleTrace, b: SampleTrace, tie: float | None) -> Flip | None:
    """Where two replies part, by their tokens, or by their texts alone."""
    if a.error or b.error:
        return None
    if not (a.output_ids and b.output_ids):
        known = a.margins or b.margins
        return None if a.text == b.text else Flip(None, min(known, default=None), tie)
    if a.output_ids == b.output_ids:
        return None
    shorter = min(len(a.output_ids), len(b.output_ids))
    parted = (i for i in range(shorter) if a.output_ids[i] != b.output_ids[i])
    step = next(parted, shorter)
    return Flip(step, a.margins[step] if step < len(a.margins) else None, tie)
