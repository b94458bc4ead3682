"""Records that carry a right checksum and are none."""

import pytest

from modeltest.runlog.record_shape import is_record


def changed(record, path, value):
    """The record with the part at a path replaced, or left out where the value is `...`."""
    key, *rest = path
    if isinstance(record, list):
        return [changed(each, rest, value) if i == key else each for i, each in enumerate(record)]
    if rest:
        return {**record, key: changed(record[key], rest, value)}
    left = {name: part for name, part in record.items() if name != key}
    return left if value is ... else {**left, key: value}


def test_a_whole_sample_is_one(sample):
    assert is_record(sample(0))
    assert is_record(changed(sample(0), ("response", "timing"), None))
    assert is_record({**sample(0), "more": 1})
    assert is_record(changed(sample(0), ("response", "option_logits"), [1.5, 2]))
    assert is_record(changed(sample(0), ("score", "option_answer"), "cough"))
    assert is_record(changed(sample(0), ("score", "num_word_edits"), 3))
    assert is_record(changed(sample(0), ("score", "num_reference_words"), None))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        *((path, ...) for path in (
            ("index",), ("key",), ("sample_id",), ("truth",), ("metadata",), ("subsets",),
            ("clips",), ("response",), ("score",), ("response", "text"), ("response", "timing"),
            ("response", "error"), ("response", "output_tokens"), ("score", "answer"),
            ("score", "legacy_correct"), ("response", "timing", "e2e_s"),
        )),
        (("index",), "0"), (("index",), True), (("index",), 1e30), (("index",), None),
        (("index",), -1), (("index",), 2**63),
        (("key",), 5), (("truth",), None), (("metadata",), []), (("metadata",), {"a": 1}),
        (("subsets",), "class=x"), (("subsets",), [1]), (("subsets",), [["x"]]),
        (("clips",), {}), (("clips",), [1]), (("clips",), [{}]),
        (("clips", 0, "note"), None), (("clips", 0, "heard_s"), "1"), (("clips", 0, "sha256"), ...),
        (("response",), []), (("response", "text"), None), (("response", "error"), False),
        (("response", "input_tokens"), "3"), (("response", "timing"), 1),
        (("response", "timing"), {"e2e_s": "1"}), (("score",), {}), (("score", "correct"), 1),
        (("response", "option_logits"), None), (("response", "option_logits"), ["1"]),
        (("score", "answer"), 3), (("score", "more"), 1),
        *((("score", "num_word_edits"), value) for value in ("3", 1.5, True, -1, 2**31)),
        (("score", "num_reference_words"), -1),
    ],
)  # fmt: skip
def test_a_sample_with_a_part_missing_or_of_another_type_is_none(sample, path, value):
    assert not is_record(changed(sample(0), path, value))


@pytest.mark.parametrize(
    "record",
    [
        {"type": "head", "manifest_sha256": "ab"},
        {"type": "phase", "name": "load", "seconds": 1},
        {"type": "phase", "name": "eval", "seconds": 1.5, "num_samples": 3},
        {"type": "split", "size": 4, "reason": "out of memory"},
        {"type": "worker", "number": 0, "host": {"name": "h"}, "device": {"name": "d"}},
        {"type": "stop", "reason": "why"},
        {
            "type": "probe",
            "kind": "alone",
            "index": 3,
            "sample_id": "s",
            "text": "C",
            "answer": "cough",
            "option_logits": [1.5],
            "error": "",
        },
        {"type": "of a later version", "anything": [None]},
    ],
)
def test_records_of_other_kinds(record):
    assert is_record(record)
    for key in record:
        if "anything" not in record or key == "type":
            assert not is_record({k: v for k, v in record.items() if k != key})
            assert not is_record({**record, key: [record[key]]})


def worker(**device):
    return {"type": "worker", "number": 0, "host": {"name": "h"}, "device": device}


@pytest.mark.parametrize(
    ("record", "whole"),
    [
        (worker(name="d", simulated=True), True),
        (worker(name="d", simulated=False, index=1), True),
        *((worker(name="d", simulated=value), False) for value in (None, 0, "", "no", [])),
        *((worker(name=value), False) for value in (None, 1, ["d"], {})),
        (worker(simulated=True), False),
        *(({**worker(name="d"), "number": value}, False) for value in (True, 1.0, "1", None)),
        ({**worker(name="d"), "device": "d"}, False),
        ({**worker(name="d"), "host": {"name": 1}}, False),
    ],
)
def test_a_workers_device_has_a_name_and_is_simulated_or_not(record, whole):
    assert is_record(record) is whole


@pytest.mark.parametrize("value", [None, [], "x", 1, {"type": 1}, {"type": []}, {}])
def test_other_values_are_none(value):
    assert not is_record(value)
