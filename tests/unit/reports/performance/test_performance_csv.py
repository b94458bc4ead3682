"""The tables as the contract spells them, with figures counted by hand."""

import io
import math

import pandas
import pytest

from modeltest.reports.performance.csv_files import (
    atb_benchmark_csv,
    benchmark_csv,
    performance_csv,
)
from modeltest.reports.performance.files import add_sweep_to_index, write_atb_benchmark
from modeltest.reports.performance.summary import summarise_sweep

FURTHER_COLUMNS = (
    "e2e_ms_p99,ttft_ms_p90,ttft_ms_p99,itl_ms_p50,itl_ms_p90,itl_ms_p99,failed_requests"
)
BENCHMARK_HEADER = (
    "batch_size,valid,invalid_reason,mode,audio_seconds,input_tokens,output_tokens,repeats,"
    "e2e_ms_p50,e2e_ms_p90,feature_ms,encoder_ms,prefill_ms,ttft_ms,tpot_ms,decode_ms,"
    "output_tokens_per_s,output_tokens_per_s_ci_low,output_tokens_per_s_ci_high,"
    "total_tokens_per_s,samples_per_s,audio_seconds_per_s,peak_memory_bytes,mbu,mfu,peak_source,"
    "outputs_sha256,outputs_changed_vs_bs1,accuracy,dtype,device,device_name"
)
TODAYS_HEADER = (
    "batch, input_len, output_len, embedding_len, first_token_time(ms), "
    "non_first_token_time(ms), ResponseTime(ms),E2E Throughput Average(Tokens/s)"
)
ATB_HEADER = (
    "batch_size,input_seq_len,output_seq_len,e2e_time(ms),prefill_time(ms),"
    "decoder_token_time(ms),prefill_count,prefill_token_times,decode_token_times,"
    "prefill_average_time(ms)"
)


def table(content):
    return pandas.read_csv(io.BytesIO(content))


def header(content):
    return content.decode().partition("\r\n")[0]


def fail(logged, batch_size, mode="fixed"):
    key = {"batch_size": batch_size, "mode": mode}
    logged.append({"type": "point_failure", **key, "reason": "out of memory"})


def test_headers_are_those_of_the_contract(sweep):
    summary = summarise_sweep(sweep)
    assert header(benchmark_csv(summary)) == f"{BENCHMARK_HEADER},{FURTHER_COLUMNS}"
    assert header(performance_csv(summary)) == f"{TODAYS_HEADER},validity"
    assert header(atb_benchmark_csv(summary)) == ATB_HEADER


def test_a_row_of_the_benchmark_file(sweep):
    row = table(benchmark_csv(summarise_sweep(sweep))).iloc[1]
    assert (row["batch_size"], row["mode"], row["valid"]) == (2, "fixed", True)
    assert math.isnan(row["invalid_reason"])
    expected = {
        "audio_seconds": 2.5, "input_tokens": 100, "output_tokens": 8, "repeats": 20,
        "e2e_ms_p50": 140, "feature_ms": 7, "encoder_ms": 14, "prefill_ms": 21, "ttft_ms": 42,
        "tpot_ms": 14, "decode_ms": 95.2, "peak_memory_bytes": 2**31, "mbu": 0.6,
        "outputs_changed_vs_bs1": 0,
    }  # fmt: skip
    assert {name: row[name] for name in expected} == pytest.approx(expected)
    assert row["output_tokens_per_s"] == pytest.approx(16 / 0.14, rel=1e-4)
    assert row["samples_per_s"] == pytest.approx(2 / 0.14, rel=1e-4)
    assert row["audio_seconds_per_s"] == pytest.approx(5 / 0.14, rel=1e-4)
    assert row["total_tokens_per_s"] == pytest.approx(216 / 0.14, rel=1e-4)
    assert row["peak_source"].startswith("measured: copy")
    assert row["outputs_sha256"] == "fixed2"
    assert (row["dtype"], row["device"], row["device_name"]) == ("bf16", "CPU", "EPYC")
    for empty in ("e2e_ms_p90", "accuracy"):
        assert math.isnan(row[empty])


@pytest.mark.parametrize(("kind", "label"), [("cpu", "CPU"), ("cuda", "GPU"), ("npu", "NPU")])
def test_devices_have_the_contracts_names(make_sweep, kind, label):
    content = make_sweep(lambda manifest, _: manifest["device"].update(kind=kind))
    assert set(table(benchmark_csv(summarise_sweep(content)))["device"]) == {label}


def test_out_of_memory_is_a_row_with_empty_figures(make_sweep):
    summary = summarise_sweep(make_sweep(lambda _, logged: fail(logged, 4)))
    [line] = [
        line for line in benchmark_csv(summary).decode().splitlines() if line.startswith("4,false")
    ]
    assert line == "4,false,out of memory,fixed" + "," * 26 + "bf16,CPU,EPYC" + "," * 7
    assert list(table(benchmark_csv(summary))["valid"]) == [True, True, False, True, True, True]
    assert list(table(performance_csv(summary))["batch"]) == [1, 2]
    assert list(table(atb_benchmark_csv(summary))["batch_size"]) == [1, 2]


def test_only_a_file_that_says_so_holds_figures_of_a_simulated_device(make_sweep):
    def change(manifest, _):
        manifest["device"] = {"kind": "npu", "name": "Simulated NPU", "simulated": True}

    summary = summarise_sweep(make_sweep(change))
    rows = table(benchmark_csv(summary))
    assert (len(rows), set(rows["valid"])) == (6, {False})
    assert set(rows["invalid_reason"]) == {"simulated device: Simulated NPU"}
    assert len(table(performance_csv(summary))) == 0
    assert len(table(atb_benchmark_csv(summary))) == 0


def drifting(logged, batch_size):
    """Each pass takes a tenth longer than the one before."""
    for record in logged:
        if record["type"] == "round" and record["batch_size"] == batch_size:
            record["batches"][0]["e2e_s"] *= 1 + 0.1 * record["pass"]


def test_a_row_that_is_not_valid_says_so_or_is_left_out(make_sweep):
    summary = summarise_sweep(make_sweep(lambda _, logged: drifting(logged, 2)))
    assert summary.verdict.validity == "INVALID"
    rows = table(performance_csv(summary))
    assert list(rows["batch"]) == [1, 2, 4]
    # A sound row of such a sweep has nothing of its own against it; the sweep has.
    assert list(rows["validity"]) == ["INVALID"] * 3
    assert list(table(atb_benchmark_csv(summary))["batch_size"]) == [1, 4]


@pytest.mark.parametrize(
    ("change", "words", "num_atb"),
    [
        (lambda manifest, logged: None, ["VALID"] * 3, 3),
        (lambda manifest, logged: fail(logged, 4), ["LIMITED"] * 2, 2),
        (lambda manifest, logged: manifest["tool"].update(dirty=True), ["INVALID"] * 3, 0),
        (
            lambda manifest, logged: logged.remove(
                next(r for r in logged if (r["type"], r.get("batch_size")) == ("block", 2))
            ),
            ["INCOMPLETE"] * 3,
            2,
        ),
    ],
    ids=["valid", "limited", "changed source", "incomplete"],
)
def test_the_verdict_is_the_last_column(make_sweep, change, words, num_atb):
    summary = summarise_sweep(make_sweep(change))
    assert header(performance_csv(summary)).split(",")[-1] == "validity"
    assert list(table(performance_csv(summary))["validity"]) == words
    assert len(table(atb_benchmark_csv(summary))) == num_atb


def test_what_stands_against_the_sweep_stands_in_every_row(make_sweep):
    def change(manifest, logged):
        manifest["tool"].update(dirty=True)
        drifting(logged, 2)

    rows = table(benchmark_csv(summarise_sweep(make_sweep(change))))
    assert (len(rows), set(rows["valid"])) == (6, {False})
    assert all("local changes" in reason for reason in rows["invalid_reason"])
    own = [reason for reason in rows["invalid_reason"] if "drift" in reason]
    assert 0 < len(own) < 6


def test_todays_columns(sweep):
    rows = table(performance_csv(summarise_sweep(sweep)))
    rows.columns = [name.strip() for name in rows.columns]
    assert list(rows["batch"]) == [1, 2, 4]
    row = rows.iloc[1]
    expected = {
        "input_len": 38, "output_len": 8, "embedding_len": 100, "first_token_time(ms)": 42,
        "non_first_token_time(ms)": 14, "ResponseTime(ms)": 140,
    }  # fmt: skip
    assert {name: row[name] for name in expected} == pytest.approx(expected)
    assert row["E2E Throughput Average(Tokens/s)"] == pytest.approx(16 / 0.14, rel=1e-4)


def test_todays_values_have_no_padding(sweep):
    lines = performance_csv(summarise_sweep(sweep)).decode().splitlines()
    assert not any(" " in line for line in lines[1:])


def test_natural_rows_stand_in_where_only_they_were_measured(make_sweep):
    content = make_sweep(lambda manifest, _: manifest["sweep"].update(modes=["natural"]))
    rows = table(performance_csv(summarise_sweep(content)))
    assert list(rows[" output_len"]) == [5, 5, 5]


def test_the_original_tools_benchmark_file(sweep):
    rows = table(atb_benchmark_csv(summarise_sweep(sweep)))
    row = rows.iloc[1]
    # Prefill 0.15 and decoding 0.68 of 140 ms: 21 and 95.2 ms; 7 steps of 13.6 ms.
    expected = {
        "batch_size": 2, "input_seq_len": 100, "output_seq_len": 8, "e2e_time(ms)": 116.2,
        "prefill_time(ms)": 21, "decoder_token_time(ms)": 13.6, "prefill_count": 1,
        "prefill_average_time(ms)": 10.5,
    }  # fmt: skip
    assert {name: row[name] for name in expected} == pytest.approx(expected)
    assert float(row["prefill_token_times"]) == pytest.approx(0.021)
    assert [float(t) for t in row["decode_token_times"].split(",")] == pytest.approx([0.0136] * 7)


def test_the_benchmark_file_replaces_an_older_one(sweep, tmp_path):
    path = tmp_path / "made" / "benchmark.csv"
    summary = summarise_sweep(sweep)
    write_atb_benchmark(summary, path)
    path.write_text("old")
    write_atb_benchmark(summary, path)
    assert path.read_bytes() == atb_benchmark_csv(summary)


def test_the_index_has_the_best_valid_row_once(sweep):
    summary = summarise_sweep(sweep)
    add_sweep_to_index(sweep, summary)
    add_sweep_to_index(sweep, summary)
    [index] = sweep.folder.parents[4].glob("index.csv")
    [row] = pandas.read_csv(index).to_dict("records")
    assert (row["command"], row["metric"], row["validity"]) == (
        "perf", "output_tokens_per_s", "VALID",
    )  # fmt: skip
    assert row["value"] == pytest.approx(32 / 0.18, rel=1e-4)
    assert row["path"] == "2025-03-09/modeltest/m/performance_result/174503-0a1b2c"


def test_an_invalid_row_is_no_headline(make_sweep):
    content = make_sweep(lambda _, logged: fail(logged, 4))
    best = summarise_sweep(content).best
    # 20 tokens in 0.144 s; 32 in 0.18 s are not measured any more.
    assert (best.batch_size, best.mode) == (4, "natural")
