"""The command line as users type it, mistakes included."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas
import pytest
import soundfile

import modeltest as package

PACKAGED_MODEL = Path(package.__file__).parent / "assets" / "qwen2_audio_tiny"


def outputs(finished):
    samples = pandas.read_csv(finished.result_file("samples"))
    return dict(zip(samples["sample_id"], samples["output"], strict=True))


def test_another_batch_size_gives_the_same_answers(mm_run, tmp_path, golden_replies):
    """The checkout lies in a path with a space; see conftest.py."""
    done = mm_run(tmp_path, "vocalsound_mini", "qwen2_audio_tiny", "--bs", "7", "--dtype", "fp32")
    assert done.code == 0, done.err
    assert outputs(done) == golden_replies["raw"]
    assert "_batch7_" in done.result_file("result").name


@pytest.mark.parametrize("others", [[], ["other"]])
def test_only_this_projects_modeltest_is_taken(project, tmp_path, others):
    """MindIE's tool is a package of the same name, and may come first on the path."""
    for name in others:
        (tmp_path / name / "modeltest").mkdir(parents=True)
        (tmp_path / name / "modeltest" / "__init__.py").write_text("")
    path = ":".join([*(str(tmp_path / name) for name in others), str(project)])
    script = f'source "{project}/scripts/environment.sh"; has "$0" modeltest "$1"'
    done = subprocess.run(
        ["bash", "-c", script, sys.executable, str(project)],
        check=False,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": path},
    )
    assert (done.returncode == 0) == (not others)


@pytest.mark.parametrize(
    ("variables", "options", "added"),
    [
        ({}, [], ["--tp", "auto"]),
        ({}, ["--device", "cpu"], ["--tp", "auto"]),
        ({"ASCEND_RT_VISIBLE_DEVICES": "0,1"}, ["--bs", "4"], ["--tp", "auto"]),
        ({"TP_WORLD_SIZE": "8"}, [], ["--tp", "8"]),
        ({"TP_WORLD_SIZE": "1"}, [], []),
        ({"TP_WORLD_SIZE": "2"}, ["--tp", "1"], []),
        ({"TP_WORLD_SIZE": "2"}, ["--dp=2"], []),
        ({}, ["--tp=2"], []),
        ({}, ["--dp", "2"], []),
        ({}, ["--ray"], []),
    ],
)
def test_a_model_is_split_over_the_devices_unless_it_is_said_how(
    project, variables, options, added
):
    """Not over those that have a file below /dev: torch may not be able to use them."""
    arguments = ["task", "a model", *options]
    done = default_tp(project, variables, arguments)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\0")[:-1] == [*arguments, *added]


@pytest.mark.parametrize("model", ["null", "qwen2_audio_tiny"])
def test_what_comes_with_the_package_is_split_only_when_asked(project, model):
    done = default_tp(project, {}, ["task", model])
    assert done.stdout.split("\0")[:-1] == ["task", model]
    asked = default_tp(project, {"TP_WORLD_SIZE": "2"}, ["task", model])
    assert asked.stdout.split("\0")[:-1] == ["task", model, "--tp", "2"]


@pytest.mark.parametrize("model", ["vllm_service", "mindie_service"])
@pytest.mark.parametrize("variables", [{}, {"TP_WORLD_SIZE": "2"}])
def test_a_service_splits_its_model_itself(project, model, variables):
    done = default_tp(project, variables, ["task", model, "--bs", "4"])
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\0")[:-1] == ["task", model, "--bs", "4"]


@pytest.mark.parametrize("size", ["3", "two"])
def test_a_number_over_which_no_model_can_be_split(project, size):
    done = default_tp(project, {"TP_WORLD_SIZE": size}, ["task", "model"])
    assert done.returncode == 2
    [line] = done.stderr.splitlines()
    assert f"TP_WORLD_SIZE is {size}," in line
    assert "1, 2, 4 or 8" in line
    assert "--dp" in line


def default_tp(project, variables, arguments):
    """The words that mm_run.sh hands on."""
    script = (
        f'set -euo pipefail; source "{project}/scripts/ranks.sh"; '
        'add_default_tp "$@" || exit; printf "%s\\0" "${EVAL_WORDS[@]}"'
    )
    return subprocess.run(
        ["bash", "-c", script, "bash", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": os.environ["PATH"], **variables},
    )


def test_mm_run_hands_its_ranks_on(mm_run, tmp_path):
    told = {"TP_WORLD_SIZE": "8", "MASTER_PORT": "none"}
    done = mm_run(tmp_path, "vocalsound_mini", "qwen2_audio_tiny", **told)
    assert done.code == 2
    assert done.err == "modeltest: MASTER_PORT=none: not a port; set a number up to 65535\n"


def test_the_chat_prompt_holds_the_accuracy(modeltest, tmp_path, golden_replies):
    done = modeltest(
        tmp_path, "eval", "vocalsound_mini", "qwen2_audio_tiny", "--set", "prompt_format=chat"
    )
    assert done.code == 0, done.err
    assert outputs(done) == golden_replies["chat"]
    results = pandas.read_csv(done.result_file("result"))
    assert 0.85 <= results["value"][0] <= 0.98


def test_limit_is_limited(modeltest, tmp_path, golden_replies):
    arguments = ("--limit", "5", "--bs", "1", "--engine", "stock")
    done = modeltest(tmp_path, "eval", "vocalsound_mini", "qwen2_audio_tiny", *arguments)
    assert done.code == 0
    first = done.out.splitlines()[0]
    assert first == (
        "LIMITED: 5 of 120 samples; settings changed: engine=stock; "
        "not checked: whether replies collapsed (5 replies, 12 needed)"
    )
    assert set(outputs(done).items()) <= set(golden_replies["raw"].items())
    page = (done.run_folder / "report.html").read_text(encoding="utf-8")
    assert "5 of 120 samples" in page


def test_a_certified_run_hashes_the_weights_whole_and_is_resumed_as_one(modeltest, tmp_path):
    name = ("vocalsound_mini", "qwen2_audio_tiny", "--limit", "2")
    done = modeltest(tmp_path, "eval", *name, "--certified")
    assert done.code == 0, done.err
    manifest = json.loads((done.run_folder / "manifest.json").read_text())
    model = manifest["identity"]["backend"]["model"]
    weights = PACKAGED_MODEL / "model.safetensors"
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    assert model["files"][weights.name]["sha256"] == digest
    quick = modeltest(tmp_path, "eval", *name, "--resume", "last")
    assert quick.code == 2
    assert "certified was True, is False" in quick.err


def test_dry_run_shows_everything_and_writes_nothing(modeltest, tmp_path):
    done = modeltest(tmp_path, "eval", "vocalsound_mini", "qwen2_audio_tiny", "--dry-run")
    assert done.code == 0
    assert "<|audio_bos|><|AUDIO|><|audio_eos|>In this audio" in done.out
    assert "f0003_0_cough, truth cough" in done.out
    assert "_result.csv" in done.out
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("vocalsond", "qwen2_audio_tiny"), "did you mean 'vocalsound'"),
        (("vocalsound_mini", "qwen2_tiny"), "qwen2_audio_tiny"),
        (("vocalsound_mini", "qwen2_audio"), "vocalsound_mini qwen2_audio_tiny"),
        (("vocalsound", "qwen2_audio_tiny"), "local_dataset_path"),
        (("vocalsound_mini", "qwen2_audio_tiny", "--set", "promt=x"), "did you mean 'prompt'"),
        (("vocalsound_mini",), "usage:"),
        ((), "usage:"),
        (("vocalsound_mini", "qwen2_audio_tiny", "--bs", "0"), "at least 1"),
        (("vocalsound_mini", "qwen2_audio_tiny", "--set", "model.model_path=/"), "config.json"),
    ],
)
def test_mistakes_are_one_message_and_exit_2(mm_run, tmp_path, arguments, message):
    done = mm_run(tmp_path, *arguments, MODELTEST_QWEN2_AUDIO_PATH="", MODELTEST_VOCALSOUND_PATH="")
    assert done.code == 2
    assert message in done.err
    assert "Traceback" not in done.err
    assert not (tmp_path / "outputs").exists()


def test_a_folder_named_modeltest_is_no_obstacle(mm_run, tmp_path):
    """Users stand in the original tool's folder, which holds a package of the same name."""
    (tmp_path / "modeltest").mkdir()
    (tmp_path / "modeltest" / "__init__.py").write_text("raise SystemExit('the wrong one')")
    done = mm_run(tmp_path, "vocalsound_mini", "qwen2_audio_tiny", "--dry-run")
    assert done.code == 0, done.err


def test_a_task_of_ones_own_is_one_file(modeltest, tmp_path, mini_clips):
    """Another question, other options, labels by folder, WAV at 44.1 kHz in stereo."""
    for clip in mini_clips[:12]:
        label = "coughing" if clip.stem.endswith("_cough") else "other"
        waveform, rate = soundfile.read(clip)
        stereo = np.stack([waveform, waveform], axis=1).repeat(2, axis=0)
        target = tmp_path / "data" / label / f"{clip.stem}.wav"
        target.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(target, stereo, rate * 2)
    task = {
        "kind": "multiple_choice",
        "local_dataset_path": str(tmp_path / "data"),
        "label": {"source": "folder"},
        "prompt": "Is this a cough? {choices}.",
        "raw_prompt": "{audio}{prompt} ASSISTANT:",
        "choices": [
            {"letter": "A", "label": "other", "text": "Other", "words": ["laughter", "sniff"]},
            {"letter": "C", "label": "coughing", "text": "Cough"},
        ],
    }
    (tmp_path / "cough.yaml").write_text(json.dumps(task))
    done = modeltest(tmp_path, "eval", "cough.yaml", "qwen2_audio_tiny")
    assert done.code == 0, done.err
    results = pandas.read_csv(done.result_file("result"))
    assert set(results["task"]) == {"cough"}
    assert list(results["subset"].unique()) == ["all", "class=other", "class=coughing"]
    assert results["total"][0] == 12


def test_unusable_files_are_listed_before_anything_is_loaded(modeltest, tmp_path, mini_clips):
    data = tmp_path / "data"
    data.mkdir()
    shutil.copy(mini_clips[0], data)
    (data / "f0009_0_cough.wav").write_text("not audio")
    (data / "f0009_0_yawn.flac").write_bytes(mini_clips[1].read_bytes())
    (data / "README.md").write_text("passed over")
    done = modeltest(
        tmp_path, "eval", "vocalsound", "qwen2_audio_tiny",
        "--set", f"task.local_dataset_path={data}",
    )  # fmt: skip
    assert done.code == 2
    assert "f0009_0_cough.wav" in done.err
    assert "f0009_0_yawn.flac" in done.err
    assert "README.md" not in done.err
    assert not (tmp_path / "outputs").exists()


def test_a_clip_over_thirty_seconds_fails_alone(modeltest, tmp_path, mini_clips):
    data = tmp_path / "data"
    data.mkdir()
    shutil.copy(mini_clips[0], data)
    soundfile.write(data / "f0009_0_sigh.wav", np.zeros(31 * 16_000), 16_000)
    arguments = ("eval", "vocalsound", "qwen2_audio_tiny", "--set", f"local_dataset_path={data}")
    done = modeltest(tmp_path, *arguments)
    assert done.code == 3
    assert done.out.startswith("INVALID: 1 of 2 samples failed")
    assert "longer than 30 s" in done.err
    samples = pandas.read_csv(done.result_file("samples")).set_index("sample_id")
    assert "31.00 s long" in samples["error"]["f0009_0_sigh"]
    cut = modeltest(tmp_path / "data", *arguments, "--set", "long_audio=truncate")
    assert cut.code == 0
