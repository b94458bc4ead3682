"""A parity check as files and as the terminal shows it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

from tabulate import tabulate
from termcolor import colored

from modeltest.errors import one_line
from modeltest.metrics.parity.comparison import (
    LOGITS,
    TEXT,
    TOKENS,
    Comparison,
    Flip,
    SampleResult,
    StageResult,
    Worst,
)
from modeltest.reports.csv_files import csv_bytes
from modeltest.reports.terminal import fold

STAGE_COLUMNS = (
    "run", "verdict", "stage", "within", "begins_here", "samples", "differing", "max_abs",
    "relative", "tolerance", "cosine", "worst_sample", "alone_samples", "alone_max_abs",
    "alone_relative", "alone_tolerance", "alone_cosine",
)  # fmt: skip
COARSE = ("log_mel", "encoder.output", "projector", "logits")
SAMPLE_COLUMNS = (
    "run", "verdict", "sample_id", "same_tokens", *(f"{name}_relative" for name in COARSE),
    "options_max_abs", "kl_options_nats", "kl_vocabulary_nats", "first_token_margin",
    "first_token_flipped", "answer_flipped", "same_text", "parts_at_token", "margin_there",
    "tie_margin", "explained", "input_tokens_a", "input_tokens_b", "answer_a", "answer_b",
    "output_a", "output_b", "error_a", "error_b",
)  # fmt: skip

_COLOURS = {"PASS": "green", "FAIL": "red"}
_MOST_FLIPS = 10
_LAYER = re.compile(r"(.*\.layer)\.\d+")


def verdict_words(comparison: Comparison) -> str:
    """The verdict and its reason, one line without colour."""
    return f"{comparison.outcome}: {one_line(_reason(comparison))}"


def parity_text(
    comparison: Comparison, notes: Sequence[str] = (), columns: int | None = None
) -> str:
    """The verdict, a row per stage, flips, and what else a reader should know.

    Args:
        comparison: What to show.
        notes: Lines for the end.
        columns: Cells of a line; None folds nothing.
    """
    word = comparison.outcome
    verdict = fold(verdict_words(comparison), columns)
    tolerances = comparison.tolerances
    lines = [
        "drift: |b - a| / |a| of the worst of n samples; alone: the same from A's input,",
        f"limit {tolerances.one_stage:.1e}; limits are those of {tolerances.data_type}, the "
        "coarser side's",
        *_fault_lines(comparison),
        *_flip_lines(comparison),
        *notes,
    ]
    return "\n".join(
        [
            colored(word, _COLOURS[word], attrs=["bold"]) + verdict[len(word) :],
            "",
            _table(comparison),
            "",
            *(fold(one_line(line), columns, "  ") for line in lines),
        ]
    )


def stages_csv(run: str, comparison: Comparison) -> bytes:
    """`parity.csv`: one row per stage, every layer among them."""
    begins = comparison.begins_in
    rows = (
        {
            "run": run,
            "verdict": comparison.outcome,
            "stage": stage.name,
            "within": stage.is_within,
            "begins_here": stage is begins,
            "samples": stage.num_samples,
            "differing": stage.num_differing if stage.name in {TOKENS, TEXT} else None,
            **_worst_columns("", stage.chained),
            "worst_sample": stage.chained.sample_id if stage.chained else None,
            **_worst_columns("alone_", stage.alone),
            "alone_samples": stage.alone.num_samples if stage.alone else None,
        }
        for stage in comparison.stages
    )
    return csv_bytes(STAGE_COLUMNS, rows)


def samples_csv(run: str, comparison: Comparison) -> bytes:
    """`parity_samples.csv`: one row per sample."""
    rows = (
        {"run": run, "verdict": comparison.outcome, **_sample_columns(sample)}
        for sample in comparison.samples
    )
    return csv_bytes(SAMPLE_COLUMNS, rows)


def comparison_facts(comparison: Comparison) -> dict[str, Any]:
    """The outcome as JSON values."""
    begins = comparison.begins_in
    return {
        "verdict": comparison.outcome,
        "reason": _reason(comparison),
        "drift_begins_in": begins.name if begins else None,
        "at_fault_alone": [stage.name for stage in comparison.at_fault],
        "tolerance_data_type": comparison.tolerances.data_type,
        "num_samples": len(comparison.samples),
        "num_failed": len(comparison.failed),
        "num_stages": len(comparison.stages),
        "num_outside": _num_outside(comparison),
        "num_flips": sum(sample.flip is not None for sample in comparison.samples),
        "num_first_token_flips": sum(s.first_token_flipped for s in comparison.samples),
        "num_answer_flips": sum(sample.answer_flipped for sample in comparison.samples),
    }


def index_row(run: str, comparison: Comparison, columns: Mapping[str, Any]) -> dict[str, Any]:
    """The check's line in `index.csv`; the headline is how many stages are outside."""
    return {
        **columns,
        "run": run,
        "metric": "stages_outside_tolerance",
        "value": _num_outside(comparison),
        "total": len(comparison.samples),
        "validity": comparison.outcome,
        "reasons": "" if comparison.outcome == "PASS" else _reason(comparison),
    }


def _num_outside(comparison: Comparison) -> int:
    return sum(not stage.is_within for stage in comparison.stages)


def _reason(comparison: Comparison) -> str:
    begins = comparison.begins_in
    if comparison.failed:
        sample_id, side, why = comparison.failed[0]
        more = f", and {len(comparison.failed) - 1} more" if len(comparison.failed) > 1 else ""
        where = f"; drift begins in {begins.name}" if begins else ""
        return f"side {side} did not answer {sample_id} ({why}){more}{where}"
    num = len(comparison.samples)
    if begins is not None:
        return f"drift begins in {begins.name}: {_what(begins)}"
    compared = [stage.name for stage in comparison.stages if stage.num_samples]
    if set(compared) <= {TOKENS, TEXT}:
        names = " and ".join(compared)
        return f"{num} samples, {names} alone were compared: a service shows no other stage"
    return f"{num} samples, all {len(compared)} stages within their tolerances"


def _what(stage: StageResult) -> str:
    if stage.name == TOKENS:
        return f"the prompts of {stage.num_differing} of {stage.num_samples} samples differ"
    if stage.name == TEXT:
        return (
            f"{stage.num_differing} of {stage.num_samples} replies part where rounding does not "
            "explain it"
        )
    for worst, given in ((stage.alone, " from the reference's input"), (stage.chained, "")):
        if worst is not None and not worst.is_within:
            return f"relative difference {worst.relative:.1e}{given}, allowed {worst.tolerance:.1e}"
    return ""


def _table(comparison: Comparison) -> str:
    rows = [_row(stages) for stages in _grouped(comparison.stages)]
    return tabulate(
        rows,
        ("stage", "n", "max |Δ|", "drift", "limit", "1-cos", "alone", "is"),
        tablefmt="simple",
        disable_numparse=True,
        colalign=("left", *["right"] * 6, "left"),
    )


def _grouped(stages: Iterable[StageResult]) -> list[list[StageResult]]:
    """Layers in a row become one line, unless one of them is outside its tolerance."""

    def key(stage: StageResult) -> tuple[str, bool]:
        layer = _LAYER.fullmatch(stage.name)
        return (layer.group(1) if layer and stage.is_within else stage.name), stage.is_within

    return [list(group) for _, group in groupby(stages, key)]


def _row(stages: Sequence[StageResult]) -> list[str]:
    first, last = stages[0], stages[-1]
    name = first.name if first is last else f"{first.name}-{last.name.rpartition('.')[2]}"
    chained = _largest([stage.chained for stage in stages])
    alone = _largest([stage.alone for stage in stages])
    verdict = "ok" if all(stage.is_within for stage in stages) else "OUTSIDE"
    if not first.num_samples:
        return [name, "0", *["-"] * 6]
    if chained is None:
        differing = f"{first.num_differing} differ"
        return [name, str(first.num_samples), "-", differing, "0", "-", "-", verdict]
    return [
        name,
        str(chained.num_samples),
        f"{chained.max_abs:.1e}",
        f"{chained.relative:.1e}",
        f"{chained.tolerance:.1e}",
        f"{max(1 - chained.cosine, 0.0):.1e}",
        f"{alone.relative:.1e}" if alone else "-",
        verdict,
    ]


def _largest(found: Sequence[Worst | None]) -> Worst | None:
    return max(
        (each for each in found if each is not None),
        key=lambda each: (each.relative != each.relative, each.relative),
        default=None,
    )


def _fault_lines(comparison: Comparison) -> list[str]:
    if comparison.at_fault:
        names = ", ".join(stage.name for stage in comparison.at_fault)
        return [f"outside its tolerance even from the reference's input: {names}"]
    begins = comparison.begins_in
    if begins is not None and begins.alone is not None:
        return ["by itself every stage is within its tolerance: small differences add up"]
    return []


def _flip_lines(comparison: Comparison) -> list[str]:
    flipped = [sample for sample in comparison.samples if sample.flip is not None]
    answers = sum(sample.answer_flipped for sample in comparison.samples)
    lines = [f"{len(flipped)} replies differ, {answers} answers among them"]
    lines += [_flip_line(sample, sample.flip) for sample in flipped[:_MOST_FLIPS] if sample.flip]
    if len(flipped) > _MOST_FLIPS:
        lines.append(f"… and {len(flipped) - _MOST_FLIPS} more, see parity_samples.csv")
    kl = [s.kl_vocabulary for s in comparison.samples if s.kl_vocabulary is not None]
    if kl:
        lines.append(f"{LOGITS}: KL(A||B) of the first token at most {max(kl):.1e} nats")
    return lines


def _flip_line(sample: SampleResult, flip: Flip) -> str:
    where = "" if flip.step is None else f" at token {flip.step + 1}"
    margin = "unknown" if flip.margin is None else f"{flip.margin:.2g}"
    tie = "" if flip.tie is None else f", rounding explains {flip.tie:.2g}"
    a, b = sample.reference.text[:40], sample.tested.text[:40]
    return f"  {sample.reference.sample_id}{where}: margin {margin}{tie}: A {a!r}, B {b!r}"


def _worst_columns(prefix: str, worst: Worst | None) -> dict[str, float | None]:
    names = ("max_abs", "relative", "tolerance", "cosine")
    return {f"{prefix}{name}": getattr(worst, name) if worst else None for name in names}


def _sample_columns(sample: SampleResult) -> Mapping[str, Any]:
    a, b, flip = sample.reference, sample.tested, sample.flip
    return {
        "sample_id": a.sample_id,
        "same_tokens": sample.same_tokens,
        **{f"{name}_relative": sample.stages.get(name) for name in COARSE},
        "options_max_abs": sample.options_max_abs,
        "kl_options_nats": sample.kl_options,
        "kl_vocabulary_nats": sample.kl_vocabulary,
        "first_token_margin": sample.margin,
        "first_token_flipped": sample.first_token_flipped,
        "answer_flipped": sample.answer_flipped,
        "same_text": a.text == b.text,
        "parts_at_token": flip.step if flip else None,
        "margin_there": flip.margin if flip else None,
        "tie_margin": flip.tie if flip else None,
        "explained": flip.is_explained if flip else None,
        "input_tokens_a": a.input_tokens,
        "input_tokens_b": b.input_tokens,
        "answer_a": a.answer,
        "answer_b": b.answer,
        "output_a": a.text,
        "output_b": b.text,
        "error_a": a.error,
        "error_b": b.error,
    }
