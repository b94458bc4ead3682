"""Do two runs of a transcription task say the same? The original tool's agreement score.

Model, device, engine and the prompt's form may differ: what changed the replies is what one
wants to know. The question, the clips and the references may not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from modeltest.errors import UsageError, one_line
from modeltest.metrics.edit_distance import edit_distance_share
from modeltest.records import Aggregate, Verdict
from modeltest.reports.comparison.agreement import differences, refusal
from modeltest.reports.comparison.outcome_line import INDENT
from modeltest.reports.comparison.pairs import Record, Reply
from modeltest.reports.console import interval, percent
from modeltest.reports.summary import Summary
from modeltest.reports.terminal import fold, table
from modeltest.runlog.run_log import RunContent

KIND = "transcription"
MAX_SHOWN = 5
_GAP_OF_A_FAILURE = 1.0
_FORM_OF_THE_PROMPT = ("prompt_format", "raw_prompt", "local_dataset_path")
_CITATIONS = ("published",)
_DECIDED_THE_REPLIES = ("model", "backend", "prompt", "device", "dtype", "attention")


@dataclass(frozen=True, slots=True)
class ReplyPair:
    """A sample to which the two runs do not say the same words.

    Attributes:
        gap: How far they are apart, from 0 to 1; 1 where one of them failed.
        index: Its place in the task's order.
        sample_id: Of the sample.
        clips: Records of its clips, as A logged them.
        truth: The reference, or empty.
        subsets: Those of the task's that it belongs to.
        first: What A says.
        second: What B says.
    """

    gap: float
    index: int
    sample_id: str
    clips: tuple[Record, ...]
    truth: str
    subsets: tuple[str, ...]
    first: Reply
    second: Reply


@dataclass(frozen=True, slots=True)
class TranscriptComparison:
    """Two runs of one transcription task.

    Attributes:
        gap: Mean over the pairs of `edit_distance_share` of the two replies' words; a pair of
            which a sample failed has 1.
        num_pairs: Samples that both runs evaluated.
        num_planned: Samples of the task.
        num_equal: Pairs with the same words.
        num_failed: Pairs of which a sample failed.
        widest: Ids of the pairs that are farthest apart, with their gaps; failures apart.
        apart: Pairs whose words are not the same, the farthest first.
        verdicts: Of A and B.
        figures: Per metric its name, A's value and B's; those that one of them has.
        differing: What may differ and does: name, A's value, B's value.
    """

    gap: float
    num_pairs: int
    num_planned: int
    num_equal: int
    num_failed: int
    widest: tuple[tuple[str, float], ...]
    apart: tuple[ReplyPair, ...]
    verdicts: tuple[Verdict, Verdict]
    figures: tuple[tuple[str, Aggregate | None, Aggregate | None], ...]
    differing: tuple[tuple[str, str, str], ...]


def compare_transcripts(
    first: tuple[RunContent, Summary], second: tuple[RunContent, Summary]
) -> TranscriptComparison:
    """Compares the replies of run B with those of run A, sample by sample.

    Args:
        first: A.
        second: B.

    Raises:
        UsageError: They did not ask the same of the same clips, or share no sample.
    """
    runs = (first[0], second[0])
    _refuse_other_task(runs[0].manifest, runs[1].manifest)
    gaps, apart = _joined(*runs)
    if not gaps:
        raise UsageError("the two runs have no evaluated sample in common")
    answered = (pair for pair in apart if not (pair.first.error or pair.second.error))
    return TranscriptComparison(
        gap=sum(gaps) / len(gaps),
        num_pairs=len(gaps),
        num_planned=runs[0].manifest["data"]["num_samples"],
        num_equal=gaps.count(0.0),
        num_failed=sum(bool(pair.first.error or pair.second.error) for pair in apart),
        widest=tuple((pair.sample_id, pair.gap) for pair in islice(answered, MAX_SHOWN)),
        apart=tuple(apart),
        verdicts=(first[1].verdict, second[1].verdict),
        figures=tuple(_figures(first[1], second[1])),
        differing=tuple(_differing(runs[0].manifest, runs[1].manifest)),
    )


def transcripts_text(comparison: TranscriptComparison, columns: int | None = None) -> str:
    """The score, what it was made of, and what is not the same in both runs.

    Args:
        comparison: Of two runs.
        columns: Cells of a line; None folds nothing.
    """
    share = f"{comparison.num_pairs} pairs"
    if comparison.num_pairs < comparison.num_planned:
        share = f"{comparison.num_pairs} of {comparison.num_planned} pairs"
    lines = [
        f"accuracy_gap {comparison.gap:.6g} over {share} (agreement of the replies, not WER; "
        "0: the same words)",
        f"{comparison.num_equal} pairs have the same words; of {comparison.num_failed} a sample "
        "failed, which counts as 1",
        *(f"farthest apart: {name}, {gap:.4f}" for name, gap in comparison.widest),
    ]
    lines += [
        f"{name} is {verdict}"
        for name, verdict in zip("AB", comparison.verdicts, strict=True)
        if verdict.validity != "VALID"
    ]
    lines += [f"different: {name}: A {a}, B {b}" for name, a, b in comparison.differing]
    shown = [fold(one_line(line), columns, INDENT) for line in lines]
    figures = table([("metric", "A %", "B %")], figure_texts(comparison), {0, 1, 2}, columns)
    return "\n".join([*shown, "", figures])


def figure_texts(comparison: TranscriptComparison) -> list[tuple[str, str, str]]:
    """Per metric its name, and what A and B have, in percent with the interval."""
    return [
        (name, _with_interval(first), _with_interval(second))
        for name, first, second in comparison.figures
    ]


def _with_interval(aggregate: Aggregate | None) -> str:
    return f"{percent(aggregate)} ({interval(aggregate)})"


def _refuse_other_task(first: Mapping[str, Any], second: Mapping[str, Any]) -> None:
    found = list(differences(_asked(first), _asked(second)))
    if found:
        raise UsageError(refusal(found))


def _asked(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """What both runs must have in common."""
    task = manifest["task"]
    left_out = {*_FORM_OF_THE_PROMPT, *_CITATIONS}
    settings = {k: v for k, v in task["settings"].items() if k not in left_out}
    return {"task": task["name"], "settings": settings, "data": manifest["data"]["sha256"]}


def _joined(first: RunContent, second: RunContent) -> tuple[list[float], list[ReplyPair]]:
    """The gaps of all samples of both runs; and the pairs with another gap than 0, sorted."""
    others = {record["sample_id"]: (_words(record), _reply(record)) for record in second.samples}
    gaps, apart = [], []
    for record in first.samples:
        if record["sample_id"] not in others:
            continue
        mine, (theirs, reply) = _words(record), others[record["sample_id"]]
        failed = mine is None or theirs is None
        gap = _GAP_OF_A_FAILURE if failed else edit_distance_share(mine or "", theirs or "")
        gaps.append(gap)
        if gap:
            apart.append(_pair(gap, record, reply))
    return gaps, sorted(apart, key=lambda pair: (-pair.gap, pair.sample_id))


def _pair(gap: float, first: Mapping[str, Any], second: Reply) -> ReplyPair:
    return ReplyPair(
        gap=gap,
        index=first["index"],
        sample_id=first["sample_id"],
        clips=tuple(first["clips"]),
        truth=first["truth"],
        subsets=tuple(first["subsets"]),
        first=_reply(first),
        second=second,
    )


def _reply(record: Mapping[str, Any]) -> Reply:
    response = record["response"]
    return Reply(answer=None, text=response["text"], error=response["error"], option_logits=())


def _words(record: Mapping[str, Any]) -> str | None:
    """The words of the reply, lower case and without punctuation; None where it failed."""
    return None if record["response"]["error"] else record["score"]["answer"] or ""


def _figures(
    first: Summary, second: Summary
) -> Iterator[tuple[str, Aggregate | None, Aggregate | None]]:
    for metric in ("wer", "exact_match", "answered_rate", "error_rate"):
        pair = first.value("all", metric), second.value("all", metric)
        if any(each and each.value is not None for each in pair):
            yield metric, *pair


def _differing(
    first: Mapping[str, Any], second: Mapping[str, Any]
) -> Iterator[tuple[str, str, str]]:
    for name in _DECIDED_THE_REPLIES:
        a, b = (str(_facts(manifest)[name]) for manifest in (first, second))
        if a != b:
            yield name, a, b


def _facts(manifest: Mapping[str, Any]) -> dict[str, Any]:
    place = manifest["place"]
    return {
        "model": manifest["model"]["name"],
        "backend": place.get("backend"),
        "prompt": manifest["prompt"]["rendered"],
        "device": f"{place.get('device_label')} {manifest['device']['name']}",
        "dtype": place.get("dtype"),
        "attention": manifest["model"]["settings"]["attention"],
    }
