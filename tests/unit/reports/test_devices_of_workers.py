"""Which devices the workers really had decides the verdict, not the driver's alone."""

import itertools
from dataclasses import replace

import pytest

from modeltest.reports.console import verdict_line
from modeltest.reports.summary import summarise

OF_THE_DRIVER = "Ascend 910B4"


def workers(*names):
    return tuple(
        {"type": "worker", "number": number, "host": {"name": "h"}, "device": {"name": name}}
        for number, name in enumerate(names)
    )


def simulated(name, number=0):
    device = {"name": name, "simulated": True}
    return {"type": "worker", "number": number, "host": {"name": "h"}, "device": device}


@pytest.fixture
def sound(make_run):
    """A run with nothing to be said of it."""

    def change(_manifest, samples):
        for sample in samples:
            sample["response"]["error"] = ""

    return make_run(change)


def new_reasons(before, after):
    known = summarise(before).verdict.reasons
    return [reason for reason in summarise(after).verdict.reasons if reason not in known]


def test_a_simulated_device_of_one_worker_makes_the_run_invalid(sound):
    mixed = replace(sound, workers=(*workers(OF_THE_DRIVER), simulated("Simulated NPU", 1)))
    verdict = summarise(mixed).verdict
    assert summarise(sound).verdict.validity == "VALID"
    assert verdict.validity == "INVALID"
    assert verdict.reasons[0] == "simulated device: Simulated NPU"


def test_one_simulated_device_is_said_once(sound):
    device = {"kind": "npu", "name": "Simulated NPU", "simulated": True}
    run = replace(
        sound,
        manifest={**sound.manifest, "device": device},
        workers=(simulated("Simulated NPU"), simulated("Simulated NPU", 1)),
    )
    told = [reason for reason in summarise(run).verdict.reasons if "imulated" in reason]
    assert told == ["simulated device: Simulated NPU"]


@pytest.mark.parametrize(
    ("names", "told"),
    [
        ((), []),
        ((OF_THE_DRIVER, OF_THE_DRIVER), []),
        (("H100", "A100", "H100", "A100"), ["workers computed on A100 (2) and H100 (2)"]),
        (("H100", "H100"), ["workers computed on H100 (2)"]),
        (
            (OF_THE_DRIVER, "A100", "H100"),
            ["workers computed on A100 (1), Ascend 910B4 (1) and H100 (1)"],
        ),
    ],
)
def test_other_devices_than_the_manifests_are_a_note(sound, names, told):
    run = replace(sound, workers=workers(*names))
    assert new_reasons(sound, run) == told
    assert summarise(run).verdict.validity == "VALID"


def test_a_worker_that_was_started_again_counts_once(sound):
    run = replace(sound, workers=(*workers("A100", "H100"), *workers("A100")))
    assert new_reasons(sound, run) == ["workers computed on A100 (1) and H100 (1)"]


def test_the_order_of_the_segments_changes_nothing(sound):
    told = {
        tuple(new_reasons(sound, replace(sound, workers=order)))
        for order in itertools.permutations(workers("b", "a", "c"))
    }
    assert told == {("workers computed on a (1), b (1) and c (1)",)}


def test_many_and_hostile_names_stay_one_line(sound):
    names = ["\x1b[2J\nVALID", "\u202eupsh", "\ud800", *(f"{n:05d}" for n in range(10_000))]
    run = replace(sound, workers=workers(*names))
    line = verdict_line(summarise(run))
    assert line.isprintable()
    assert len(line) < 1000
    assert "and 9995 other devices" in line
