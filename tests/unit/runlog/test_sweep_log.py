"""Reading a sweep's log: only complete blocks count, each once."""

import shutil
import zlib
from itertools import permutations

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


def write_as(write, segments):
    """Writes the segments in the place of those that are there."""
    shutil.rmtree(write().folder / "log")
    return write(*segments)


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


def test_two_different_measurements_of_a_block_are_a_problem(write):
    content = write(
        [timed(1, 0, 0, 0.1), end(1, 0), timed(2, 0, 0), end(2, 0)],
        [timed(1, 0, 0, 0.2), end(1, 0)],
    )
    assert content.problems == ("two different measurements of batch size 1, fixed, pass 0",)
    assert len(times(content)) == 2


def test_a_block_that_was_logged_twice_counts_once(write):
    outputs = {"type": "outputs", "batch_size": 1, "mode": "fixed", "pass": 0, "items": []}
    segment = [timed(1, 0, 0, 0.1), outputs, end(1, 0)]
    content = write(segment, segment)
    assert (times(content), content.problems) == ([0.1], ())
    assert content.outputs == (outputs,)


def begun(batch_size, pass_number, number, start_s):
    return {**timed(batch_size, pass_number, number, e2e_s=start_s), "start_s": start_s}


def of_three_processes():
    """The machine was started anew before the third: its clock began again."""
    return [
        [
            {"type": "phase", "name": "load", "seconds": 1.0},
            {"type": "health", "when": "before", "health": {"process": 1}},
            begun(2, 0, 0, 9000.0), begun(2, 0, 1, 9001.0), end(2, 0),
            begun(1, 0, 0, 9002.0), end(1, 0), begun(1, 1, 0, 9003.0),
        ],
        [
            {"type": "phase", "name": "load", "seconds": 2.0},
            begun(1, 1, 0, 9100.0), begun(1, 1, 1, 9101.0), end(1, 1),
        ],
        [
            {"type": "phase", "name": "load", "seconds": 3.0},
            {"type": "health", "when": "before", "health": {"process": 3}},
            begun(2, 1, 0, 7.0), end(2, 1), begun(2, 2, 0, 8.0), end(2, 2),
            begun(1, 2, 0, 9.0), end(1, 2),
        ],
        [{"type": "phase", "name": "end", "seconds": 0.0}],
    ]  # fmt: skip


@pytest.mark.parametrize("order", [*permutations(range(4))])
def test_the_order_is_the_records_whatever_the_segments_are_called(write, order):
    processes = of_three_processes()
    content = write(*(processes[number] for number in order))
    # By pass, then by the clock; each batch's time is the reading at its start.
    assert times(content) == [9000.0, 9001.0, 9002.0, 7.0, 9100.0, 9101.0, 8.0, 9.0]
    assert content.problems == ()
    assert sorted(phase["seconds"] for phase in content.phases) == [0.0, 1.0, 2.0, 3.0]
    first = write_as(write, processes)
    assert (content.phases, content.health) == (first.phases, first.health)


def test_rounds_that_began_at_once_stay_in_their_process_order(write):
    content = write([timed(2, 0, 0, 0.1), end(2, 0), timed(1, 0, 0, 0.2), end(1, 0)])
    assert times(content) == [0.1, 0.2]


def test_a_record_that_is_nested_too_deeply_is_no_traceback(write, tmp_path):
    write([timed(1, 0, 0, 0.1), end(1, 0)])
    deep = b'{"type":"x","deep":' + b"[" * 1000 + b"]" * 1000 + b"}"
    for name in ("y", "z"):
        line = b"%08x %s\n" % (zlib.crc32(deep), deep)
        (tmp_path / "log" / f"{name}.jsonl").write_bytes(line)
    assert times(read_sweep(tmp_path)) == [0.1]


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
