"""`modeltest compare` of real runs: this process against itself, and against a service."""

import json

import pytest
from served_model import served_model

pytestmark = pytest.mark.end_to_end

MODEL = "qwen2_audio_tiny"


@pytest.fixture(scope="module")
def folder(modeltest, checkout, tmp_path_factory):
    """Holds four runs: fp32 in chat format here and served, and on another batch size; null."""
    folder = tmp_path_factory.mktemp("compared")
    chat = ("--set", "task.prompt_format=chat")
    with served_model(checkout, MODEL) as server:
        settings = {"backend": "openai", "service": "vllm", "base_url": server.url, "model": MODEL}
        (folder / "served.yaml").write_text(json.dumps(settings), encoding="utf-8")  # is YAML
        for name, arguments in {
            "here": (MODEL, "--device", "cpu", *chat),
            "batch": (MODEL, "--device", "cpu", *chat, "--bs", "3"),
            "served": ("served.yaml",),
            "null": ("null", *chat),
        }.items():
            outputs = ("--output-dir", str(folder / name))
            done = modeltest(folder, "eval", "vocalsound_mini", *arguments, *outputs)
            assert done.code == 0, done.err
    return folder


@pytest.fixture(scope="module")
def compare(modeltest, folder):
    def run(first, second, *options):
        runs = [
            str(path)
            for name in (first, second)
            for path in (folder / name).glob("*/modeltest/*/precision_result/runs/*")
        ]
        return modeltest(folder, "compare", *runs, *options)

    return run


def test_another_batch_size_passes_where_the_clips_suffice(compare):
    done = compare("here", "batch", "--margin", "4")
    assert done.code == 0, done.err
    assert done.out.startswith("PASS: B is not more than 4 points less accurate than A")
    assert "different: batch size: A 8, B 3" in done.out


def test_120_clips_do_not_decide_a_margin_of_one_point(compare):
    done = compare("here", "batch")
    assert done.code == 4
    assert done.out.startswith("INCONCLUSIVE: these samples do not tell")
    assert "samples for a verdict" in done.out


def test_a_service_against_this_process(compare):
    done = compare("here", "served", "--margin", "4")
    assert done.code == 0, done.err
    assert "the same reply, letter by letter: 120 of 120" in done.out
    assert "not compared: the model's files" in done.out
    assert "different: backend: A transformers, B openai" in done.out


def test_no_model_fails(compare, folder):
    refused = compare("here", "null")
    assert refused.code == 2
    assert "--other-model compares two models" in refused.err
    done = compare("here", "null", "--other-model")
    assert done.code == 3, done.err
    assert done.out.startswith("FAIL: B is more than 1 point less accurate than A")
    [path] = [line.split()[1] for line in done.out.splitlines() if line.startswith("flips    ")]
    assert (folder / path).read_text(encoding="utf-8").count("regression") > 60
