"""What the vendors' tools reported of the devices of an evaluation is a note, never a verdict."""

from dataclasses import replace

import pytest

from modeltest.reports.console import verdict_line
from modeltest.reports.summary import summarise


def reading(when, rank=0, **health):
    return {"type": "health", "when": when, "rank": rank, "health": health}


@pytest.fixture
def noted(make_run):
    """Notes of a sound run with such readings; its word stays VALID."""

    def sound(_manifest, samples):
        for sample in samples:
            sample["response"]["error"] = ""

    before = make_run(sound)

    def notes(*readings, **others):
        device = {"kind": "npu", "name": "Ascend 910B4", "index": 0}
        run = replace(
            before, manifest={**before.manifest, "device": device}, health=readings, **others
        )
        after = summarise(run)
        verdict = after.verdict
        assert verdict.validity == summarise(before).verdict.validity == "VALID"
        assert "\n" not in verdict_line(after)
        known = summarise(before).verdict.reasons
        return [reason for reason in verdict.reasons if reason not in known]

    return notes


def test_a_device_that_is_well_needs_no_word(noted):
    assert noted(reading("before", health="OK"), reading("after", health="OK")) == []
    assert noted(reading("before", unknown="npu-smi is not installed")) == []


def test_health_and_memory_errors_are_notes(noted):
    assert noted(
        reading("before", health="OK", uncorrected_errors=0),
        reading("after", health="Alarm", uncorrected_errors=1),
    ) == ["NPU 0 reports health Alarm", "uncorrected memory errors of NPU 0 rose from 0 to 1"]


def test_what_costs_time_alone_is_none(noted):
    assert noted(reading("after", slowdowns=["power brake slowdown"], other_processes=[7])) == []


def test_each_worker_has_a_device_of_its_own(noted):
    workers = [
        {"type": "worker", "number": number, "host": {"name": "h"},
         "device": {"name": "Ascend 910B4", "index": number}}
        for number in range(2)
    ]  # fmt: skip
    readings = [
        reading("before", rank=0, uncorrected_errors=0),
        reading("before", rank=1, uncorrected_errors=5),
        reading("after", rank=1, uncorrected_errors=5, health="Warning"),
        reading("after", rank=0, uncorrected_errors=0),
    ]
    notes = noted(*readings, workers=tuple(workers))
    assert "worker 1: NPU 1 reports health Warning" in notes
    assert not any("memory errors" in note for note in notes)


@pytest.mark.parametrize("odd", [None, [], {}, "x", True, 1e300])
def test_a_reading_may_be_anything(noted, odd):
    records = [
        {"type": "health"},
        {"type": "health", "when": odd, "rank": odd, "health": odd},
        {"type": "health", "when": odd, "rank": 0, "health": {"health": [odd]}},
    ]
    assert noted(*records) == []
