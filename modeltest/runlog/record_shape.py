"""What a record of a run log looks like, so that no reader of it has to doubt.

A right checksum says that a line is as it was written, not that modeltest wrote it. Every
record of a long log is looked at, so only its parts and their types are, and only those
that the reports read. Kinds of records that are not known here may hold anything.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields
from typing import Any

from modeltest.records import Score
from modeltest.runlog import sweep_record_shape

_MAX_INDEX = 1 << 40
_MAX_COUNT = 1 << 31  # sums of so many samples stay exact
_NUMBER = (int, float)
_COUNT = (int, type(None))
# Logs of before a part was thought of lack it, if it has a default.
_TYPES_OF: dict[Any, tuple[type, ...]] = {"bool": (bool,), "int | None": _COUNT}
_SCORE_TYPES = {field.name: _TYPES_OF.get(field.type, (str, type(None))) for field in fields(Score)}
_SCORE_COUNTS = ("num_word_edits", "num_reference_words")
_SCORE_NEEDS = frozenset(field.name for field in fields(Score) if field.default is MISSING)


def is_record(value: object) -> bool:
    """Whether a JSON value is a record that the reports can take as it is."""
    if type(value) is not dict:
        return False
    kind = value.get("type")
    if type(kind) is not str:
        return False
    check = _CHECKS.get(kind)
    try:
        return check is None or check(value)
    except (KeyError, AttributeError, TypeError):  # a part is missing, or another thing
        return False


def _is_sample(record: Mapping[str, Any]) -> bool:
    return (
        # `type`, not isinstance: true is no number here.
        type(record["index"]) is int
        and 0 <= record["index"] < _MAX_INDEX
        and type(record["key"]) is str
        and type(record["sample_id"]) is str
        and type(record["truth"]) is str
        and _are_texts(record["metadata"].values())
        and type(record["subsets"]) is list
        and _are_texts(record["subsets"])
        and _are_clips(record["clips"])
        and _is_response(record["response"])
        and _is_score(record["score"])
    )


def _are_texts(values: Any) -> bool:
    for value in values:  # noqa: SIM110  (a generator costs twice as much)
        if type(value) is not str:
            return False
    return True


def _are_clips(clips: Any) -> bool:
    if type(clips) is not list:
        return False
    for clip in clips:
        if not (
            type(clip["name"]) is str
            and type(clip["sha256"]) is str
            and type(clip["note"]) is str
            and type(clip["duration_s"]) in _NUMBER
            and type(clip["heard_s"]) in _NUMBER
            and type(clip.get("envelope", "")) is str  # older logs lack it
        ):
            return False
    return True


def _is_response(response: Mapping[str, Any]) -> bool:
    timing = response["timing"]
    return (
        type(response["text"]) is str
        and type(response["input_text"]) is str
        and type(response["finish_reason"]) is str
        and type(response["error"]) is str
        and type(response["input_tokens"]) in _COUNT
        and type(response["output_tokens"]) in _COUNT
        and _are_numbers(response.get("option_logits", []))  # older logs lack it
        and (timing is None or type(timing["e2e_s"]) in _NUMBER)
    )


def _are_numbers(values: Any) -> bool:
    if type(values) is not list:
        return False
    for value in values:  # noqa: SIM110  (a generator costs twice as much)
        if type(value) not in _NUMBER:
            return False
    return True


def _is_score(score: Mapping[str, Any]) -> bool:
    for name, value in score.items():
        if type(value) not in _SCORE_TYPES[name]:
            return False
    for name in _SCORE_COUNTS:
        if not 0 <= (score.get(name) or 0) < _MAX_COUNT:
            return False
    return score.keys() >= _SCORE_NEEDS


def _is_head(record: Mapping[str, Any]) -> bool:
    return type(record["manifest_sha256"]) is str


def _is_phase(record: Mapping[str, Any]) -> bool:
    counted = record["name"] != "eval" or type(record["num_samples"]) is int
    return type(record["name"]) is str and type(record["seconds"]) in _NUMBER and counted


def _is_probe(record: Mapping[str, Any]) -> bool:
    return (
        _are_texts((record["kind"], record["sample_id"], record["text"], record["error"]))
        and type(record["index"]) is int
        and type(record["answer"]) in {str, type(None)}
        and _are_numbers(record["option_logits"])
    )


def _is_split(record: Mapping[str, Any]) -> bool:
    return type(record["size"]) is int and type(record["reason"]) is str


def _is_stop(record: Mapping[str, Any]) -> bool:
    return type(record["reason"]) is str


def _is_redealt(record: Mapping[str, Any]) -> bool:
    indices = record["indices"]
    return type(indices) is list and type(record["reason"]) is str


def _is_worker(record: Mapping[str, Any]) -> bool:
    device = record["device"]
    return (
        type(record["number"]) is int
        and _are_texts((record["host"]["name"], device["name"]))
        and type(device.get("simulated", False)) is bool
    )


_CHECKS: dict[str, Callable[[Mapping[str, Any]], bool]] = {
    "sample": _is_sample,
    "head": _is_head,
    "phase": _is_phase,
    "probe": _is_probe,
    "split": _is_split,
    "stop": _is_stop,
    "redealt": _is_redealt,
    "given_up": _is_stop,
    "worker": _is_worker,
    **sweep_record_shape.CHECKS,
}
