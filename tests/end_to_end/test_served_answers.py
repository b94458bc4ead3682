"""`modeltest serve` asked by this project's own clients gives the answers of this process."""

import json

import pandas
import pytest
from served_model import served_model

pytestmark = pytest.mark.end_to_end

NUM_SAMPLES = 24
MODEL = "qwen2_audio_tiny"  # fp32
ROUTES = {
    "openai": {"backend": "openai", "service": "vllm"},
    "openai streamed": {"backend": "openai", "service": "vllm", "request": {"stream": True}},
    "generate": {"backend": "generate"},
}


@pytest.fixture(scope="module")
def url(checkout):
    """Of a server of the embedded model."""
    with served_model(checkout, MODEL) as server:
        yield server.url
    assert " 0 refused or failed, 0 left by their client" in server.said


@pytest.fixture(scope="module")
def evaluated(modeltest, tmp_path_factory):
    """The samples' rows of an evaluation, by their names."""

    def run(model, *arguments, files=()):
        folder = tmp_path_factory.mktemp("served answers")
        for name, content in files:
            (folder / name).write_text(json.dumps(content), encoding="utf-8")  # JSON is YAML
        done = modeltest(
            folder, "eval", "vocalsound_mini", model, "--limit", str(NUM_SAMPLES), *arguments
        )
        assert done.code == 0, done.err
        assert done.out.startswith("LIMITED"), done.out
        return pandas.read_csv(done.result_file("samples"), index_col="sample_id").sort_index()

    return run


@pytest.fixture(scope="module")
def in_process(evaluated):
    return evaluated(MODEL, "--device", "cpu", "--set", "task.prompt_format=chat")


@pytest.mark.parametrize("route", ROUTES)
def test_answers_of_the_served_model_are_those_of_this_process(url, evaluated, in_process, route):
    settings = {**ROUTES[route], "base_url": url, "model": MODEL}
    served = evaluated("served.yaml", files=[("served.yaml", settings)])
    assert len(served) == NUM_SAMPLES
    assert served["output"].nunique() > 3
    # Replies of /generate count no tokens.
    counts = () if route == "generate" else ("input_tokens", "output_tokens")
    for column in ("output", "answer", "correct", "error", *counts):
        pandas.testing.assert_series_equal(served[column], in_process[column])
