"""A whole evaluation and a whole sweep of a model of which only transformers knows the modules."""

import json
from pathlib import Path

import pandas
import pytest
import transformers
from other_architectures import save_audio_flamingo

WHY = "engine stock: the fast engine is for Qwen2-Audio, this is AudioFlamingo3"
IN_CHAT = ("--set", "task.prompt_format=chat")

pytestmark = pytest.mark.skipif(
    not hasattr(transformers, "AudioFlamingo3ForConditionalGeneration"),
    reason=f"transformers {transformers.__version__} does not know AudioFlamingo3",
)


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("another architecture")
    path = save_audio_flamingo(folder / "checkpoint")
    file = folder / "flamingo.yaml"
    file.write_text(f"model_path: {path}\ndata_type: fp32\nbatch_size: 3\n")
    return file


def test_a_check_says_which_engine_and_why(modeltest, model, tmp_path):
    asked = ("check", "vocalsound_mini", str(model), "--device", "cpu")
    done = modeltest(tmp_path, *asked, *IN_CHAT)
    assert done.code == 0, done.err
    assert WHY in " ".join(done.out.split())


def test_a_check_finds_what_a_run_would_refuse(modeltest, model, tmp_path):
    done = modeltest(tmp_path, "check", "vocalsound_mini", str(model), "--device", "cpu")
    assert done.code == 2
    assert "or add --set task.prompt_format=chat" in " ".join(done.out.split())
    assert "Traceback" not in done.err


def test_a_run_says_which_engine_and_why(modeltest, model, tmp_path):
    done = modeltest(
        tmp_path, "eval", "vocalsound_mini", str(model), "--device", "cpu", "--limit", "6", *IN_CHAT
    )
    # Random weights do not listen: the run may well be INVALID, for that reason only.
    assert done.code in {0, 3}, done.err
    assert WHY in done.out + done.err
    samples = pandas.read_csv(done.result_file("samples"), keep_default_na=False)
    assert len(samples) == 6
    assert set(samples["error"]) == {""}
    assert (samples["input_tokens"].astype(int) > 100).all()
    manifest = json.loads((done.run_folder / "manifest.json").read_text())
    assert manifest["identity"]["backend"]["engine"] == "stock"
    assert manifest["model"]["settings"]["engine"] == "stock"
    assert WHY in manifest["data"]["warnings"]


def test_fast_engine_tensor_parallelism_and_raw_prompt_are_one_line_each(
    modeltest, model, tmp_path
):
    asked = ("eval", "vocalsound_mini", str(model), "--device", "cpu", "--limit", "1")
    for arguments, words in (
        (("--engine", "fast", *IN_CHAT), "engine fast cannot be had: the fast engine is for"),
        ((), "or add --set task.prompt_format=chat"),
        (("--tp", "2", *IN_CHAT), "--tp 2 splits Qwen2-Audio's layers, this is AudioFlamingo3"),
    ):
        done = modeltest(tmp_path, *asked, *arguments)
        assert done.code == 2
        assert [line for line in done.err.splitlines() if words in line]
        assert "Traceback" not in done.err


def test_parity_is_one_line(modeltest, model, tmp_path):
    done = modeltest(tmp_path, "parity", str(model), "--device", "cpu", "--reference", "bs=1")
    assert done.code == 2
    assert "parity compares the stages of Qwen2-Audio, this is AudioFlamingo3" in done.err
    assert "Traceback" not in done.err


def test_a_sweep_leaves_out_what_nobody_knows(modeltest, model, tmp_path):
    done = modeltest(
        tmp_path, "perf", str(model), "--device", "cpu", "--bs", "1,2", "--passes", "3",
        "--max-output-length", "4", "--min-seconds", "0.1", *IN_CHAT, OMP_NUM_THREADS="1",
    )  # fmt: skip
    assert done.code in {0, 3}, done.err
    [folder] = tmp_path.glob("outputs/*/modeltest/*/performance_result/*")
    [manifest] = [json.loads(path.read_text()) for path in folder.rglob("manifest.json")]
    assert manifest["engine"] == "stock"
    assert WHY in manifest["data"]["warnings"]
    rows = pandas.read_csv(folder / "benchmark.csv")
    assert len(rows) == 4
    assert (rows[["e2e_ms_p50", "ttft_ms", "encoder_ms", "prefill_ms"]] > 0).all(axis=None)
    assert rows[["mbu", "mfu"]].isna().all(axis=None)
