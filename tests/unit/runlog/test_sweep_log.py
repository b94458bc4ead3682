"""Reading a sweep's log: only complete blocks count, each once."""

import pytest

from modeltest.errors import DataError
from modeltest.runlog.manifest import write_manifest
from modeltest.runlog.segment import SegmentWriter
from modeltest.runlog.sweep_log import read_sweep


def timed(batch_size, pass_number, number, e2e_s=1.0, mode="fixed"):
    return {
        "type": "round", "batch_size": batch_size, "mode": mode, "pass": pass_number,
        "kind": "copies", "number": number, "start_s": 1.0, "end_s": 2.0, "suspended_s": None,
        "batches": [
            {
                **dict.fromkeys(("feature_s", "encoder_s", "prefill_s", "ttft_s", "step_s")),
                "e2e_s": e2e_s, "detokenize_s": None, "audio_s": 1.0, "input_tokens": [None],
                "output_tokens": [1], "audio_tokens": None, "outputs_sha256": "", "errors": [],
            }
        ],
    }  # fmt: skip


def end(batch_size, pass_number, mode="fixed"):
    return {"type": "block", "batch_size": batch_size, "mode": mode, "pass": pass_number}


@pytest.fixture
def write(tmp_path, perf_manifest):
    """Writes segments, in this order, and reads the sweep."""

    def write_segments(*segments, **changes):
        write_manifest(tmp_path, {**perf_manifest, **changes})
        for number, records in enumerate(segments):
            with SegmentWriter(tmp_path / "log" / f"h-0-{number}.jsonl") as segment:
                for record in records:
                    segment.append(record)
        return read_sweep(tmp_path)

    return write_segments


def times(content):
    return [record["batches"][0]["e2e_s"] for record in content.rounds]


def test_rounds_of_complete_blocks_in_order(write):
    content = write([timed(1, 0, 0, 0.1), timed(1, 0, 1, 0.2), end(1, 0), timed(2, 0, 0, 0.3),
                     end(2, 0)])  # fmt: skip
    assert times(content) == [0.1, 0.2, 0.3]
    assert content.blocks == {(1, "fixed", 0), (2, "fixed", 0)}


def test_an_incomplete_block_does_not_count(write):
    content = write([timed(1, 0, 0, 0.1), end(1, 0), timed(1, 1, 0, 0.2)])
    assert times(content) == [0.1]
    assert content.blocks == {(1, "fixed", 0)}


def test_a_killed_block_is_measured_anew_and_its_first_rounds_do_not_leak_in(write):
    content = write([timed(1, 0, 0, 9.0)], [timed(1, 0, 0, 0.1), end(1, 0)])
    assert times(content) == [0.1]


def test_of_a_block_measured_twice_the_first_complete_one_counts(write):
    content = write([timed(1, 0, 0, 0.1), end(1, 0)], [timed(1, 0, 0, 0.2), end(1, 0)])
    assert times(content) == [0.1]


def test_an_end_without_rounds_is_no_measurement(write):
    content = write([end(1, 0)], [timed(1, 0, 0, 0.1), end(1, 0)])
    assert times(content) == [0.1]


def test_blocks_of_other_points_may_lie_in_between(write):
    content = write([timed(1, 0, 0, 0.1), timed(2, 0, 0, 0.2), end(2, 0), end(1, 0)])
    assert sorted(times(content)) == [0.1, 0.2]


def test_other_records_by_kind(write):
    key = {"batch_size": 1, "mode": "fixed"}
    content = write(
        [
            {"type": "phase", "name": "load", "seconds": 1.0},
            {"type": "peaks", "bandwidth_bytes_per_s": 1, "flops_per_s": 1.0, "source": ""},
            {"type": "peaks", "bandwidth_bytes_per_s": 1, "flops_per_s": 2.0, "source": ""},
            {"type": "work", **key, "stages": {}},
            timed(1, 0, 0),
            {"type": "outputs", **key, "pass": 0, "items": []},
            end(1, 0),
            {"type": "outputs", **key, "pass": 1, "items": []},
            {"type": "point_failure", "batch_size": 2, "mode": "fixed", "reason": "r"},
            {"type": "degraded", **key, "reason": "d"},
            {"type": "of a later version"},
        ]
    )
    assert content.peaks["flops_per_s"] == 1.0
    assert [len(r) for r in (content.phases, content.works, content.outputs)] == [1, 1, 1]
    assert [r["reason"] for r in content.failures] == ["r"]
    assert [r["reason"] for r in content.degraded] == ["d"]
    assert content.of(content.failures, (2, "fixed")) == content.failures
    assert content.of(content.failures, (2, "natural")) == ()


def test_points_are_the_planned_ones_by_mode(write):
    assert write([]).points == ((2, "fixed"), (1, "fixed"), (2, "natural"), (1, "natural"))


def test_a_torn_line_is_told_and_costs_its_block_only(write, tmp_path):
    write([timed(1, 0, 0, 0.1), end(1, 0), timed(2, 0, 0), end(2, 0)])
    [path] = (tmp_path / "log").iterdir()
    path.write_bytes(path.read_bytes()[:-5])
    content = read_sweep(tmp_path)
    assert content.blocks == {(1, "fixed", 0)}
    assert content.torn == ("h-0-0.jsonl",)
    assert content.problems == ()


def test_damage_inside_is_a_problem(write, tmp_path):
    write([timed(1, 0, 0), end(1, 0), timed(2, 0, 0), end(2, 0)])
    [path] = (tmp_path / "log").iterdir()
    lines = path.read_bytes().split(b"\n")
    lines[1] = lines[1].replace(b"fixed", b"fixes")
    path.write_bytes(b"\n".join(lines))
    [problem] = read_sweep(tmp_path).problems
    assert "damaged inside" in problem


def test_another_commands_run_is_refused(write):
    with pytest.raises(DataError, match="is a run of modeltest eval, not of modeltest perf"):
        write([], command="eval")
