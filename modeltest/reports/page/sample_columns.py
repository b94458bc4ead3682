"""A run's samples as columns of JSON values, for the table of its page."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from modeltest.errors import one_line
from modeltest.reports.page.cells import (
    MAX_NAME,
    SliceNames,
    TextBudget,
    clip_cell,
    cut,
    label_or_text,
    left_out,
    number,
)
from modeltest.reports.page.clips import clip_folders
from modeltest.runlog.run_log import RunContent

MAX_SAMPLES = 10_000


@dataclass(frozen=True, slots=True)
class SampleColumns:
    """The samples of a page.

    Attributes:
        content: Columns of equal length and what they share; `page/samples.js` reads it.
        subsets: Names of the slices, as `content["subsets"]` counts them.
        num_shown: How many samples there are.
    """

    content: dict[str, Any]
    subsets: list[str]
    num_shown: int


def sample_columns(run: RunContent, clips_are_embedded: bool = False) -> SampleColumns:
    """All samples of a run, or of a very long one `MAX_SAMPLES`, those not correct first of all.

    Texts are cut so that all of them have about `MAX_TEXT_BYTES`; the tables of the run
    have them whole. Every text is fit for one line (`modeltest.errors.one_line`).

    Args:
        run: The run.
        clips_are_embedded: Clips are named by their digest instead of their address.
    """
    shown, longest = _survey(run.samples)
    labels = list(run.manifest["labels"])
    label_places = {label: place for place, label in enumerate(labels)}
    slices = SliceNames()
    columns: dict[str, list[Any]] = {}
    for place, record in enumerate(run.samples):
        if shown is not None and place not in shown:
            continue
        row = _row(record, label_places, longest)
        row["clips"] = [clip_cell(clip, clips_are_embedded) for clip in record["clips"]]
        row["subsets"] = slices.places(record["subsets"])
        for name, value in row.items():
            columns.setdefault(name, []).append(value)
    num_shown = len(columns.get("id", []))
    content = {
        "labels": [one_line(label) for label in labels],
        "folders": [] if clips_are_embedded else clip_folders(run.manifest),
        "embedded": clips_are_embedded,
        "slices": slices.names,
        "status": [],
        **columns,
    }
    return SampleColumns(content, slices.names, num_shown)


def status_of(record: Mapping[str, Any]) -> str:
    """How a sample came out: `e`rror, `u`nparsed, `c`orrect, `w`rong; `a`nswered if unknown."""
    if record["response"]["error"]:
        return "e"
    if record["score"]["answer"] is None:
        return "u"
    if not record["truth"]:
        return "a"
    return "c" if record["score"]["correct"] else "w"


def _survey(samples: Sequence[Mapping[str, Any]]) -> tuple[set[int] | None, int]:
    """Places of the samples to show (None: all), and how long their texts may be."""
    budget = TextBudget()
    missed: list[int] = []
    is_long = len(samples) > MAX_SAMPLES
    for place, record in enumerate(samples):
        for text in _texts(record):
            budget.add(text)
        if is_long and len(missed) < MAX_SAMPLES and status_of(record) in "wue":
            missed.append(place)
    if not is_long:
        return None, budget.longest
    shown = set(missed)
    for place in range(len(samples)):
        if len(shown) == MAX_SAMPLES:
            break
        shown.add(place)
    return shown, budget.longest


def _texts(record: Mapping[str, Any]) -> Iterable[str]:
    return record["response"]["text"], record["truth"], record["response"]["error"]


def _row(record: Mapping[str, Any], labels: Mapping[str, int], longest: int) -> dict[str, Any]:
    response, score, text = record["response"], record["score"], record["response"]["text"]
    return {
        "index": record["index"],
        "id": cut(record["sample_id"], MAX_NAME),
        "status": status_of(record),
        "truth": label_or_text(record["truth"], labels, longest),
        "answer": labels.get(score["answer"]),
        "text": cut(text, longest),
        "left_out": left_out(text, longest),
        "error": cut(response["error"], longest),
        "e2e": number((response["timing"] or {}).get("e2e_s")),
        "tokens": [response["input_tokens"], response["output_tokens"]],
        "logits": [number(logit) for logit in response.get("option_logits", [])],
        "legacy": _legacy(score),
        "words": [score.get("num_word_edits"), score.get("num_reference_words")],
    }


def _legacy(score: Mapping[str, Any]) -> str | None:
    answer = score.get("legacy_answer")
    return None if answer is None else cut(answer, MAX_NAME)
