import hashlib
import json
import os
import re
import resource
import stat
from datetime import datetime

import pytest

from modeltest.errors import DataError
from modeltest.runlog.atomic import write_atomically
from modeltest.runlog.digests import digest
from modeltest.runlog.manifest import (
    environment_facts,
    read_manifest,
    write_manifest,
)

MANIFEST = {"schema_version": 1, "task": {"name": "t"}, "text": "é\u2028\ud800", "nothing": None}
CANARY = "canary-7f3a"


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_what_was_written_is_read(tmp_path):
    folder = tmp_path / "runs" / "1"
    write_manifest(folder, MANIFEST)
    assert read_manifest(folder) == MANIFEST


def test_only_its_owner_can_read_it_and_nothing_else_is_left(tmp_path):
    write_manifest(tmp_path, MANIFEST)
    write_manifest(tmp_path, {**MANIFEST, "text": "second"})
    assert names(tmp_path) == ["manifest.json"]
    assert stat.S_IMODE((tmp_path / "manifest.json").stat().st_mode) == 0o600
    assert read_manifest(tmp_path)["text"] == "second"


def test_it_is_ascii_json_with_a_final_newline(tmp_path):
    write_manifest(tmp_path, MANIFEST)
    content = (tmp_path / "manifest.json").read_bytes()
    assert content.isascii()
    assert content.endswith(b"}\n")
    assert MANIFEST.items() <= json.loads(content).items()


def test_one_that_was_edited_is_refused(tmp_path):
    write_manifest(tmp_path, MANIFEST)
    path = tmp_path / "manifest.json"
    edited = {**json.loads(path.read_text()), "more": 1}
    path.write_text(json.dumps(edited))
    with pytest.raises(DataError, match="was edited"):
        read_manifest(tmp_path)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), object()])
def test_a_value_that_is_no_json_leaves_the_old_file(tmp_path, value):
    write_manifest(tmp_path, MANIFEST)
    with pytest.raises((ValueError, TypeError)):
        write_manifest(tmp_path, {"schema_version": 1, "value": value})
    assert names(tmp_path) == ["manifest.json"]
    assert read_manifest(tmp_path) == MANIFEST


def test_a_disk_that_refuses_leaves_the_old_file(tmp_path):
    path = tmp_path / "report.html"
    write_atomically(path, b"old")
    limit, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(OSError, match="too large"):
            write_atomically(path, b"new" * 100_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    assert names(tmp_path) == ["report.html"]
    assert path.read_bytes() == b"old"


def test_a_rename_that_fails_leaves_no_temporary_file(tmp_path):
    (tmp_path / "taken").mkdir()
    with pytest.raises(OSError, match="taken"):
        write_atomically(tmp_path / "taken", b"new")
    assert names(tmp_path) == ["taken"]


def test_reports_are_readable_by_all_whatever_the_umask(tmp_path):
    before = os.umask(0o077)
    try:
        write_atomically(tmp_path / "a.csv", b"a")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a.csv").stat().st_mode) == 0o644


@pytest.mark.parametrize("version", [0, 4, "1", True, 1.0, None])
def test_another_schema_is_refused_with_both_versions(tmp_path, version):
    write_manifest(tmp_path, {"schema_version": version})
    with pytest.raises(DataError, match=f"version {version}, this modeltest reads versions 1 to 3"):
        read_manifest(tmp_path)


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b'{"schema_version": 1'])
def test_a_broken_manifest_is_refused_with_its_path(tmp_path, content):
    (tmp_path / "manifest.json").write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_manifest(tmp_path)
    assert str(caught.value).startswith(str(tmp_path / "manifest.json"))
    assert caught.value.exit_code == 2


def test_no_manifest_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"is .* a run"):
        read_manifest(tmp_path)


def test_a_digest_is_the_sha256_of_sorted_compact_ascii_json():
    by_hand = b'{"a":[1,2.5,null,true],"b":"\\u00e9"}'
    value = {"b": "é", "a": (1, 2.5, None, True)}
    assert digest(value) == hashlib.sha256(by_hand).hexdigest()


def test_a_digest_keeps_lists_in_order_and_types_apart():
    assert len({digest(value) for value in ([1, 2], [2, 1], ["1", 2], "[1,2]")}) == 4


SECRET_OR_PRIVATE = (
    "CUDA_API_KEY", "ASCEND_TOKEN", "MODELTEST_SECRET", "ATB_PASSWORD", "NPU_CREDENTIALS",
    "MODELTEST_HF_TOKEN_FILE", "OMP_SECRETS", "HF_TOKEN", "OPENAI_API_KEY", "http_proxy", "HOME",
)  # fmt: skip
STEERING = (
    "ASCEND_RT_VISIBLE_DEVICES", "CUDA_VISIBLE_DEVICES", "PYTORCH_NPU_ALLOC_CONF",
    "OMP_NUM_THREADS", "TASK_QUEUE_ENABLE", "TP_WORLD_SIZE", "MASTER_PORT",
)  # fmt: skip


def test_secrets_and_private_variables_are_never_recorded(monkeypatch):
    for name in SECRET_OR_PRIVATE:
        monkeypatch.setenv(name, f"{CANARY}-{name}")
    assert re.findall(f"{CANARY}-[A-Za-z_]+", json.dumps(environment_facts(datetime.now()))) == []


def test_what_steers_a_device_is_recorded(monkeypatch):
    for name in STEERING:
        monkeypatch.setenv(name, f"{name} 3,5")
    recorded = environment_facts(datetime.now())["environment"]
    assert {name: recorded.get(name) for name in STEERING} == {n: f"{n} 3,5" for n in STEERING}


def test_the_facts_are_json_with_versions_and_a_time_zone():
    facts = json.loads(json.dumps(environment_facts(datetime(2025, 3, 9, 7, 5, 3))))
    assert facts["started"].startswith("2025-03-09T07:05:03")
    assert datetime.fromisoformat(facts["started"]).utcoffset() is not None
    assert facts["packages"]["transformers"]
    assert facts["tool"]["version"]
    assert facts["host"]["cores"] == os.cpu_count()
