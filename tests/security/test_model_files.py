"""A checkpoint is data: nothing in its folder is run, and nothing is fetched."""

import json
import os
import pickle
import shutil
import subprocess
import sys

import pytest

from modeltest.backends.transformers.model_folder import check_model_folder
from modeltest.errors import ModelError

EVAL = ("eval", "vocalsound_mini", "qwen2_audio_tiny", "--limit", "1")


class Bomb:
    """Unpickled, it makes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def put_pickles(folder, canary):
    import torch

    for name in ("pytorch_model.bin", "model.pt", "model.ckpt", "training_args.bin", "data.pkl"):
        (folder / name).write_bytes(pickle.dumps(Bomb(canary)))
    torch.save({"w": Bomb(canary)}, folder / "consolidated.pth")
    index = {"metadata": {}, "weight_map": {"lm_head.weight": "pytorch_model.bin"}}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index))


def change(file, **keys):
    content = json.loads(file.read_text()) if file.exists() else {}
    file.write_text(json.dumps({**content, **keys}))


def test_the_canary_would_sing(tmp_path):
    canary = tmp_path / "canary"
    pickle.loads(pickle.dumps(Bomb(canary))).close()
    assert canary.exists()


def test_pickles_and_code_beside_safetensors_are_never_read(command, own_model, tmp_path):
    """A real evaluation: no pickle is opened, no module of the folder runs, no network."""
    canary = tmp_path / "canary"
    put_pickles(own_model, canary)
    for name in ("modeling_qwen2_audio", "configuration_qwen2_audio", "processing_qwen2_audio"):
        (own_model / f"{name}.py").write_text(f"open({str(canary)!r}, 'w')")
    done = command(*EVAL, "--set", f"model_path={own_model}")
    assert done.code == 0, done.err
    assert not canary.exists()
    assert "Bomb" not in done.seen
    assert "socket" not in done.seen


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "model.ckpt"])
def test_pickles_in_place_of_safetensors_are_refused(command, own_model, tmp_path, name):
    (own_model / "model.safetensors").unlink()
    (own_model / name).write_bytes(pickle.dumps(Bomb(tmp_path / "canary")))
    message = command(*EVAL, "--set", f"model_path={own_model}").one_line_error()
    assert "no *.safetensors" in message
    assert not (tmp_path / "canary").exists()


def test_a_pickle_named_safetensors_is_refused(command, own_model, tmp_path):
    (own_model / "model.safetensors").write_bytes(pickle.dumps(Bomb(tmp_path / "canary")))
    message = command(*EVAL, "--set", f"model_path={own_model}").one_line_error()
    assert "not a whole safetensors file" in message
    assert not (tmp_path / "canary").exists()


def test_a_config_cannot_name_other_weights(own_model, tmp_path):
    put_pickles(own_model, tmp_path / "canary")
    change(own_model / "config.json", transformers_weights="pytorch_model.bin")
    with pytest.raises(ModelError, match="'transformers_weights'"):
        check_model_folder(own_model, "here")


@pytest.mark.parametrize("key", ["auto_map", "trust_remote_code"])
@pytest.mark.parametrize(
    "name",
    [
        "config.json", "preprocessor_config.json", "processor_config.json",
        "tokenizer_config.json", "generation_config.json", "video_preprocessor_config.json",
    ],
)  # fmt: skip
def test_remote_code_is_refused_by_file_and_key(own_model, name, key):
    value = True if key == "trust_remote_code" else {"AutoModel": "modeling_evil.Evil"}
    change(own_model / name, **{key: value})
    with pytest.raises(ModelError, match="never runs code that a checkpoint brings") as caught:
        check_model_folder(own_model, "here")
    message = str(caught.value)
    assert f"{name}: sets '{key}'" in message
    assert len(message.splitlines()) == 1


@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("config.json", {"text_config": {"auto_map": {"AutoModelForCausalLM": "evil.Evil"}}}),
        ("config.json", {"deep": [{"list": [{"trust_remote_code": True}]}]}),
        ("config.json", {"_attn_implementation": "evil/kernel"}),
        ("config.json", {"text_config": {"attn_implementation": {"": "evil/kernel@main"}}}),
        ("config.json", {"_experts_implementation_internal": "evil/kernel"}),
        ("config.json", {"configuration_files": ["config.4.0.0.json"]}),
        ("generation_config.json", {"custom_generate": "evil/repository"}),
        ("processor_config.json", {"audio_tokenizer": {"audio_tokenizer_name_or_path": "e/v"}}),
        ("processor_config.json", {"processor_class": "RagRetriever"}),
        ("tokenizer_config.json", {"tokenizer_class": "TransfoXLTokenizer"}),
        ("tokenizer_config.json", {"tokenizer_class": ["TransfoXLTokenizer"]}),
        ("preprocessor_config.json", {"feature_extractor_type": "EvilExtractor"}),
        ("adapter_config.json", {"base_model_name_or_path": "evil/base"}),
        ("audio_tokenizer_config.json", {}),
    ],
)
def test_other_ways_to_foreign_code_are_refused(own_model, name, keys):
    change(own_model / name, **keys)
    with pytest.raises(ModelError, match=name) as caught:
        check_model_folder(own_model, "here")
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    "keys",
    [
        {"model_type": "timm_wrapper", "model_args": {"checkpoint_path": "evil.pth"}},
        {"model_type": "timm_backbone"},
        {"checkpoint_path": "evil.pth"},
        {"use_pretrained_backbone": True},
        {"use_timm_backbone": True, "backbone": "resnet50"},
        {"backbone_kwargs": {"checkpoint_path": "evil.pth"}},
        {"model_type": "timm_wrapper", "architecture": "local-dir:/tmp/evil"},
        {"backbone": "hf-hub:evil/backbone"},
    ],
)
@pytest.mark.parametrize("is_own", [True, False])
def test_timm_is_given_no_pickle(own_model, keys, is_own):
    """transformers makes images' encoders with timm, which loads what its arguments name."""
    if not is_own:
        change(own_model / "config.json", architectures=["OtherForConditionalGeneration"])
    config = own_model / "config.json"
    change(config, deep=[{"vision_config": keys}])
    with pytest.raises(ModelError, match=r"config\.json: .*timm could load a pickle") as caught:
        check_model_folder(own_model, "here")
    assert len(str(caught.value).splitlines()) == 1


def test_settings_of_timm_that_load_nothing_are_accepted(own_model):
    harmless = {
        "model_type": "gemma3n_vision", "architecture": "mobilenetv5_300m_enc", "model_args": None,
        "backbone_kwargs": {}, "use_pretrained_backbone": False, "backbone": None,
    }  # fmt: skip
    change(own_model / "config.json", vision_config=harmless)
    assert check_model_folder(own_model, "here") == own_model


def test_a_generate_function_in_the_folder_is_refused(own_model):
    (own_model / "custom_generate").mkdir()
    (own_model / "custom_generate" / "generate.py").write_text("raise SystemExit('ran')")
    with pytest.raises(ModelError, match="custom_generate"):
        check_model_folder(own_model, "here")


def test_words_of_the_vocabulary_are_no_settings(own_model):
    for name in ("vocab.json", "added_tokens.json"):
        change(own_model / name, auto_map=5)
    assert check_model_folder(own_model, "here") == own_model


@pytest.mark.parametrize("content", [b"{", b"[" * 200_000, b"\xff", None])
def test_files_that_are_no_json_are_one_line(own_model, content):
    file = own_model / "special_tokens_map.json"
    file.unlink()
    if content is None:
        os.mkfifo(file)
    else:
        file.write_bytes(content)
    with pytest.raises(ModelError, match=r"special_tokens_map\.json"):
        check_model_folder(own_model, "here")


def test_remote_code_is_refused_before_transformers_is_imported(command, own_model, tmp_path):
    canary = tmp_path / "canary"
    (own_model / "modeling_evil.py").write_text(f"open({str(canary)!r}, 'w')")
    change(own_model / "config.json", auto_map={"AutoModel": "modeling_evil.Evil"})
    stub = tmp_path / "stub" / "transformers"
    stub.mkdir(parents=True)
    (stub / "__init__.py").write_text(f"open({str(tmp_path / 'imported')!r}, 'w')")
    (tmp_path / ".watch" / "usercustomize.py").write_text("")
    hook = tmp_path / ".watch" / "sitecustomize.py"
    hook.write_text(f"{hook.read_text()}\nsys.path.insert(0, {str(stub.parent)!r})\n")
    message = command(*EVAL, "--set", f"model_path={own_model}").one_line_error()
    assert "config.json: sets 'auto_map'" in message
    assert not canary.exists()
    assert not (tmp_path / "imported").exists()


def test_the_kernel_sees_no_connection_and_no_server_either(checkout, tmp_path):
    """Rust and C++ parts do not pass Python's audit hooks."""
    if shutil.which("strace") is None:
        pytest.fail("strace is missing; install it (apt-get install strace)")
    trace = tmp_path / "trace"
    calls = "trace=connect,sendto,sendmsg,bind,listen"
    strace = ["strace", "-f", "--seccomp-bpf", "-qq", "-e", calls]
    done = subprocess.run(
        [*strace, "-o", str(trace), sys.executable, "-m", "modeltest", *EVAL],
        cwd=tmp_path,
        env={
            **{k: v for k, v in os.environ.items() if "OFFLINE" not in k},
            "PYTHONPATH": str(checkout),
        },
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    reached = [line for line in trace.read_text().splitlines() if "AF_INET" in line]
    assert reached == []


def test_the_watch_sees_servers(command, tmp_path):
    """The hook that `seen` comes from would show a port that modeltest opens."""
    hook = tmp_path / ".watch" / "sitecustomize.py"
    serve = "s = socket.socket()\ntry: s.bind(('127.0.0.1', 0))\nexcept OSError: pass\n"
    hook.write_text(hook.read_text() + serve)
    done = command("list")
    assert done.code == 0, done.err
    assert "socket.bind" in done.seen
