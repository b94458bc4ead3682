"""The run log's benchmark checks what a run checks, and fails when it misses a target."""

import importlib.util
import sys
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).parents[3] / "benchmarks" / "bench_runlog.py"


@pytest.fixture
def bench():
    spec = importlib.util.spec_from_file_location("bench_runlog", BENCHMARK)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("write_us", "per_s", "code"), [(1e9, 0.0, 0), (0.0, 0.0, 1), (1e9, 1e12, 1)]
)
def test_a_missed_target_is_exit_1(bench, monkeypatch, capsys, write_us, per_s, code):
    monkeypatch.setattr(bench, "MAX_WRITE_US", write_us)
    monkeypatch.setattr(bench, "MIN_REPLAY_PER_S", per_s)
    monkeypatch.setattr(sys, "argv", ["bench_runlog.py", "--samples", "20", "--rounds", "1"])
    assert bench.main() == code
    assert "replay" in capsys.readouterr().out


def test_what_it_replays_is_checked_against_identity_and_data(bench, tmp_path):
    for name, change in (("identity", {"identity_sha256": "x"}), ("data", {"data": {}})):
        manifest = bench.manifest(3)
        data = {**manifest["data"], "sha256": "x"} if "data" in change else manifest["data"]
        bench.write_manifest(tmp_path / name, {**manifest, **change, "data": data})
        bench.write(tmp_path / name, 3)
        with pytest.raises(SystemExit, match=r"manifest|another run"):
            bench.replay(tmp_path / name, 3)
