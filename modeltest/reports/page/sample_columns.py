"""A run's samples as columns of JSON values, for the table of its page."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from modeltest.errors import one_line
from modeltest.reports.page.clips import clip_folders
from modeltest.runlog.run_log import RunContent

MAX_SAMPLES = 20_000
MAX_CHARACTERS = 1_000_000
_LONGEST = (10_000, 5_000, 2_000, 1_000, 500, 250)
_MAX_NAME = 1_000
_ENVELOPE = re.compile(r"[A-Za-z0-9_-]{1,256}")


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

    Texts are cut so that all of them have about `MAX_CHARACTERS`; the tables of the run have
    them whole. Every text is fit for one line (`modeltest.errors.one_line`).

    Args:
        run: The run.
        clips_are_embedded: Clips are named by their digest instead of their address.
    """
    shown, longest = _survey(run.samples)
    labels = list(run.manifest["labels"])
    subsets: dict[str, int] = {}
    columns: dict[str, list[Any]] = {}
    for place, record in enumerate(run.samples):
        if shown is not None and place not in shown:
            continue
        row = _row(record, labels, longest)
        row["clips"] = [_clip(clip, clips_are_embedded) for clip in record["clips"]]
        row["subsets"] = [
            subsets.setdefault(one_line(name), len(subsets))
            for name in dict.fromkeys(record["subsets"])
            if not name.startswith("class=")
        ]
        for name, value in row.items():
            columns.setdefault(name, []).append(value)
    num_shown = len(columns.get("id", []))
    content = {
        "labels": [one_line(label) for label in labels],
        "folders": [] if clips_are_embedded else clip_folders(run.manifest),
        "embedded": clips_are_embedded,
        "slices": list(subsets),
        "status": [],
        **columns,
    }
    return SampleColumns(content, list(subsets), num_shown)


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
    sums = dict.fromkeys(_LONGEST, 0)
    missed: list[int] = []
    is_long = len(samples) > MAX_SAMPLES
    for place, record in enumerate(samples):
        for text in _texts(record):
            for longest in _LONGEST:
                sums[longest] += min(len(text), longest)
        if is_long and len(missed) < MAX_SAMPLES and status_of(record) in "wue":
            missed.append(place)
    longest = next((each for each in _LONGEST if sums[each] <= MAX_CHARACTERS), _LONGEST[-1])
    if not is_long:
        return None, longest
    shown = set(missed)
    for place in range(len(samples)):
        if len(shown) == MAX_SAMPLES:
            break
        shown.add(place)
    return shown, longest


def _texts(record: Mapping[str, Any]) -> Iterable[str]:
    return record["response"]["text"], record["truth"], record["response"]["error"]


def _row(record: Mapping[str, Any], labels: Sequence[str], longest: int) -> dict[str, Any]:
    response, score, truth = record["response"], record["score"], record["truth"]
    return {
        "index": record["index"],
        "id": _cut(record["sample_id"], _MAX_NAME),
        "status": status_of(record),
        "truth": labels.index(truth) if truth in labels else _cut(truth, longest),
        "answer": labels.index(score["answer"]) if score["answer"] in labels else None,
        "text": _cut(response["text"], longest),
        "left_out": max(0, len(response["text"]) - longest),
        "error": _cut(response["error"], longest),
        "e2e": _number((response["timing"] or {}).get("e2e_s")),
        "tokens": [response["input_tokens"], response["output_tokens"]],
        "logits": [_number(logit) for logit in response.get("option_logits", [])],
        "legacy": _legacy(score),
        "words": [score.get("num_word_edits"), score.get("num_reference_words")],
    }


def _legacy(score: Mapping[str, Any]) -> str | None:
    answer = score.get("legacy_answer")
    return None if answer is None else _cut(answer, _MAX_NAME)


def _clip(clip: Mapping[str, Any], by_digest: bool) -> list[Any]:
    shape = clip.get("envelope", "")
    return [
        _cut(clip["name"], _MAX_NAME),
        _number(clip["duration_s"]),
        _number(clip["heard_s"]),
        shape if _ENVELOPE.fullmatch(shape) else "",
        _cut(clip["note"], _MAX_NAME),
        clip["sha256"] if by_digest else "",
    ]


def _number(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.6g}")


def _cut(text: str, longest: int) -> str:
    return one_line(text[:longest])
