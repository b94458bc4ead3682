"""Whole evaluations of a service, as users run them."""

import json
import signal
import subprocess
import sys
import time
import zlib

import pandas
import pytest
from raw_http import DEFAULT_GETS, HOLD, KEEP, RawServer, answer

TEXTS = ("A: Laughter", "B: Sigh", "C: Cough", "D: Throat clearing", "E: Sneeze", "F: Sniff")


def heard(request):
    """What is sent decides the reply, as of a model that hears."""
    text = TEXTS[zlib.crc32(request.body) % len(TEXTS)]
    reply = {
        "choices": [{"message": {"content": text}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 70, "completion_tokens": 4},
    }
    return [answer(reply), KEEP]


BLOCKER = """
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"torch", "transformers"}:
            raise ImportError(f"{name} is not there")
sys.meta_path.insert(0, Blocker())
"""


@pytest.fixture
def model_file(tmp_path):
    def write(url, **settings):
        values = {"backend": "openai", "service": "vllm", "model": "m", "base_url": url, **settings}
        lines = [f"{key}: {json.dumps(value)}\n" for key, value in values.items()]
        (tmp_path / "served.yaml").write_text("".join(lines))
        return "served.yaml"

    return write


@pytest.fixture
def modeltest(checkout, tmp_path, monkeypatch):
    """`modeltest ARGUMENTS` in a process that cannot import torch."""
    (tmp_path / "blocked").mkdir()
    (tmp_path / "blocked" / "sitecustomize.py").write_text(BLOCKER)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path / 'blocked'}:{checkout}")

    def start(*arguments):
        return subprocess.Popen(
            [sys.executable, "-m", "modeltest", *arguments],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(*arguments):
        child = start(*arguments)
        out, err = child.communicate(timeout=120)
        return child.returncode, out, err

    run.start = start
    return run


def run_folder(tmp_path):
    [folder] = tmp_path.glob("outputs/*/modeltest/*/precision_result/runs/*")
    return folder


@pytest.mark.end_to_end
def test_an_evaluation_of_a_service_needs_no_torch(modeltest, model_file, tmp_path):
    busy = [answer({"error": "busy"}, "503 Busy"), KEEP]
    with RawServer([heard, busy, heard]) as server:
        code, out, err = modeltest(
            "eval", "vocalsound_mini", model_file(server.url), "--limit", "8", "--bs", "4"
        )
    assert code == 0, err
    assert out.startswith("LIMITED: 8 of 120 samples")
    assert "asked in chat format: a service applies its own chat template" in out
    assert "the service was asked again 1 times" in out
    manifest = json.loads((run_folder(tmp_path) / "manifest.json").read_text())
    backend = manifest["identity"]["backend"]
    assert (backend["version"], backend["model"]["name"]) == ("1.2.3", "m")
    assert (manifest["prompt"]["format"], manifest["device"]["kind"]) == ("chat", "service")
    assert manifest["task"]["settings"]["prompt_format"] == "chat"
    [samples] = tmp_path.glob("outputs/**/SERVICE/**/served/**/*_openai_batch4_tp1_*_samples.csv")
    table = pandas.read_csv(samples)
    assert set(table["output"]) <= set(TEXTS)
    assert set(table["output_tokens"]) == {4}
    assert table["e2e_s"].nunique() == 8  # each request's own
    # One to warm up, one again, and each once with silence and once by itself.
    assert len(server.posts) == 8 + 1 + 1 + 2 * 8


@pytest.mark.end_to_end
def test_a_service_that_goes_ends_the_run_which_can_be_continued(modeltest, model_file, tmp_path):
    with RawServer([heard]) as server:
        port = server.port
        child = modeltest.start(
            "eval", "vocalsound_mini", model_file(server.url, retries=0, timeout_s=5.0), "--bs", "1"
        )
        while len(server.posts) < 10:
            time.sleep(0.01)
        server.stop()
        _, err = child.communicate(timeout=60)
    assert child.returncode == 5, err
    assert "does not answer any more" in err
    assert "to continue: " in err
    again = RawServer([heard], wanted_port=port)
    with again:
        code, out, err = modeltest(
            "eval", "vocalsound_mini", "served.yaml", "--bs", "1", "--resume", "last"
        )
    assert code == 0, err
    assert out.startswith("VALID")
    assert 100 < len(again.posts) - (8 + 24) < 120  # behind them the probes


@pytest.mark.end_to_end
def test_ctrl_c_ends_an_evaluation_that_waits_for_a_service(modeltest, model_file):
    with RawServer([[HOLD]]) as server:
        child = modeltest.start("eval", "vocalsound_mini", model_file(server.url), "--limit", "2")
        while not server.posts:
            time.sleep(0.01)
        start_s = time.monotonic()
        child.send_signal(signal.SIGINT)
        _, err = child.communicate(timeout=30)
    assert child.returncode == 130, err
    assert time.monotonic() - start_s < 3
    assert "Traceback" not in err
    assert "Task was destroyed" not in err


@pytest.mark.end_to_end
@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--device", "npu"), "--device npu: the service computes where it was started"),
        (("--tp", "2"), "--tp 2: the service splits its model itself"),
        (("--dp", "2"), "--dp: one process asks a service"),
        (("--certified",), "--certified: the weights are the service's"),
        (("--stop-at-answer",), "leave --stop-at-answer out"),
        (("--bs", "17"), "max_concurrency is 16"),
        (("--dtype", "bf16"), "is for the service to decide"),
        ((), "Connection refused"),
    ],
)
def test_what_a_service_cannot_do_is_one_line(modeltest, model_file, tmp_path, options, said):
    code, _, err = modeltest(
        "eval", "vocalsound_mini", model_file("http://127.0.0.1:9"), "--limit", "1", *options
    )
    assert code == 2, err
    assert said in err.splitlines()[-1]
    assert not list(tmp_path.glob("outputs/**/manifest.json"))


@pytest.mark.end_to_end
def test_another_model_is_refused_and_the_served_ones_are_listed(modeltest, model_file):
    models = answer({"data": [{"id": "first"}, {"id": "second"}]})
    with RawServer(gets={**DEFAULT_GETS, "/v1/models": (models, KEEP)}) as server:
        code, _, err = modeltest("eval", "vocalsound_mini", model_file(server.url), "--limit", "1")
    assert code == 2
    assert err.splitlines()[-1] == (
        f"modeltest: {server.url}: serves first, second, not m; set model to one that it serves"
    )


@pytest.mark.end_to_end
def test_plain_http_beyond_this_host_is_told(modeltest, model_file):
    code, _, err = modeltest(
        "eval", "vocalsound_mini", model_file("http://192.0.2.1:8000"), "--limit", "1", "--dry-run"
    )
    assert code == 0, err
    assert "warning: http://192.0.2.1:8000 is asked over plain http" in err
