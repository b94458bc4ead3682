"""A service's closed loop in the reports: 2 in flight, 4 requests per round, all by hand."""

import csv
import io

import pytest

from modeltest.reports.performance.console import sweep_text
from modeltest.reports.performance.csv_files import benchmark_csv
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


def test_failed_requests_are_counted_and_make_the_row_invalid(summary):
    def failing(record):
        record["batches"][0] |= {
            "e2e_s": None, "ttft_s": None, "step_s": None, "output_tokens": [None],
            "errors": ["status 503"],
        }  # fmt: skip

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
    assert "requests in flight 2" in page
    assert "in<br>flight" in page
    assert "against requests in flight" in plots["throughput"].alt
