import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from modeltest.backends.transformers.architecture import auto_class
from modeltest.backends.transformers.model_folder import (
    check_model_folder,
    fingerprint,
    weight_files,
    why_stock,
)
from modeltest.errors import ModelError

WHERE = "config/model/mine.yaml:3"


def safetensors(num_values=2, name="w", values=b"\0"):
    """A file of the safetensors format: u64 little-endian length, JSON header, data."""
    size = 4 * num_values
    tensor = {"dtype": "F32", "shape": [num_values], "data_offsets": [0, size]}
    header = json.dumps({name: tensor}).encode()
    return len(header).to_bytes(8, "little") + header + values * size


@pytest.fixture
def folder(tmp_path) -> Path:
    """The least that passes for a checkpoint."""
    path = tmp_path / "checkpoint"
    path.mkdir()
    config = {"architectures": ["Qwen2AudioForConditionalGeneration"]}
    (path / "config.json").write_text(json.dumps(config))
    (path / "preprocessor_config.json").write_text("{}")
    (path / "tokenizer_config.json").write_text("{}")
    (path / "model.safetensors").write_bytes(safetensors())
    return path


def refusal(path) -> str:
    with pytest.raises(ModelError) as caught:
        check_model_folder(path, WHERE)
    message = str(caught.value)
    assert caught.value.exit_code == 2
    assert len(message.splitlines()) == 1
    return message


def test_a_checkpoint_is_accepted(folder):
    assert check_model_folder(folder, WHERE) == folder
    assert weight_files(folder) == [folder / "model.safetensors"]


def test_unset_says_how_to_set_it_and_how_to_try_without(folder):
    message = refusal(None)
    assert message.startswith(f"{WHERE}: model_path is not set")
    assert "--set model.model_path=" in message
    assert "bash scripts/mm_run.sh vocalsound_mini qwen2_audio_tiny" in message


def test_missing_folder(folder):
    path = folder / "nowhere"
    message = refusal(path)
    assert message.startswith(f"{WHERE}: model_path {path}")
    assert "does not exist" in message


def test_a_file_is_no_folder(folder):
    message = refusal(folder / "config.json")
    assert message.startswith(f"{WHERE}: model_path {folder / 'config.json'}")
    assert "is not a folder" in message


@pytest.mark.parametrize(
    "name", ["config.json", "preprocessor_config.json", "tokenizer_config.json"]
)
def test_a_file_that_every_checkpoint_has_is_missed_by_name(folder, name):
    (folder / name).unlink()
    message = refusal(folder)
    assert f"{folder} has no {name}" in message
    assert "give the checkpoint's folder" in message


@pytest.mark.parametrize(
    "config",
    [
        {"architectures": ["LlamaForCausalLM"]},
        {"architectures": "Qwen2AudioForConditionalGeneration"},
        {"architectures": []},
        {"model_type": "qwen2_audio"},
        # A text model, of those that transformers knows.
        {"architectures": ["LlamaForCausalLM"], "model_type": "llama"},
    ],
)
def test_another_architecture_is_named_beside_the_supported(folder, config):
    (folder / "config.json").write_text(json.dumps(config))
    message = refusal(folder)
    assert str(folder / "config.json") in message
    assert str(config.get("architectures")) in message
    assert "supported: Qwen2AudioForConditionalGeneration" in message


def refusal_of_transformers(path) -> str:
    """Of files that can be run for all that is known without transformers."""
    check_model_folder(path, WHERE)
    with pytest.raises(ModelError) as caught:
        auto_class(path)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    return message


def as_whisper(folder, **keys):
    """An architecture that every release of transformers knows, as files alone."""
    config = {"architectures": ["WhisperForConditionalGeneration"], "model_type": "whisper"}
    (folder / "config.json").write_text(json.dumps({**config, **keys}))
    extractor = {"feature_extractor_type": "WhisperFeatureExtractor"}
    (folder / "preprocessor_config.json").write_text(json.dumps(extractor))


def test_another_architecture_that_transformers_knows_is_accepted(folder):
    as_whisper(folder)
    assert check_model_folder(folder, WHERE) == folder
    assert why_stock(folder) == "the fast engine is for Qwen2-Audio, this is Whisper"
    assert auto_class(folder) == "AutoModelForSpeechSeq2Seq"


@pytest.mark.parametrize(
    ("is_other", "attention", "engine", "warning"),
    [
        (False, "sdpa", "fast", ""),
        (False, "flash_attention_2", "stock", "makes masks for sdpa and eager alone"),
        (True, "sdpa", "stock", "this is Whisper"),
    ],
)
def test_files_alone_are_looked_at_before_there_is_a_device(
    folder, is_other, attention, engine, warning
):
    """torch may only be imported when an NPU's variables are set, or its extension is hidden."""
    if is_other:
        as_whisper(folder)
    code = (
        "import sys\n"
        "from modeltest.backends.factory import checked_model, model_warnings\n"
        "from modeltest.settings.load import load_model\n"
        "overrides = ['model_path=' + sys.argv[1], 'attention=' + sys.argv[2]]\n"
        "model = checked_model(load_model('qwen2_audio', overrides))\n"
        "print(model.settings.engine, *model_warnings(model.settings), sep='\\n')\n"
        "sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder), attention],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    [found, *warnings] = done.stdout.splitlines()
    assert found == engine
    assert [warning in each for each in warnings] == ([True] if warning else [])


def test_a_model_that_speaks_is_refused(folder):
    as_whisper(folder, talker_config={"model_type": "talker"})
    assert "speaks its replies (talker_config)" in refusal(folder)
    as_whisper(folder, talker_config=None)
    assert check_model_folder(folder, WHERE) == folder


def test_a_feature_extractor_among_the_processors_settings(folder):
    """As transformers 5 saves it."""
    as_whisper(folder)
    content = json.loads((folder / "preprocessor_config.json").read_text())
    (folder / "preprocessor_config.json").unlink()
    (folder / "processor_config.json").write_text(json.dumps({"feature_extractor": content}))
    assert check_model_folder(folder, WHERE) == folder
    (folder / "processor_config.json").write_text("{}")
    assert "is not supported" in refusal(folder)


def test_a_class_that_makes_no_text_is_refused(folder):
    as_whisper(folder, architectures=["WhisperForAudioClassification"])
    message = refusal_of_transformers(folder)
    assert "['WhisperForAudioClassification'] is not supported; supported: Qwen2" in message


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [
        ("processor_config.json", "processor_class", "Qwen2AudioProcessor"),
        ("preprocessor_config.json", "feature_extractor_type", "EvilExtractor"),
        ("tokenizer_config.json", "tokenizer_class", "TransfoXLTokenizer"),
        ("tokenizer_config.json", "tokenizer_class", "WhisperTokenizerOfMine"),
    ],
)
def test_classes_that_are_not_the_architectures_are_refused(folder, name, key, value):
    as_whisper(folder)
    (folder / name).write_text(json.dumps({key: value}))
    assert f"{name}: '{key}' is '{value}'; supported: " in refusal_of_transformers(folder)


@pytest.mark.parametrize(
    ("extractor", "accepted"), [("Wav2Vec2FeatureExtractor", True), ("EvilExtractor", False)]
)
def test_any_feature_extractor_of_transformers_will_do_where_it_names_none(
    folder, monkeypatch, extractor, accepted
):
    from transformers.models.auto.feature_extraction_auto import FEATURE_EXTRACTOR_MAPPING_NAMES

    as_whisper(folder)
    content = {"feature_extractor_type": extractor}
    (folder / "preprocessor_config.json").write_text(json.dumps(content))
    own = f"is '{extractor}'; supported: WhisperFeatureExtractor"
    assert refusal_of_transformers(folder).endswith(own)
    monkeypatch.delitem(FEATURE_EXTRACTOR_MAPPING_NAMES, "whisper")
    if accepted:
        assert auto_class(folder) == "AutoModelForSpeechSeq2Seq"
    else:
        assert "is 'EvilExtractor'; supported: " in refusal_of_transformers(folder)


@pytest.mark.parametrize("key", ["auto_map", "trust_remote_code"])
def test_code_of_another_architecture_is_refused(folder, key):
    as_whisper(folder)
    config = json.loads((folder / "config.json").read_text())
    value = {"AutoModel": "modeling_evil.Evil"}
    (folder / "config.json").write_text(json.dumps({**config, key: value}))
    assert f"config.json: sets '{key}'; modeltest never runs code" in refusal(folder)


@pytest.mark.parametrize(
    ("saved_with", "needs"),
    [
        ({"transformers_version": "99.1.0"}, "transformers 99.1.0 or newer"),
        ({"transformers_version": "4.40.0"}, "a newer release"),  # saved by a fork, say
        ({"transformers_version": "a\nb"}, "a newer release"),
        ({}, "a newer release"),
    ],
)
def test_an_architecture_of_a_later_release_is_named_with_what_it_needs(folder, saved_with, needs):
    import transformers

    architectures = ["TomorrowForConditionalGeneration"]
    as_whisper(folder, architectures=architectures, model_type="tomorrow", **saved_with)
    assert refusal_of_transformers(folder).endswith(
        f"transformers {transformers.__version__} does not know architecture "
        f"TomorrowForConditionalGeneration; it needs {needs}"
    )


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'"text"', b"\xff\xfe"])
def test_a_config_that_is_no_json_object(folder, content):
    (folder / "config.json").write_bytes(content)
    message = refusal(folder)
    assert message.startswith(f"{WHERE}: {folder / 'config.json'}: ")
    assert "JSON" in message


def test_pickled_weights_are_not_taken_in_place_of_safetensors(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    message = refusal(folder)
    assert "has no *.safetensors" in message
    assert "can run code" in message


def write_index(folder, *shards):
    content = {"weight_map": {f"layer{i}": name for i, name in enumerate(shards)}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(content))


def test_missing_shards_are_named_once_each(folder):
    first, second, third = (f"model-0000{n}-of-00003.safetensors" for n in (1, 2, 3))
    (folder / "model.safetensors").rename(folder / first)
    write_index(folder, first, third, third, second)
    missing = f"weight files are missing: {second}, {third}; download them again"
    assert refusal(folder) == f"{WHERE}: {folder}: {missing}"


def test_an_index_whose_shards_are_all_there(folder):
    write_index(folder, "model.safetensors")
    assert check_model_folder(folder, WHERE) == folder


@pytest.mark.parametrize("content", ["{}", '{"weight_map": []}', '{"weight_map": {"a": 5}}'])
def test_an_index_without_a_map(folder, content):
    (folder / "model.safetensors.index.json").write_text(content)
    assert refusal(folder).endswith("has no usable weight_map; download it again")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x08",
        safetensors()[:20],
        b"version https://git-lfs.github.com/spec/v1\n",
        (9).to_bytes(8, "little") + b"no header",
        safetensors()[:-1],
        safetensors() + b"\0",
        (200_000).to_bytes(8, "little") + b"[" * 200_000,
        (17).to_bytes(8, "little") + b'{"w": {"a": [1]}}',
    ],
    ids=[
        "empty",
        "one byte",
        "cut in the header",
        "git lfs pointer",
        "no JSON",
        "cut in the data",
        "data behind the end",
        "deep JSON",
        "no offsets",
    ],
)
def test_a_broken_header_is_refused(folder, content):
    (folder / "model.safetensors").write_bytes(content)
    with pytest.raises(ModelError, match=r"not a .*safetensors file") as caught:
        fingerprint(folder)
    assert str(folder / "model.safetensors") in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    assert "not a whole safetensors file" in refusal(folder)


def test_a_shard_without_its_index_is_refused(folder):
    (folder / "model.safetensors").rename(folder / "model-00001-of-00005.safetensors")
    assert "neither model.safetensors nor model.safetensors.index.json" in refusal(folder)


def test_a_link_to_nothing_is_refused(folder):
    """As a hub cache has them after a download that broke off."""
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors").symlink_to(folder / "blobs" / "gone")
    assert "model.safetensors" in refusal(folder)


@pytest.mark.parametrize("config", ['{"architectures": [["x"]]}', "[" * 200_000])
def test_an_odd_config_is_one_line(folder, config):
    (folder / "config.json").write_text(config)
    assert str(folder / "config.json") in refusal(folder)


def test_names_cannot_forge_lines(tmp_path):
    assert "a\\nb" in refusal(tmp_path / "a\nb")


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: (folder / "config.json").write_text("{}"),
        lambda folder: (folder / "tokenizer_config.json").write_text("{} "),
        lambda folder: (folder / "merges.txt").write_text("a b"),
        lambda folder: (folder / "chat_template.jinja").write_text("{{ messages }}"),
        lambda folder: (folder / "tokenizer.model").write_bytes(b"SentencePiece's"),
        lambda folder: (folder / "model.safetensors").write_bytes(safetensors(name="v")),
        lambda folder: (folder / "model.safetensors").write_bytes(safetensors(num_values=3)),
        lambda folder: (folder / "config.json").rename(folder / "other.json"),
    ],
    ids=["config", "tokenizer", "merges", "template", "pieces", "header", "size", "name"],
)
def test_the_fingerprint_tells_checkpoints_apart(folder, change):
    before = fingerprint(folder)["sha256"]
    change(folder)
    assert fingerprint(folder)["sha256"] != before


def test_the_fingerprint_does_not_depend_on_the_place_or_on_other_files(folder, tmp_path):
    before = fingerprint(folder)
    moved = tmp_path / "elsewhere" / "another name"
    shutil.copytree(folder, moved)
    (moved / "README.md").write_text("no part of the model")
    assert fingerprint(moved) == before


def test_the_fingerprint_tells_two_trainings_apart(folder):
    before = fingerprint(folder)
    (folder / "model.safetensors").write_bytes(safetensors(values=b"\1"))
    after = fingerprint(folder)
    assert after["sha256"] != before["sha256"]
    content = safetensors()
    found = before["files"]["model.safetensors"]
    assert found["header_sha256"] == hashlib.sha256(content[8:-8]).hexdigest()
    assert found["num_bytes"] == len(content)
    assert "sha256" not in found


def test_a_certified_fingerprint_hashes_every_byte(folder):
    (folder / "model.safetensors").write_bytes(content := safetensors(num_values=500_000))
    found = fingerprint(folder, whole_weights=True)["files"]["model.safetensors"]
    assert found["sha256"] == hashlib.sha256(content).hexdigest()
