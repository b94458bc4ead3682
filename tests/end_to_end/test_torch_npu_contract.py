"""The real torch_npu without CANN, and on a stub CANN: what modeltest may expect of it.

See tests/npu_simulator/README.md. Operators do nothing on the stub, so no model runs there.
"""

import json
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pandas
import pytest

NAME = "Simulated Ascend910B4"
ONE_THREAD = {"OMP_NUM_THREADS": "1"}
STUB_MEMORY_BYTES = 2**30
BLOCK_BYTES = 64 * 2**20  # that look.py takes
SLEEP_S = 0.05  # that look.py sleeps between events
TWO_CLIPS = ("eval", "vocalsound_mini", "qwen2_audio_tiny", "--limit", "2")
NO_MODEL = ("eval", "vocalsound_mini", "null", "--limit", "2")


@pytest.fixture(scope="module")
def prepare(project) -> dict:
    return runpy.run_path(str(project / "tests" / "npu_simulator" / "prepare.py"))


@pytest.fixture(scope="module")
def cache(request) -> Path:
    return request.config.cache.mkdir("npu_simulator")


@pytest.fixture(scope="module")
def without_cann(prepare, cache, checkout) -> dict[str, str]:
    """The environment of a machine where torch_npu is installed and CANN is not."""
    made = prepare["wheel_environment"](cache)
    return {**ONE_THREAD, "PYTHONPATH": os.pathsep.join([made["PYTHONPATH"], str(checkout)])}


@pytest.fixture(scope="module")
def on_stub(prepare, cache, without_cann) -> dict[str, str]:
    """The environment of a machine that seems to have CANN and two NPUs."""
    return {**prepare["contract_environment"](cache), **without_cann}


@pytest.fixture(scope="module")
def seen(project, on_stub) -> dict:
    """What modeltest's device finds on the stub."""
    look = project / "tests" / "npu_simulator" / "contract" / "look.py"
    return last_json([sys.executable, str(look)], on_stub)


def last_json(command: list[str], environment: dict[str, str]) -> dict:
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=200,
        env={**os.environ, **environment},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def one_line(done) -> str:
    """The only line that a refused command wrote."""
    assert done.out == ""
    [line] = done.err.splitlines()
    return line


def test_without_cann_a_run_takes_the_cpu_and_says_why(
    modeltest, without_cann, tmp_path, golden_replies
):
    done = modeltest(tmp_path, *TWO_CLIPS, "--device", "auto", **without_cann)
    assert done.code == 0, done.err
    assert done.out.startswith("LIMITED: 2 of 120 samples; not checked: ")
    [line] = [line for line in done.err.splitlines() if "libhccl.so" in line]
    assert re.match(r"device    CPU .*torch_npu is installed but CANN is not", line)
    samples = pandas.read_csv(done.result_file("samples"))
    assert list(samples["output"]) == [golden_replies["raw"][n] for n in samples["sample_id"]]
    manifest = json.loads((done.run_folder / "manifest.json").read_text())
    assert manifest["packages"]["torch_npu"] == "2.13.0"
    assert (manifest["device"]["kind"], manifest["device"]["simulated"]) == ("cpu", False)


def test_without_cann_the_cpu_can_be_asked_for(modeltest, without_cann, tmp_path):
    done = modeltest(tmp_path, *TWO_CLIPS, "--device", "cpu", **without_cann)
    assert done.code == 0, done.err
    assert done.out.startswith("LIMITED: 2 of 120 samples; not checked: ")
    assert "Traceback" not in done.err


def test_without_cann_an_npu_is_refused_in_one_line(modeltest, without_cann, tmp_path):
    done = modeltest(tmp_path, *TWO_CLIPS, "--device", "npu", **without_cann)
    assert done.code == 5
    line = one_line(done)
    assert line.startswith("modeltest: --device npu: torch_npu is installed but CANN is not")
    assert "libhccl.so" in line
    assert list(tmp_path.rglob("manifest.json")) == []


def test_no_device_is_refused_in_one_line(modeltest, on_stub, tmp_path):
    none = {**on_stub, "CANNSTUB_DEVICES": "0"}
    done = modeltest(tmp_path, *NO_MODEL, "--device", "npu", **none)
    assert done.code == 5
    assert "there is no NPU" in one_line(done)


def test_an_npu_is_found_first(seen):
    assert seen["choice"]["kind"] == "npu"
    assert "2 visible" in seen["choice"]["reason"]


def test_facts(seen):
    facts = seen["facts"]
    assert (facts["kind"], facts["name"], facts["simulated"]) == ("npu", NAME, True)
    assert (facts["torch_npu"], facts["cann"]) == ("2.13.0", "0.0.0-simulated")
    assert (facts["visible_devices"], facts["memory_total_bytes"]) == (2, STUB_MEMORY_BYTES)


def test_memory(seen):
    memory = seen["memory"]
    assert memory["total"] == STUB_MEMORY_BYTES
    before, with_block, after = memory["free"]
    assert before - with_block >= BLOCK_BYTES
    assert after - with_block >= BLOCK_BYTES
    peak, peak_after = memory["peak"]
    assert BLOCK_BYTES <= peak < 1.1 * BLOCK_BYTES
    assert peak_after < BLOCK_BYTES


def test_events(seen):
    assert SLEEP_S <= seen["event_s"] < 100 * SLEEP_S


def test_out_of_memory_is_told_from_other_errors(seen):
    assert seen["raised"] == {
        "memory": ["OutOfMemoryError", True],
        "place": ["RuntimeError", False],
    }


def test_copies_and_the_current_device(seen):
    assert seen["copied"] == list(range(6))
    assert seen["current"] == 1


def test_a_device_that_cannot_add_is_not_alive(seen):
    assert seen["alive"] is False


def test_the_simulator_has_no_name_that_torch_npu_lacks(project, prepare, cache, seen):
    """The behaviour tier's torch.npu would else let modeltest use what is not there."""
    made = prepare["behaviour_environment"](cache)
    script = "import json, torch; print(json.dumps(sorted(vars(torch.npu))))"
    simulated = last_json([sys.executable, "-c", script], made)
    assert "max_memory_allocated" in simulated
    assert set(simulated) - set(seen["names"]) == set()


def test_a_run_on_the_real_torch_npu_is_marked(modeltest, on_stub, tmp_path):
    variables = {"TASK_QUEUE_ENABLE": "2", "ASCEND_RT_VISIBLE_DEVICES": "1"}
    done = modeltest(tmp_path, *NO_MODEL, "--device", "npu", **on_stub, **variables)
    assert done.code == 3, done.err
    assert done.out.startswith(f"INVALID: simulated device: {NAME}; 2 of 120 samples; not ")
    manifest = json.loads((done.run_folder / "manifest.json").read_text())
    assert manifest["packages"]["torch_npu"] == "2.13.0"
    assert manifest["place"]["device_label"] == "NPU"
    assert (manifest["device"]["name"], manifest["device"]["simulated"]) == (NAME, True)
    assert manifest["environment"].items() >= variables.items()
