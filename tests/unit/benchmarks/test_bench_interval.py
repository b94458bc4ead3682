"""The coverage benchmark counts what it says, and goes on where a sweep is INVALID or lost."""

import importlib.util
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

BENCHMARK = Path(__file__).parents[3] / "benchmarks" / "bench_interval.py"


@pytest.fixture
def bench(monkeypatch):
    spec = importlib.util.spec_from_file_location("bench_interval", BENCHMARK)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "bench_interval", module)  # its dataclasses look there
    spec.loader.exec_module(module)
    return module


def summary(median, half_width, valid=True):
    figures = SimpleNamespace(
        output_tokens_per_s=median,
        interval=(median - half_width, median + half_width),
        blocks=((median - 1, median), (median, median + 1)),
    )
    row = SimpleNamespace(batch_size=4, mode="fixed", figures=figures, valid=valid)
    return SimpleNamespace(rows=[row])


def test_intervals_that_hold_the_pooled_median_are_counted(bench):
    summaries = [summary(100, 3), summary(102, 3), summary(110, 3, valid=False)]
    [point] = bench.coverage(summaries)
    assert (point.batch_size, point.mode) == (4, "fixed")
    assert point.pooled == 102
    assert (point.num_holding, point.num_intervals, point.num_valid) == (2, 3, 2)
    assert point.medians == (100, 102, 110)
    assert point.half_widths[0] == pytest.approx(0.03)
    assert not point.met


def test_nine_of_ten_are_enough(bench):
    [point] = bench.coverage([summary(100, 3)])
    assert replace(point, num_intervals=10, num_holding=9).met
    assert not replace(point, num_intervals=10, num_holding=8).met
    assert not replace(point, num_intervals=0, num_holding=0).met


def test_reasons_are_counted_whatever_their_figures(bench):
    spread = "passes differ: coefficient of variation 12.3 %, limit 10 %"
    drift = "throughput drifts by -11 % from the first third to the last, limit 10 %"
    rows = [
        SimpleNamespace(valid=not reasons, reasons=reasons)
        for reasons in [(drift, spread), (spread.replace("12.3", "1,040"),), ()]
    ]
    said = bench._reasons([SimpleNamespace(rows=rows[:2]), SimpleNamespace(rows=rows[2:])])
    assert said == (
        "2 of 3; passes differ: coefficient of variation … %, limit … % (2); "
        "throughput drifts by … % from the first third to the last, limit … % (1)"
    )
    assert bench._reasons([SimpleNamespace(rows=rows[2:])]) == "none of 1"


def test_sweeps_are_spread_and_a_lost_one_is_passed_over(bench, monkeypatch, tmp_path, capsys):
    codes, slept = [0, 3, 5], []

    def run(command, **_):
        output_dir = Path(command[-1])
        folder = output_dir / "2025-03-09" / "modeltest" / "m" / "performance_result" / "r"
        folder.mkdir(parents=True)
        (folder / "manifest.json").touch()
        return SimpleNamespace(returncode=codes.pop(0))

    monkeypatch.setattr(bench.subprocess, "run", run)
    monkeypatch.setattr(bench.time, "sleep", slept.append)
    monkeypatch.setattr(bench, "read_sweep", lambda folder: folder)
    monkeypatch.setattr(bench, "summarise_sweep", lambda _content: None)
    sweeps = bench.run_sweeps(["perf", "m"], tmp_path, 3, 120.0)
    assert [sweep.content.parts[-6] for sweep in sweeps] == ["sweep_01", "sweep_02"]
    assert slept == [pytest.approx(seconds, abs=1.0) for seconds in (0.0, 60.0, 120.0)]
    assert "sweep 3 ended with exit code 5" in capsys.readouterr().err


def test_options_of_perf_follow_two_hyphens(bench, monkeypatch):
    words = ["bench_interval.py", "--min-seconds", "1", "--", "--modes", "fixed"]
    monkeypatch.setattr(sys, "argv", words)
    options, passed_on = bench._options()
    assert (options.model, options.min_seconds) == ("qwen2_audio_tiny", 1.0)
    assert passed_on == ["--modes", "fixed"]
