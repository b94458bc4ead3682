"""The model of more devices agrees with what a hand can work out."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

BENCHMARK = Path(__file__).parents[3] / "benchmarks" / "model_scaling.py"


@pytest.fixture
def model(monkeypatch):
    spec = importlib.util.spec_from_file_location("model_scaling", BENCHMARK)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "model_scaling", module)  # its dataclasses look there
    spec.loader.exec_module(module)
    return module


def constants(model, **changes):
    fixed = {"batch_s": 0.0, "per_audio_s": 1.0, "start_s": 2.0, "driver_s": 0.0, "batch_size": 1}
    return model.Constants(**{**fixed, **changes})


def test_one_device_does_all_of_it_after_its_start(model):
    [alone] = model.modelled(np.array([4.0, 3.0, 2.0, 1.0]), constants(model), [1])
    assert (alone.ready_s, alone.eval_s, alone.total_s) == (2.0, 10.0, 12.0)
    assert (alone.speed_up, alone.efficiency) == (1.0, 1.0)


def test_the_longest_are_dealt_first_one_each(model):
    # 4 and behind it 2; 3, and when that is done 1: it is the last, for whoever is free first.
    [two] = model.modelled(np.array([4.0, 3.0, 2.0, 1.0]), constants(model), [2])
    assert (two.eval_s, two.bound_s) == (6.0, 5.0)
    assert two.speed_up == pytest.approx(12 / 8)


def test_many_equal_batches_scale_but_for_the_start(model):
    [two] = model.modelled(np.ones(1000), constants(model), [2])
    assert (two.eval_s, two.total_s) == (500.0, 502.0)
    assert two.efficiency == pytest.approx(1002 / 502 / 2)


def test_no_more_devices_than_batches_have_work(model):
    [row] = model.modelled(np.ones(8), constants(model, start_s=0.0), [16])
    assert (row.eval_s, row.bound_s, row.speed_up) == (1.0, 1.0, 8.0)


def test_a_slow_driver_is_the_limit(model):
    [row] = model.modelled(np.ones(1000), constants(model, start_s=0.0, driver_s=0.1), [100])
    assert row.eval_s == pytest.approx(1.0 + 1000 * 0.1, rel=0.02)


def test_storage_that_all_share_makes_the_start_longer(model):
    shared = constants(model, weights_gb=17.0, storage_gb_s=2.0)
    # Eight devices to a host: the weights come once, twice and eight times.
    assert [shared.ready_s(count) for count in (1, 8, 9, 64)] == [8.5, 8.5, 17.0, 68.0]


def test_a_batch_is_padded_to_its_longest_clip(model):
    found = [audio_s for _, audio_s in model.batches_of(np.array([1.0, 5.0, 2.0, 4.0, 3.0]), 2)]
    assert found == [10.0, 6.0, 1.0]


def test_constants_are_read_from_a_run(model, monkeypatch):
    # Two clips a batch; a batch takes 0.5 s and 0.1 s for each padded second.
    seconds = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    e2e_s = {5.0: 1.7, 6.0: 1.7, 3.0: 1.3, 4.0: 1.3, 1.0: 0.9, 2.0: 0.9}
    records = [
        {"clips": [{"heard_s": s}], "response": {"timing": {"e2e_s": e2e_s[s]}}} for s in seconds
    ]
    phases = ({"load": 7.0, "warm_up": 1.0, "eval": 4.2}).items()
    run = model.RunContent(
        folder=Path("run"),
        manifest={"dp": 1, "model": {"settings": {"batch_size": 2}}},
        samples=records,
        phases=tuple({"name": name, "seconds": value} for name, value in phases),
    )
    found, known, explained = model.measured(run, 0.001)
    assert known.tolist() == seconds
    assert explained == pytest.approx(1.0)
    assert found.per_audio_s == pytest.approx(0.1)
    # 4.2 s less the batches' 3.9 s: 0.1 s beside each.
    assert found.batch_s == pytest.approx(0.5 + 0.1)
    assert (found.start_s, found.driver_s, found.batch_size) == (8.0, 0.001, 2)
