"""The words of `modeltest parity`, mistakes included; no weights are loaded."""

import argparse
import json
import shutil

import pytest
from safetensors.torch import load_file, save_file

from modeltest.cli.main import build_parser, main
from modeltest.cli.parity_sides import SHIPPED_RECORD, make_pair
from modeltest.errors import ModeltestError
from modeltest.settings.paths import assets_dir

TINY = ["parity", "qwen2_audio_tiny", "--device", "cpu"]


def options(*words):
    return build_parser().parse_args([*TINY, *words])


def sides(*words):
    pair = make_pair(options(*words))
    return [side and side.words for side in (pair.reference, pair.tested)]


def test_the_reference_is_the_other_side_but_for_what_is_said():
    assert sides("--bs", "4", "--dtype", "bf16", "--reference", "dtype=fp32,engine=stock,bs=1") == [
        "qwen2_audio_tiny on CPU, fp32, attention sdpa, engine stock, batch size 1",
        "qwen2_audio_tiny on CPU, bf16, attention sdpa, engine fast, batch size 4",
    ]


def test_a_device_alone():
    first, second = sides("--attention", "eager", "--bs", "2", "--reference", "cpu")
    assert first == second
    assert "attention eager, engine fast, batch size 2" in first


def test_a_side_has_the_engine_that_can_run_it():
    first, second = sides("--reference", "attention=flash_attention_2")
    assert "attention flash_attention_2, engine stock" in first
    assert "attention sdpa, engine fast" in second


def test_batch_invariance_is_one_side_at_two_sizes():
    first, second = sides("--batch-invariance", "1,8")
    assert first.endswith("batch size 1")
    assert second.endswith("batch size 8")
    assert first[:-1] == second[:-1]


def test_another_model_file_starts_from_its_own_settings(tmp_path):
    # YAML of JSON: a copy of the embedded model's file that runs it otherwise.
    path = tmp_path / "other.yaml"
    folder = "${MODELTEST_ASSETS}/qwen2_audio_tiny"
    path.write_text(json.dumps({"model_path": folder, "engine": "stock", "data_type": "fp16"}))
    first, second = sides("--dtype", "fp32", "--bs", "3", "--reference", f"model={path},device=cpu")
    assert first == "other on CPU, fp16, attention sdpa, engine stock, batch size 8"
    assert "fp32" in second


def test_record_alone_has_no_side_to_compare():
    pair = make_pair(options("--record", "x"))
    assert pair.tested is None
    assert pair.reference.batch_size == 8


def test_the_embedded_models_reference_is_its_shipped_record():
    pair = make_pair(options())
    assert pair.recorded is not None
    assert pair.recorded.asked.side["dtype"] == "fp32"
    assert len(pair.recorded.trace.samples) == 12
    assert (assets_dir() / SHIPPED_RECORD).stat().st_size < 1_000_000


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--reference", "nowhere.safetensors"], "nowhere.safetensors: no such file, and no dev"),
        (["--reference", "gpu=1"], "'gpu=1' is none of device="),
        (["--reference", "dtype="], "'dtype=' is none of device="),
        (["--reference", "bs=1,bs=2"], "'bs=2' is none of"),
        (["--reference", "device=tpu"], "devices are auto, npu, cuda, cpu"),
        (["--reference", "dtype=fp8"], "data_type"),
        (["--reference", "bs=0"], "batch_size"),
        (["--reference", "model=nobody"], "unknown model 'nobody'"),
        (["--reference", "model=null"], "the null backend has none"),
        (["--batch-invariance", "1"], "give two batch sizes"),
        (["--batch-invariance", "1,2,3"], "give two batch sizes"),
        (["--batch-invariance", "1,x"], "not a whole number: 'x'"),
        (["--batch-invariance", "1,2", "--bs", "3"], "leave --bs out"),
        (["--reference", "cpu", "--task", "vocalsond"], "did you mean 'vocalsound'"),
        (["--task", "vocalsound_chat"], "local_dataset_path"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_is_one_line_and_exit_2(words, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main([*TINY, *words]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("modeltest: ")
    assert said in line
    assert list(tmp_path.iterdir()) == []


def test_a_model_without_a_shipped_record_wants_a_reference(tmp_path, checkpoint, capsys):
    path = tmp_path / "mine.yaml"
    path.write_text(json.dumps({"model_path": str(checkpoint)}))
    assert main(["parity", str(path), "--device", "cpu"]) == 2
    assert "give --reference: a device (--reference cpu)" in capsys.readouterr().err


def other_weights(tiny_model, folder):
    shutil.copytree(tiny_model, folder)
    tensors = load_file(folder / "model.safetensors")
    other = {name: tensor * 2 for name, tensor in tensors.items()}
    save_file(other, folder / "model.safetensors", {"format": "pt"})
    return folder


def test_a_record_of_other_weights_is_refused(tmp_path, tiny_model):
    folder = other_weights(tiny_model, tmp_path / "copy")
    record = str(assets_dir() / SHIPPED_RECORD)
    words = options("--reference", record, "--set", f"model.model_path={folder}")
    with pytest.raises(ModeltestError, match="recorded from other weights than those of"):
        make_pair(words)


def test_two_models_are_no_two_sides_of_one(tmp_path, tiny_model):
    folder = other_weights(tiny_model, tmp_path / "copy")
    path = tmp_path / "other.yaml"
    path.write_text(json.dumps({"model_path": str(folder)}))
    with pytest.raises(ModeltestError, match="parity compares a model with itself"):
        make_pair(options("--reference", f"model={path},device=cpu"))


def test_another_tokenizer_file_is_noted_and_left_to_the_stages(tmp_path, tiny_model):
    folder = tmp_path / "copy"
    shutil.copytree(tiny_model, folder)
    with (folder / "tokenizer.json").open("a") as stream:
        stream.write("\n")
    record = str(assets_dir() / SHIPPED_RECORD)
    pair = make_pair(options("--reference", record, "--set", f"model.model_path={folder}"))
    assert pair.notes == ("the checkpoints differ in tokenizer.json",)


def test_another_question_or_other_clips_than_the_recorded_are_refused(tmp_path, capsys):
    record = str(assets_dir() / SHIPPED_RECORD)
    words = [*TINY, "--reference", record, "--output-dir", str(tmp_path)]
    assert main([*words, "--set", "task.prompt_format=chat"]) == 2
    assert "recorded with another prompt" in capsys.readouterr().err
    clips = tmp_path / "clips"
    shutil.copytree(assets_dir() / "vocalsound_mini", clips)
    for path in (clips / "audio_16k").glob("*_laughter.flac"):
        shutil.copy(clips / "audio_16k" / "f0003_0_sigh.flac", path)
    assert main([*words, "--set", f"task.local_dataset_path={clips}"]) == 2
    assert "its clip is not the one that the reference was recorded" in capsys.readouterr().err


def test_a_record_needs_a_side_that_is_computed(capsys, tmp_path):
    record = str(assets_dir() / SHIPPED_RECORD)
    assert main([*TINY, "--reference", record, "--record", str(tmp_path / "x")]) == 2
    assert "--record keeps a reference that is computed" in capsys.readouterr().err


def test_help_says_what_it_does(capsys):
    with pytest.raises(SystemExit):
        main(["parity", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert "stage by stage: PASS, or where drift begins" in text
    assert isinstance(options(), argparse.Namespace)
