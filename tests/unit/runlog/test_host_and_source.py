"""What the manifest says of the machine, its environment and modeltest's own source."""

import os
import re
import shutil
import subprocess
import sys

import pytest

import modeltest
from modeltest.runlog import source_facts
from modeltest.runlog.host_facts import _processor_name, host_facts, steering_variables

CANARY = "canary-7f3a"
NEVER = (
    "MODELTEST_PWD", "TORCH_PAT", "MODELTEST_LOGIN", "HCCL_URL", "ASCEND_ANYTHING", "CUDA_PIN",
    "NCCL_SOCKET", "ATB_X", "OMP_", "MKL_SERVICE_USER", "NPU_DSN", "PYTORCH_WHATEVER", "TORCH_HOME",
)  # fmt: skip


def test_only_variables_that_are_known_by_name_are_recorded(monkeypatch):
    for name in NEVER:
        monkeypatch.setenv(name, f"{CANARY}-{name}")
    assert not any(CANARY in value for value in steering_variables().values())


@pytest.mark.parametrize(
    "value",
    ["http://u:secret@host/x", "https://token@host", "a b redis://:pw@h:1/0", "tcp://a@b,tcp://c"],
)
def test_a_url_with_a_user_is_never_recorded(monkeypatch, value):
    monkeypatch.setenv("HCCL_ALGO", value)
    monkeypatch.setenv("ASCEND_HOME_PATH", "http://host/no@user")
    assert "HCCL_ALGO" not in steering_variables()
    assert "ASCEND_HOME_PATH" in steering_variables()


def test_the_host_has_a_processor_and_memory_whatever_device_computes():
    facts = host_facts()
    assert facts["processor"]
    assert facts["memory_total_bytes"] > 1 << 28
    assert facts["cores"] == os.cpu_count()


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("processor\t: 0\nmodel name\t: Fast: 3 GHz\n\nmodel name\t: Slow\n", "Fast: 3 GHz"),
        ("CPU implementer\t: 0x48\nCPU part\t: 0xd01\n", "CPU implementer 0x48, CPU part 0xd01"),
    ],
)
def test_the_processors_name(tmp_path, text, name):
    (tmp_path / "cpuinfo").write_text(text)
    assert _processor_name(tmp_path / "cpuinfo") == name


def test_a_system_without_cpuinfo_has_a_name_too(tmp_path):
    assert _processor_name(tmp_path / "nothing")


@pytest.fixture
def facts(tmp_path, project):
    """`facts()` of a copy of the package, told by a process of its own."""
    checkout = tmp_path / "outer" / "checkout"
    shutil.copytree(
        project / "modeltest", checkout / "modeltest",
        ignore=shutil.ignore_patterns("__pycache__", "assets"),
    )  # fmt: skip
    code = "import json; from modeltest.runlog.source_facts import tool_facts as f; print(f())"

    def tell(**environment):
        done = subprocess.run(
            [sys.executable, "-B", "-c", code],
            cwd=checkout, capture_output=True, text=True, check=True,
            env={**os.environ, "PYTHONPATH": str(checkout), **environment},
        )  # fmt: skip
        return eval(done.stdout)  # (our own process's repr)

    tell.checkout = checkout
    return tell


def git(folder, *arguments):
    identity = ["-c", "user.name=n", "-c", "user.email=e@localhost"]
    subprocess.run(["git", "-C", folder, *identity, *arguments], check=True, capture_output=True)


def commit_all(folder):
    git(folder, "init", "-q")
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "x")


def test_outside_a_working_tree_there_is_nothing_to_check(facts):
    found = facts()
    assert found == {
        "version": modeltest.__version__, "commit": None, "dirty": None, "unchecked": None,
    }  # fmt: skip
    git(facts.checkout.parent, "init", "-q")  # somebody else's repository further up
    assert facts() == found


def test_local_changes_are_seen_whatever_the_users_git_is_told(facts, tmp_path):
    commit_all(facts.checkout)
    clean = facts()
    assert re.fullmatch(r"[0-9a-f]{40}", clean["commit"])
    assert (clean["dirty"], clean["unchecked"]) == (False, None)
    (facts.checkout / "modeltest" / "json.py").write_text("# untracked\n")
    (tmp_path / "config").write_text("[status]\n\tshowUntrackedFiles = no\n")
    odd = {
        "GIT_DIR": str(tmp_path),
        "GIT_WORK_TREE": "/",
        "GIT_CONFIG_GLOBAL": str(tmp_path / "config"),
    }
    assert facts(**odd)["dirty"] is True
    assert facts(HOME=str(tmp_path))["dirty"] is True


def test_a_checkout_of_another_owner_is_checked_too(facts):
    commit_all(facts.checkout)
    if os.geteuid():
        pytest.skip("only root can give files away")
    subprocess.run(["chown", "-R", "12345", facts.checkout], check=True)
    found = facts(SUDO_UID="")
    assert (found["dirty"], found["unchecked"]) == (False, None)


def test_a_working_tree_that_git_refuses_is_told(facts, tmp_path):
    (facts.checkout / ".git").mkdir()
    found = facts()
    assert found["dirty"] is None
    assert found["unchecked"].startswith("git: ")
    assert found["unchecked"].isprintable()
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "FileNotFoundError" in facts(PATH=str(empty))["unchecked"]


def test_a_git_that_hangs_is_told(facts, tmp_path, monkeypatch):
    (tmp_path / "git").write_text("#!/bin/sh\nexec sleep 60\n")
    (tmp_path / "git").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(source_facts, "_TIMEOUT_S", 0.2)
    package = facts.checkout / "modeltest" / "__init__.py"
    (facts.checkout / ".git").mkdir()
    monkeypatch.setattr(modeltest, "__file__", str(package))
    assert source_facts.tool_facts()["unchecked"] == "git: TimeoutExpired"


def test_the_digest_of_the_source_sees_content_and_names(monkeypatch, tmp_path):
    import modeltest
    from modeltest.runlog.source_facts import source_sha256

    package = tmp_path / "modeltest"
    (package / "part").mkdir(parents=True)
    for name in ("__init__.py", "part/a.py"):
        (package / name).write_text(f"# {name}\n")
    monkeypatch.setattr(modeltest, "__file__", str(package / "__init__.py"))
    first = source_sha256()
    (package / "data.txt").write_text("no source")
    assert source_sha256() == first
    (package / "part/a.py").write_text("x = 1\n")
    second = source_sha256()
    (package / "part/a.py").rename(package / "part/b.py")
    assert len({first, second, source_sha256()}) == 3
