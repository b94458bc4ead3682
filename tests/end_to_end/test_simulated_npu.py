"""Whole commands on a simulated NPU: the path of an NPU's run, and the mark that it never loses.

See tests/npu_simulator/README.md for what this can and cannot show.
"""

import csv
import json
import os
import runpy
from collections.abc import Callable
from pathlib import Path

import pandas
import pytest

REASON = "simulated device: Simulated NPU"
# Threads that wait for each other on a busy machine make seconds of milliseconds.
ONE_THREAD = {"OMP_NUM_THREADS": "1"}
# Documented for users; each has to reach the run as it was given.
VARIABLES = {
    "ASCEND_RT_VISIBLE_DEVICES": "0,1", "MASTER_PORT": "20051", "INF_NAN_MODE_ENABLE": "0",
    "TASK_QUEUE_ENABLE": "1", "ATB_OPERATION_EXECUTE_ASYNC": "1", "ATB_LLM_LCOC_ENABLE": "1",
}  # fmt: skip
SAME_AS_ON_CPU = (
    "sample_id", "audio", "truth", "answer", "correct", "output", "input_tokens", "output_tokens",
    "error",
)  # fmt: skip
# Below the 90 MB that a batch of 8 embedded clips takes, above the 54 MB of 4.
TOO_LITTLE_FOR_8 = str(64 * 10**6)
TOO_LITTLE_FOR_WEIGHTS = str(10**6)


@pytest.fixture(scope="module")
def on_npu(request, project, checkout, modeltest) -> Callable:
    """`modeltest ARGUMENTS` where torch_npu and two simulated devices are."""
    prepare = runpy.run_path(str(project / "tests" / "npu_simulator" / "prepare.py"))
    made = prepare["behaviour_environment"](request.config.cache.mkdir("npu_simulator"))
    path = os.pathsep.join([made.pop("PYTHONPATH"), str(checkout)])

    def command(folder: Path, *arguments: str, **environment: str):
        return modeltest(
            folder, *arguments, PYTHONPATH=path, **{**made, **ONE_THREAD, **environment}
        )

    return command


@pytest.fixture(scope="module")
def npu_run(on_npu, tmp_path_factory):
    """All embedded clips, as on a machine with two NPUs."""
    return on_npu(
        tmp_path_factory.mktemp("npu"),
        *("eval", "vocalsound_mini", "qwen2_audio_tiny", "--device", "npu"),
        **VARIABLES,
    )


def tables(folder: Path) -> dict[str, list[dict[str, str]]]:
    """Every CSV below a folder, by its kind."""
    found = {}
    for path in folder.rglob("*.csv"):
        with path.open(newline="", encoding="utf-8") as stream:
            found[path.stem.rpartition("_")[2]] = list(csv.DictReader(stream))
    return found


def assert_marked(done) -> None:
    """The run is INVALID and every one of its files says why."""
    assert done.code == 3, done.err
    assert done.out.startswith(f"INVALID: {REASON}")
    found = tables(done.folder)
    # Of two samples there is nothing to tell slices apart by.
    assert set(found) - {"slices"} == {"result", "samples", "confusion", "index"}
    for kind, rows in found.items():
        assert rows
        assert {row["validity"] for row in rows} == {"INVALID"}, kind
    for row in (*found["result"], *found["index"]):
        assert row["reasons"].startswith(REASON)
    [text] = done.folder.glob("outputs/**/output_*.txt")
    assert text.read_text(encoding="utf-8").startswith(f"INVALID: {REASON}")
    assert REASON in (done.run_folder / "report.html").read_text(encoding="utf-8")
    manifest = json.loads((done.run_folder / "manifest.json").read_text())
    assert manifest["device"]["simulated"] is True


def test_a_whole_run_is_marked_in_every_file(npu_run):
    assert_marked(npu_run)
    assert "device    NPU Simulated NPU (asked for)" in npu_run.err


def test_the_replies_are_those_of_a_plain_transformers_loop(npu_run, golden_replies):
    samples = pandas.read_csv(npu_run.result_file("samples"))
    assert dict(zip(samples["sample_id"], samples["output"], strict=True)) == golden_replies["raw"]


def test_the_samples_are_those_of_a_run_on_the_cpu(npu_run, whole_run):
    found, expected = (
        pandas.read_csv(done.result_file("samples"))[list(SAME_AS_ON_CPU)]
        for done in (npu_run, whole_run)
    )
    pandas.testing.assert_frame_equal(found, expected)


def test_results_lie_under_npu(npu_run):
    tail = "NPU/precision_test/vocalsound_mini/fp32/qwen2_audio_tiny"
    places = {
        path.parent.as_posix().partition("precision_result/")[2]
        for pattern in ("*_result.csv", "*_samples.csv", "*_confusion.csv", "output_*.txt")
        for path in npu_run.folder.rglob(pattern)
    }
    assert places == {f"results/{tail}", f"debug/{tail}"}


def test_the_manifest_names_torch_npu_devices_and_variables(npu_run):
    manifest = json.loads((npu_run.run_folder / "manifest.json").read_text())
    assert manifest["packages"]["torch_npu"] == "2.13.0+simulated"
    device = manifest["device"]
    assert (device["kind"], device["name"], device["visible_devices"]) == (
        "npu", "Simulated NPU", 2,
    )  # fmt: skip
    assert device["memory_total_bytes"] == 4 * 2**30
    assert manifest["environment"].items() >= VARIABLES.items()


def test_a_report_made_again_is_the_same_and_as_invalid(npu_run, modeltest):
    before = {path: path.read_bytes() for path in npu_run.folder.rglob("*_*.csv")}
    done = modeltest(npu_run.folder, "report", str(npu_run.run_folder))  # where no NPU is
    assert done.code == 3
    assert done.out.startswith(f"INVALID: {REASON}")
    assert len(before) == 4
    assert {path: path.read_bytes() for path in before} == before


@pytest.mark.parametrize(
    "options",
    [
        # It is also found without being asked for.
        (
            "qwen2_audio_tiny", "--limit", "2", "--certified", "--set", "engine=stock",
            "--attention", "eager", "--bs", "1",
        ),
        (
            "null", "--device", "npu", "--seed", "1", "--dtype", "bf16", "--stop-at-answer",
            "--fail-on-error", "100%",
        ),
    ],
    ids=lambda options: options[0],
)  # fmt: skip
def test_no_option_removes_the_mark(on_npu, tmp_path, options):
    done = on_npu(tmp_path, "eval", "vocalsound_mini", *options)
    assert_marked(done)
    assert "device    NPU Simulated NPU (" in done.err


def test_neither_workers_nor_resuming_remove_the_mark(on_npu, tmp_path):
    words = ("eval", "vocalsound_mini", "null", "--device", "npu")
    by_two = on_npu(tmp_path, *words, "--dp", "2")
    assert_marked(by_two)
    _, *of_workers = sorted(by_two.run_folder.glob("log/*.jsonl"), key=lambda path: path.name)
    assert len(of_workers) == 2
    assert sum(path.read_bytes().count(b'"type":"sample"') for path in of_workers) == 120
    for path in of_workers:  # as if it had been interrupted before the first reply
        path.unlink()
    resumed = on_npu(tmp_path, *words, "--dp", "1", "--resume", "last")
    assert_marked(resumed)
    assert len(tables(tmp_path)["samples"]) == 120


def test_a_batch_that_does_not_fit_is_split_and_answers_the_same(on_npu, tmp_path, golden_replies):
    done = on_npu(
        tmp_path, "eval", "vocalsound_mini", "qwen2_audio_tiny", "--limit", "16", "--bs", "8",
        NPUSIM_MEMORY_BYTES=TOO_LITTLE_FOR_8,
    )  # fmt: skip
    assert done.code == 3, done.err
    first = done.out.splitlines()[0]
    assert first.startswith(f"INVALID: {REASON}; 16 of 120 samples; ")
    assert "batches were split (out of memory)" in first
    samples = pandas.read_csv(done.result_file("samples"))
    assert samples["error"].isna().all()
    expected = [golden_replies["raw"][name] for name in samples["sample_id"]]
    assert list(samples["output"]) == expected


def test_weights_that_do_not_fit_end_the_run_in_one_line(on_npu, tmp_path):
    done = on_npu(
        tmp_path, "eval", "vocalsound_mini", "qwen2_audio_tiny", "--limit", "1", "--device", "npu",
        NPUSIM_MEMORY_BYTES=TOO_LITTLE_FOR_WEIGHTS,
    )  # fmt: skip
    assert done.code == 5
    assert done.err.splitlines()[-1].startswith("modeltest: npu:0: its memory does not hold")
    assert "Traceback" not in done.err
    assert list(tmp_path.rglob("*_result.csv")) == []


@pytest.fixture(scope="module")
def npu_sweep(on_npu, tmp_path_factory):
    return on_npu(
        tmp_path_factory.mktemp("npu sweep"), "perf", "--device", "npu", "--bs", "1,2",
        "--modes", "fixed", "--passes", "3", "--max-output-length", "4", "--min-seconds", "0.1",
    )  # fmt: skip


def marked_rows(done) -> list[dict[str, str]]:
    """The rows of a sweep, which is INVALID and says why in every one of them."""
    assert done.code == 3, done.err
    assert done.out.startswith(f"INVALID: {REASON}")
    found = tables(done.folder)
    assert set(found) == {"benchmark", "performance", "index"}
    for row in found["benchmark"]:
        assert row["valid"] == "false"
        assert row["invalid_reason"].startswith(REASON)
        assert (row["device"], row["device_name"]) == ("NPU", "Simulated NPU")
    assert found["performance"] == []  # no column could say what the figures are
    [line] = found["index"]
    assert (line["validity"], line["value"]) == ("INVALID", "")
    assert line["reasons"].startswith(REASON)
    return found["benchmark"]


def test_a_sweep_is_marked_in_every_row(npu_sweep):
    rows = marked_rows(npu_sweep)
    assert [row["batch_size"] for row in rows] == ["1", "2"]
    for row in rows:
        assert float(row["e2e_ms_p50"]) > 0
        assert 0 < int(row["peak_memory_bytes"]) < 4 * 2**30


def test_no_option_of_a_sweep_removes_the_mark(on_npu, tmp_path):
    done = on_npu(
        tmp_path, "perf", "null", "--device", "npu", "--bs", "1", "--modes", "fixed",
        "--passes", "3", "--repeats", "1", "--min-seconds", "0.001", "--max-output-length", "1",
        "--certified", "--dtype", "bf16", "--seed", "1", "--task", "vocalsound_mini",
        "--limit", "2",
    )  # fmt: skip
    assert len(marked_rows(done)) == 1


def test_a_sweep_is_never_compared_to_a_verdict(npu_sweep, modeltest):
    done = modeltest(npu_sweep.folder, "compare", "last", "last")
    assert done.code == 4
    assert done.out.startswith(f"INCONCLUSIVE: A is INVALID: {REASON}")


def test_two_npus_give_the_answers_of_one(on_npu, npu_run, tmp_path):
    done = on_npu(
        tmp_path, "eval", "vocalsound_mini", "qwen2_audio_tiny", "--device", "npu", "--dp", "2",
        **VARIABLES,
    )  # fmt: skip
    assert done.code == 3, done.err
    assert done.out.splitlines()[0].startswith(f"INVALID: {REASON}")
    one, two = (pandas.read_csv(run.result_file("samples")) for run in (npu_run, done))
    pandas.testing.assert_frame_equal(one[[*SAME_AS_ON_CPU]], two[[*SAME_AS_ON_CPU]])
    # Each worker had a device of its own, and the caller's variables as they were given.
    lines = [line for path in done.run_folder.glob("log/*.jsonl") for line in path.open()]
    workers = [r for r in (json.loads(line[9:]) for line in lines) if r["type"] == "worker"]
    assert sorted(worker["device"]["index"] for worker in workers) == [0, 1]
    for worker in workers:
        seen = worker["device"]["variables"]
        for name in ("ASCEND_RT_VISIBLE_DEVICES", "TASK_QUEUE_ENABLE", "ATB_LLM_LCOC_ENABLE"):
            assert seen[name] == {"value": VARIABLES[name], "set_by": "caller"}
