"""Secrets of the environment appear in no file and on no screen, whatever fails."""

import os
import signal
import subprocess
import sys
import time

import pytest

NAMES = [
    "OPENAI_API_KEY", "HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "MODELTEST_API_KEY", "MODELTEST_TOKEN",
    "ASCEND_PASSWORD", "CUDA_PASSPHRASE", "ATB_CREDENTIALS", "NPU_AUTHORIZATION", "HCCL_COOKIE",
    "TORCH_SECRET", "MODELTEST_DB_PASSWD", "NCCL_key", "MODELTEST_PWD", "TORCH_PAT", "CUDA_PIN",
    "HCCL_LOGIN", "ATB_DSN",
]  # fmt: skip
CANARY = "canary-7f3a9"
SECRETS = {name: f"{CANARY}-{number}" for number, name in enumerate(NAMES)}
# A value, not its variable's name, gives these away.
SECRETS |= {
    "HCCL_URL": f"http://u:{CANARY}@x",
    "HCCL_ALGO": f"tcp://{CANARY}@x",
    "MODELTEST_CONFIG_DIR_URL": f"https://{CANARY}@x",
}
EVAL = ("eval", "vocalsound_mini", "null", "--limit", "2")


def leaks(folder) -> list[str]:
    files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    return [str(path) for path in files if CANARY.encode() in path.read_bytes()]


FAILURES = {
    "none": (EVAL, 0),
    "an unknown task": (("eval", "nonsense", "null"), 2),
    "an unknown option": (("eval", "--key", "x"), 2),
    "broken YAML": (("eval", "broken.yaml", "null"), 2),
    "a secret in a path": ((*EVAL, "--set", "task.local_dataset_path=/d/${HF_TOKEN}"), 2),
    "an unset variable": ((*EVAL, "--set", "task.local_dataset_path=/d/${NOT_THERE}"), 2),
    "a checkpoint that is none": (("eval", "vocalsound_mini", "qwen2_audio"), 2),
    "data that is none": ((*EVAL, "--set", "task.local_dataset_path=empty"), 2),
    "an output folder that is a file": ((*EVAL, "--output-dir", "broken.yaml"), 2),
    "nothing to resume": ((*EVAL, "--resume", "last"), 2),
    "an unknown device": ((*EVAL, "--device", "tpu"), 2),
    "a limit that is none": (("eval", "vocalsound_mini", "null", "--limit", "0"), 2),
    "an unknown override": ((*EVAL, "--set", "model.modelpath=x"), 2),
    "a clip that is none": ((*EVAL, "--set", "task.local_dataset_path=spoilt"), 2),
    "no run to report": (("report", "last"), 2),
    "a broken manifest": (("report", "run"), 2),
    "a list with a broken run": (("list", "runs"), 0),
    "a dry run": ((*EVAL, "--dry-run"), 0),
    "a check": (("check", "vocalsound_mini", "null"), None),
    "a full disk": (EVAL, 5),
}


@pytest.mark.parametrize("failure", FAILURES)
def test_no_secret_leaks(command, tmp_path, failure):
    arguments, code = FAILURES[failure]
    (tmp_path / "broken.yaml").write_text("prompt: [")
    (tmp_path / "empty").mkdir()
    (tmp_path / "spoilt").mkdir()
    (tmp_path / "spoilt" / "f0001_0_cough.wav").write_text("no audio")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "manifest.json").write_text("[" * 100_000)
    if failure == "a full disk":
        hook = tmp_path / ".watch" / "sitecustomize.py"
        limit = "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        limit += "resource.setrlimit(resource.RLIMIT_FSIZE, (900, 900))\n"
        hook.write_text(limit + hook.read_text())
    done = command(*arguments, **SECRETS)
    assert code is None or done.code == code, done.err
    assert CANARY not in done.out + done.err
    assert leaks(tmp_path) == []


def test_there_are_twenty_failures():
    assert len(FAILURES) + len(("a crash", "a signal")) >= 20


def test_no_secret_leaks_when_it_crashes_or_is_ended(checkout, tmp_path):
    """A bug's traceback, and a signal in the middle of a run."""
    script = (
        "import sys, time\n"
        "from modeltest.backends.null import NullBackend\n"
        "from modeltest.cli.main import main\n"
        "def load(self):\n"
        "    if {crash}: raise RuntimeError('a bug')\n"
        "    print('loading', flush=True); time.sleep(60)\n"
        "NullBackend.load = load\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    environment = {**os.environ, **SECRETS, "PYTHONPATH": str(checkout)}
    for crash in (True, False):
        child = subprocess.Popen(
            [sys.executable, "-c", script.format(crash=crash), *EVAL],
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert child.stdout is not None
        if not crash:
            while "loading" not in child.stdout.readline():
                time.sleep(0.01)
            child.send_signal(signal.SIGTERM)
        out = child.communicate(timeout=60)[0]
        assert child.returncode == (1 if crash else 143), out
        assert ("a bug" in out) == crash
        assert CANARY not in out
    assert leaks(tmp_path) == []


def test_the_environment_that_steers_devices_is_still_recorded(command, run_folder):
    command(*EVAL, ASCEND_RT_VISIBLE_DEVICES="3", **SECRETS)
    manifest = (run_folder() / "manifest.json").read_text()
    assert '"ASCEND_RT_VISIBLE_DEVICES": "3"' in manifest
    assert not any(name in manifest for name in NAMES)
