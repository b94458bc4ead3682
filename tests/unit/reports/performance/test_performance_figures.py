"""A point's figures, from the hand-made sweep: batch_s(b) = 0.1 + 0.02 b in fixed mode."""

import numpy as np
import pytest

from modeltest.metrics.block_bootstrap import median_interval
from modeltest.reports.performance.summary import summarise_sweep


def row(content, batch_size, mode="fixed"):
    [found] = [
        r for r in summarise_sweep(content).rows if (r.batch_size, r.mode) == (batch_size, mode)
    ]
    return found


def seconds(rounds):
    return [r["batches"][0]["e2e_s"] for r in rounds]


def test_every_planned_point_is_a_row(sweep):
    rows = summarise_sweep(sweep).rows
    assert [(r.batch_size, r.mode) for r in rows] == [
        (size, mode) for mode in ("fixed", "natural") for size in (1, 2, 4)
    ]
    assert all(r.valid for r in rows)


def test_throughput_is_the_median_over_rounds(sweep):
    for size in (1, 2, 4):
        rounds = [r for r in sweep.of(sweep.rounds, (size, "fixed")) if r["kind"] == "copies"]
        figures = row(sweep, size).figures
        e2e = seconds(rounds)
        assert figures.repeats == figures.num_batches == 20
        assert figures.output_tokens_per_s == pytest.approx(np.median([8 * size / s for s in e2e]))
        assert figures.samples_per_s == pytest.approx(np.median([size / s for s in e2e]))
        assert figures.audio_seconds_per_s == pytest.approx(
            np.median([2.5 * size / s for s in e2e])
        )
        assert figures.total_tokens_per_s == pytest.approx(np.median([108 * size / s for s in e2e]))
        assert figures.measured_s == pytest.approx(sum(e2e))


def test_the_interval_is_that_of_the_blocks(sweep):
    figures = row(sweep, 2).figures
    rounds = [r for r in sweep.of(sweep.rounds, (2, "fixed")) if r["kind"] == "copies"]
    blocks = [[16 / s for s in seconds([r for r in rounds if r["pass"] == p])] for p in range(5)]
    assert figures.blocks == tuple(map(tuple, blocks))
    assert figures.interval == median_interval(blocks)
    assert figures.interval[0] < figures.output_tokens_per_s < figures.interval[1]


def test_times_are_medians_over_batches(sweep):
    figures = row(sweep, 4).figures
    e2e = figures.e2e_p50_s
    # The twenty factors lie evenly around 1.
    assert e2e == pytest.approx(0.18)
    assert figures.e2e_p90_s is None
    shares = {"feature": 0.05, "encoder": 0.1, "prefill": 0.15, "decode": 0.68, "detokenize": 0.01}
    assert figures.stage_s == pytest.approx({name: s * e2e for name, s in shares.items()})
    assert figures.ttft_s == pytest.approx(0.3 * e2e)
    assert figures.tpot_s == pytest.approx(0.7 * e2e / 7)
    assert figures.unattributed_s == pytest.approx(0.01 * e2e)
    assert figures.step_s == pytest.approx((0.68 * e2e / 7,) * 7)


def test_counts_are_per_request(sweep):
    figures = row(sweep, 4).figures
    assert (figures.audio_seconds, figures.input_tokens, figures.output_tokens) == (2.5, 100, 8)
    assert figures.text_tokens == 38  # 100, less 63 audio tokens, and 1 for the clip
    assert figures.peak_memory_bytes == 4 * 2**30


def test_a_task_round_is_all_its_batches(make_sweep, rounds_of):
    def change(manifest, logged):
        manifest["sweep"]["clip_source"] = "task"
        for record in rounds_of(logged, 2, "natural"):
            [batch] = record["batches"]
            short = {**batch, "e2e_s": 0.05, "output_tokens": [3], "input_tokens": [50],
                     "audio_s": 1.0, "step_s": [0.01, 0.01]}  # fmt: skip
            record.update(kind="task", batches=[{**batch, "e2e_s": 0.15}, short])

    figures = row(make_sweep(change), 2, "natural").figures
    assert figures.kind == "task"
    assert (figures.repeats, figures.num_batches) == (20, 40)
    assert figures.output_tokens_per_s == pytest.approx(13 / 0.2)
    assert figures.samples_per_s == pytest.approx(3 / 0.2)
    assert figures.audio_seconds_per_s == pytest.approx(6 / 0.2)
    assert figures.e2e_p50_s == pytest.approx(0.1)
    assert figures.audio_seconds == pytest.approx(2.0)
    assert figures.output_tokens == pytest.approx(13 / 3)
    assert figures.step_s == ()  # their batches have other numbers of steps


def test_p90_from_64_batches(make_sweep, rounds_of):
    def change(_, logged):
        for record in rounds_of(logged, 1):
            [batch] = record["batches"]
            record["batches"] = [{**batch, "e2e_s": 0.1 * n} for n in (1, 2, 3, 4)]

    # Eighty batches, twenty each of four times.
    figures = row(make_sweep(change), 1).figures
    assert figures.e2e_p90_s == pytest.approx(
        np.percentile(np.repeat([0.1, 0.2, 0.3, 0.4], 20), 90)
    )


def test_a_backend_without_stages_has_no_stage_times(make_sweep, rounds_of):
    def change(_, logged):
        for record in rounds_of(logged, 1):
            record["batches"][0].update(
                dict.fromkeys(
                    ("feature_s", "encoder_s", "prefill_s", "ttft_s", "step_s", "detokenize_s")
                )
            )

    found = row(make_sweep(change), 1)
    assert set(found.figures.stage_s.values()) == {None}
    assert found.figures.ttft_s is found.figures.tpot_s is found.figures.unattributed_s is None
    assert found.roofline.mbu is None
    assert "unknown" in found.roofline.bound


def test_where_some_stages_are_not_told_the_longest_is_not_known(make_sweep, rounds_of):
    """As of a model whose encoder nothing tells from the rest: features and text are short."""

    def change(_, logged):
        for record in rounds_of(logged, 1):
            record["batches"][0].update(encoder_s=None, prefill_s=None)

    assert row(make_sweep(change), 1).roofline.bound == (
        "bs 1 fixed: what bounds it is unknown: the backend does not tell encoder, prefill"
    )


def test_one_token_replies_have_no_tpot(make_sweep, rounds_of):
    def change(_, logged):
        for record in rounds_of(logged, 1, "natural"):
            record["batches"][0].update(output_tokens=[1], step_s=[])

    figures = row(make_sweep(change), 1, "natural").figures
    assert figures.tpot_s is None
    assert figures.stage_s["decode"] == 0


def test_utilisation_by_hand(sweep):
    """Decoding moves 12e9 * 0.68 * batch_s bytes in 0.68 * batch_s; the peak is 20e9."""
    found = row(sweep, 2)
    assert found.roofline.mbu == pytest.approx(0.6)
    # Encoder 0.03, prefill 0.075 of 1e12 * batch_s; decode 0.001e12 * 2 in 0.14 s.
    assert found.roofline.mfu == pytest.approx(0.03 + 0.075 + 0.002 / 0.14)
    stages = found.roofline.stages
    assert stages["encoder"].compute_share == pytest.approx(0.3)
    assert stages["encoder"].waste == pytest.approx(0.25)
    assert stages["prefill"].waste == pytest.approx(0)
    assert stages["decode"].bandwidth_share == pytest.approx(0.6)


def test_the_line_that_says_what_bounds_a_point(sweep):
    assert row(sweep, 1).roofline.bound == (
        "bs 1 fixed: decode takes 68 % of the time and moves weights and cache at 60 % of the "
        "measured copy bandwidth: memory-bound"
    )


@pytest.mark.parametrize(
    ("stage", "flops", "num_bytes", "said"),
    [
        ("prefill", 0.5e12, 1e6, "computes at 50 % of the measured matmul rate: compute-bound"),
        ("prefill", 0.1e12, 1e6, "far from both limits, launches and the host bound it"),
        ("decode", 1e6, 3e9, "moves weights and cache at 15 %"),
    ],
)
def test_other_bounds(make_sweep, rounds_of, stage, flops, num_bytes, said):
    def change(_, logged):
        for record in rounds_of(logged, 1):
            for batch in record["batches"]:
                batch.update(e2e_s=1.3, **{f"{stage}_s": 1.0 if stage == "prefill" else None})
                batch["step_s"] = [1.0 / 7] * 7 if stage == "decode" else [0.001] * 7
        for record in logged:
            if record["type"] == "work":
                work = {"useful_flops": flops, "executed_flops": flops, "num_bytes": num_bytes}
                record["stages"] = {stage: work}

    assert said in row(make_sweep(change), 1).roofline.bound


def test_a_table_of_peaks_is_not_called_measured(make_sweep):
    def change(_, logged):
        next(r for r in logged if r["type"] == "peaks")["source"] = "data sheet"

    assert "60 % of the peak bandwidth" in row(make_sweep(change), 1).roofline.bound


def test_peaks_that_were_measured_under_load_say_so(make_sweep):
    def change(_, logged):
        next(r for r in logged if r["type"] == "peaks")["other_load"] = 0.35

    row = summarise_sweep(make_sweep(change)).rows[0]
    assert row.roofline.peak_source.endswith(
        "bf16; other processes used 35 % of the machine meanwhile"
    )
    assert any("used 35 % of the machine while its limits" in note for note in row.notes)
    assert row.valid


def test_a_limit_that_was_exceeded_is_called_too_low(make_sweep):
    def change(_, logged):
        next(r for r in logged if r["type"] == "peaks")["bandwidth_bytes_per_s"] = 10e9

    row = summarise_sweep(make_sweep(change)).rows[0]
    assert row.roofline.mbu == pytest.approx(1.2, rel=0.01)
    assert row.roofline.peak_source.endswith("; 120 % of this was reached")
    assert any("more than the machine's limits was reached" in note for note in row.notes)


@pytest.mark.parametrize("load", [None, 0.2, "much"])
def test_other_load_that_is_small_or_unknown_is_not_told(make_sweep, load):
    def change(_, logged):
        next(r for r in logged if r["type"] == "peaks")["other_load"] = load

    row = summarise_sweep(make_sweep(change)).rows[0]
    assert row.roofline.peak_source == "measured: copy of 256 MiB, matmul n=2048, bf16"
    assert row.notes == ()


def test_no_peaks_no_utilisation(make_sweep):
    content = make_sweep(lambda _, logged: logged.pop(1))
    found = row(content, 1)
    assert found.roofline.mbu is found.roofline.mfu is None
    assert found.roofline.bound.endswith("decode takes 68 % of the time; its limits are unknown")


def test_a_host_bound_point(make_sweep, rounds_of):
    def change(_, logged):
        for record in rounds_of(logged, 1):
            record["batches"][0]["feature_s"] = 0.9 * record["batches"][0]["e2e_s"]

    assert row(make_sweep(change), 1).roofline.bound.endswith(
        "feature takes 90 % of the time: host-bound"
    )


def test_replies_changed_against_batch_size_1(make_sweep):
    def change(_, logged):
        for record in logged:
            if record["type"] == "outputs" and (record["batch_size"], record["mode"]) == (
                4,
                "fixed",
            ):
                record["items"][1][1] = record["items"][3][1] = "another reply"

    content = make_sweep(change)
    assert [row(content, size).replies.changed for size in (1, 2, 4)] == [0, 0, 2]
    assert row(content, 4, "natural").replies.changed == 0


def test_without_batch_size_1_changes_are_unknown(make_sweep):
    content = make_sweep(lambda manifest, _: manifest["sweep"].update(batch_sizes=[2, 4]))
    # The log still holds batch size 1, as a resumed sweep with other options would.
    assert row(content, 2).replies.changed == 0

    def without(manifest, logged):
        manifest["sweep"].update(batch_sizes=[2, 4])
        logged[:] = [r for r in logged if r.get("batch_size") != 1]

    assert row(make_sweep(without, output="other"), 2).replies.changed is None


def test_accuracy_is_over_all_passes(make_sweep):
    def change(_, logged):
        for record in logged:
            if record["type"] == "outputs" and record["mode"] == "natural":
                record.update(correct=3 + (record["pass"] == 0), total=5)

    assert row(make_sweep(change), 2, "natural").replies.accuracy == 16 / 25
    assert row(make_sweep(change, output="b"), 2).replies.accuracy is None
