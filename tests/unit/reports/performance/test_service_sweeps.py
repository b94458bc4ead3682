"""A service's closed loop in the reports: 2 in flight, 4 requests per round, all by hand."""

import csv
import io

import pytest

from modeltest.reports.comparison.sweeps import compare_sweeps
from modeltest.reports.comparison.sweeps_text import comparison_text
from modeltest.reports.performance.console import sweep_text
from modeltest.reports.performance.csv_files import (
    benchmark_csv,
    performance_csv,
    sweep_index_row,
)
from modeltest.reports.performance.html import performance_html
from modeltest.reports.performance.plots import sweep_plots
from modeltest.reports.performance.summary import summarise_sweep

E2E_S = (0.8, 1.0, 1.2, 1.0)
WALL_S = 2.0


def request(e2e_s):
    return {
        **dict.fromkeys(("feature_s", "encoder_s", "prefill_s", "detokenize_s", "audio_tokens")),
        "e2e_s": e2e_s,
        "ttft_s": e2e_s / 4,
        "step_s": [e2e_s / 4, e2e_s / 4, e2e_s / 4],
        "audio_s": 3.0,
        "input_tokens": [100],
        "output_tokens": [10],
        "outputs_sha256": "o",
        "errors": [],
    }


def served(manifest, logged, each=lambda record: None):
    """The sweep of the fixtures as if a service had been measured."""
    manifest["sweep"] |= {"closed_loop": True, "batch_sizes": [2], "modes": ["natural"]}
    manifest["device"] = {"kind": "service", "name": "a service"}
    logged[:] = [{"type": "phase", "name": "load", "seconds": 0.1}]
    for number in range(15):
        key = {"batch_size": 2, "mode": "natural", "pass": number // 3}
        start_s = 100.0 * key["pass"] + 2.5 * (number % 3)
        record = {
            "type": "round", **key, "kind": "requests", "number": number % 3,
            "start_s": start_s, "end_s": start_s + WALL_S, "suspended_s": 0.0,
            "other_load": None, "peak_memory_bytes": None, "wall_s": WALL_S, "client_cpu": 0.1,
            "batches": [request(e2e_s) for e2e_s in E2E_S],
        }  # fmt: skip
        each(record)
        logged.append(record)
        if number % 3 == 2:
            logged.append({"type": "block", **key, "seconds": 6.0, "warm_up_rounds": 1})


@pytest.fixture
def summary(make_sweep):
    def make(each=lambda record: None):
        return summarise_sweep(make_sweep(lambda m, logged: served(m, logged, each)))

    return make


def test_throughput_counts_the_whole_round_and_times_each_request(summary):
    [row] = summary().rows
    figures = row.figures
    assert row.valid, row.reasons
    assert row.name == "2 in flight, natural"
    assert figures.output_tokens_per_s == 4 * 10 / WALL_S
    assert figures.samples_per_s == 4 / WALL_S
    assert figures.audio_seconds_per_s == 4 * 3.0 / WALL_S
    assert figures.measured_s == 15 * WALL_S
    assert figures.e2e_p50_s == 1.0
    assert figures.ttft_s == 0.25
    assert figures.itl_p50_s == 0.25
    # (1.0 - 0.25) / 9 for the median request
    assert figures.tpot_s == pytest.approx(0.75 / 9)
    assert figures.peak_memory_bytes is None


def test_requests_overlap_so_no_stage_has_a_share_of_the_time(summary):
    [row] = summary().rows
    said = "2 in flight, natural: 25 % of a request's time passes before its first token"
    assert row.roofline.bound == said
    [row] = summary(lambda r: [batch.update(ttft_s=None) for batch in r["batches"]]).rows
    assert "unknown: without streaming" in row.roofline.bound


def test_percentiles_have_the_observations_they_need(summary):
    [row] = summary().rows
    # 60 requests are fewer than 64, 180 gaps are more, and fewer than 662.
    assert (row.figures.e2e_p90_s, row.figures.ttft_p90_s) == (None, None)
    assert row.figures.itl_p90_s == pytest.approx(0.3)  # a quarter of them: 1.2 / 4
    assert row.figures.itl_p99_s is None


def test_a_slow_client_makes_the_row_invalid(summary):
    [row] = summary(lambda record: record.update(client_cpu=0.9)).rows
    assert row.reasons == (
        "the client used 90 % of a core, limit 80 %: it is the bottleneck; measure from a faster "
        "machine",
    )


def test_replies_without_token_counts_make_the_row_invalid(summary):
    def uncounted(record):
        record["batches"][1]["output_tokens"] = [None]

    [row] = summary(uncounted).rows
    assert row.reasons == ("15 of 60 replies came without a count of their tokens",)


def uncount(record):
    for batch in record["batches"]:
        batch["output_tokens"] = [None]


def fail(batch):
    batch |= {
        "e2e_s": None, "ttft_s": None, "step_s": None, "output_tokens": [None],
        "errors": ["status 503"],
    }  # fmt: skip


@pytest.mark.parametrize("missing", ["all", "one of four"])
def test_without_token_counts_nothing_is_said_of_tokens_and_all_of_the_rest(summary, missing):
    def each(record):
        uncount(record)
        if missing != "all":
            for batch in record["batches"][1:]:
                batch["output_tokens"] = [10]

    made = summary(each)
    [row] = made.rows
    figures = row.figures
    unknown = 60 if missing == "all" else 15
    assert row.reasons == (f"{unknown} of 60 replies came without a count of their tokens",)
    assert figures.output_tokens is figures.output_tokens_per_s is figures.interval is None
    assert figures.total_tokens_per_s is figures.tpot_s is figures.drift is None
    assert (figures.blocks, figures.variation, made.best) == ((), None, None)
    assert (figures.e2e_p50_s, figures.ttft_s, figures.itl_p50_s) == (1.0, 0.25, 0.25)
    assert (figures.samples_per_s, figures.audio_seconds_per_s) == (2.0, 6.0)


def test_files_and_console_have_no_zero_where_tokens_were_not_counted(make_sweep):
    content = make_sweep(lambda m, logged: served(m, logged, uncount))
    made = summarise_sweep(content)
    [cells] = csv.DictReader(io.StringIO(benchmark_csv(made).decode()))
    empty = {name for name in cells if "tokens" in name and name != "input_tokens"}
    assert empty >= {"output_tokens", "output_tokens_per_s", "output_tokens_per_s_ci_low"}
    assert {cells[name] for name in empty} == {""}
    assert (cells["e2e_ms_p50"], cells["samples_per_s"]) == ("1000.0", "2.0")
    [cells] = csv.DictReader(io.StringIO(performance_csv(made).decode()))
    assert cells["E2E Throughput Average(Tokens/s)"] == cells[" output_len"] == ""
    assert sweep_index_row(content, made, "p")["value"] is None
    [line] = [line for line in sweep_text(made).splitlines() if " natural " in f"{line} "[:20]]
    assert line.split()[:4] == ["2", "natural", "NO", "-"]
    plots = sweep_plots(content, made)
    assert set(plots) == {"latency"}
    assert performance_html(content, made, plots)


def test_sweeps_without_token_counts_have_no_ratio(make_sweep):
    counted = make_sweep(served, output="a")
    uncounted = make_sweep(lambda m, logged: served(m, logged, uncount), output="b")
    pairs = [(c, summarise_sweep(c)) for c in (counted, uncounted)]
    for pair in (pairs, pairs[::-1]):
        comparison = compare_sweeps(*pair, 0.05)
        [point] = comparison.points
        assert (point.ratio, point.interval, comparison.outcome) == (None, None, "INCONCLUSIVE")
        assert comparison_text(comparison)


def test_replies_of_no_tokens_are_counted_and_have_no_ratio(make_sweep):
    def silent(record):
        for batch in record["batches"]:
            batch.update(output_tokens=[0], ttft_s=None, step_s=None)

    content = make_sweep(lambda m, logged: served(m, logged, silent))
    made = summarise_sweep(content)
    [row] = made.rows
    assert (row.figures.output_tokens_per_s, row.figures.output_tokens) == (0.0, 0.0)
    [point] = compare_sweeps((content, made), (content, made), 0.05).points
    assert (point.ratio, point.reason) == (None, "no throughput to compare")


def test_failed_requests_are_in_no_rate(summary):
    [row] = summary(lambda record: fail(record["batches"][0])).rows
    figures = row.figures
    # Three of four requests were answered in 2 s.
    assert figures.samples_per_s == 3 / WALL_S
    assert figures.audio_seconds_per_s == 3 * 3.0 / WALL_S
    assert figures.output_tokens_per_s == 30 / WALL_S
    assert figures.total_tokens_per_s == 330 / WALL_S
    assert (figures.output_tokens, figures.num_batches) == (10, 45)


def test_rounds_in_which_every_request_failed_are_left_out(summary):
    def first_third(record):
        if record["pass"] < 2:
            for batch in record["batches"]:
                fail(batch)

    [row] = summary(first_third).rows
    assert "24 of 60 requests failed, the first one with: status 503" in row.reasons
    assert (row.figures.repeats, row.figures.measured_s) == (9, 9 * WALL_S)
    assert (row.figures.output_tokens_per_s, row.figures.drift) == (20.0, 0.0)
    assert [len(block) for block in row.figures.blocks] == [3, 3, 3]


def test_fixed_replies_without_a_count_have_one_reason(make_sweep):
    def change(manifest, logged):
        served(manifest, logged, lambda record: fail(record["batches"][0]))
        manifest["sweep"] |= {"modes": ["fixed"], "max_new_tokens": 10}
        for record in logged:
            record.update({"mode": "fixed"} if "mode" in record else {})

    [row] = summarise_sweep(make_sweep(change)).rows
    assert row.reasons == ("15 of 60 requests failed, the first one with: status 503",)


def test_making_requests_is_no_gap(summary):
    def late(record, prepare_s):
        for time in ("start_s", "end_s"):
            record[time] += 3.0 * record["number"]
        record["prepare_s"] = prepare_s

    [row] = summary(lambda record: late(record, 3.2)).rows
    assert row.valid, row.reasons
    # Rounds of 2 s that begin every 5.5 s.
    [row] = summary(lambda record: late(record, 1.5)).rows
    assert row.reasons == ("a gap of 2 s between two rounds of a pass, limit 1 s",)


@pytest.mark.parametrize("odd", ["1", -1.0, 1e300, [], True])
def test_an_odd_time_of_making_requests_is_damage(make_sweep, odd):
    def late(record):
        if (record["pass"], record["number"]) == (1, 1):
            record["prepare_s"] = odd

    [problem] = make_sweep(lambda m, logged: served(m, logged, late)).problems
    assert "damaged inside" in problem


@pytest.mark.parametrize(
    ("num_clips", "note"), [(60, ()), (90, ("60 of 90 clips were asked about",))]
)
def test_clips_that_no_request_was_about_are_told(make_sweep, num_clips, note):
    def change(manifest, logged):
        served(manifest, logged)
        manifest["data"] |= {"num_samples": num_clips, "num_available": num_clips}

    [row] = summarise_sweep(make_sweep(change)).rows
    assert row.valid
    assert tuple(n for n in row.notes if "clips" in n) == note


@pytest.mark.parametrize(
    ("gaps", "note"),
    [
        # 10 tokens: 5 pieces are no fewer than half of them.
        ([0.1] * 4, ()),
        ([0.1] * 3, ("replies arrive in pieces of about 2 tokens: TTFT and ITL are of pieces",)),
        ([], ("replies arrive in pieces of about 10 tokens: TTFT and ITL are of pieces",)),
    ],
)
def test_bundled_replies_are_told(summary, gaps, note):
    def each(record):
        for batch in record["batches"]:
            batch["step_s"] = gaps

    [row] = summary(each).rows
    assert tuple(n for n in row.notes if "pieces" in n) == note


def test_failed_requests_are_counted_and_make_the_row_invalid(summary):
    def failing(record):
        fail(record["batches"][0])

    made = summary(failing)
    [row] = made.rows
    assert row.reasons == ("15 of 60 requests failed, the first one with: status 503",)
    [cells] = csv.DictReader(io.StringIO(benchmark_csv(made).decode()))
    assert cells["failed_requests"] == "15"
    assert made.verdict.validity == "INVALID"


def test_the_reports_speak_of_requests_in_flight(make_sweep):
    content = make_sweep(served)
    made = summarise_sweep(content)
    assert "in" in sweep_text(made).splitlines()[2].split()
    assert "flight" in sweep_text(made).splitlines()[3].split()
    [cells] = csv.DictReader(io.StringIO(benchmark_csv(made).decode()))
    assert (cells["batch_size"], cells["device"], cells["failed_requests"]) == ("2", "SERVICE", "0")
    assert float(cells["itl_ms_p50"]) == 250.0
    plots = sweep_plots(content, made)
    page = performance_html(content, made, plots).decode()
    assert ">requests in flight</span> 2" in page
    assert ">in flight</span></th>" in page
    assert ">client&#x27;s share</span></th>" in page
    assert "10.0 %" in page
    assert plots["throughput"].alt.key == "perf.alt.throughput_in_flight"
    assert "requests in flight" in plots["latency"].phrases
