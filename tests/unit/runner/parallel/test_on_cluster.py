"""What is decided before a cluster is spoken to."""

import hashlib
import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest

from modeltest.backends.null import NullBackend
from modeltest.cli.main import main
from modeltest.devices.cpu import CpuDevice
from modeltest.devices.factory import Choice
from modeltest.errors import DeviceError, UsageError
from modeltest.runlog.segment import read_segment
from modeltest.runner.parallel import on_cluster, ray_crew
from modeltest.runner.parallel.evaluation import ParallelEvaluation
from modeltest.runner.parallel.worker import Job
from modeltest.settings.schema import ModelSettings


def test_variables_of_the_caller_go_along_and_those_of_a_node_do_not(monkeypatch):
    for name in ("INF_NAN_MODE_ENABLE", "TASK_QUEUE_ENABLE", "ATB_OPERATION_EXECUTE_ASYNC"):
        monkeypatch.setenv(name, "1")
    for name in ("ASCEND_RT_VISIBLE_DEVICES", "CUDA_VISIBLE_DEVICES", "RANK", "MASTER_PORT"):
        monkeypatch.setenv(name, "7")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_TOKEN", "secret")
    found = on_cluster.variables_for_nodes(computes_on_host=False)
    assert {"INF_NAN_MODE_ENABLE", "TASK_QUEUE_ENABLE", "ATB_OPERATION_EXECUTE_ASYNC"} <= set(found)
    assert found["HF_HUB_OFFLINE"] == "1"
    assert "7" not in found.values()
    assert "secret" not in found.values()


def test_a_worker_on_a_cpu_has_one_core_unless_the_caller_says_otherwise(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert on_cluster.variables_for_nodes(computes_on_host=True)["OMP_NUM_THREADS"] == "1"
    assert "OMP_NUM_THREADS" not in on_cluster.variables_for_nodes(computes_on_host=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    assert on_cluster.variables_for_nodes(computes_on_host=True)["OMP_NUM_THREADS"] == "4"


def test_the_job_of_a_node_names_one_device_and_no_relative_path(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    model = ModelSettings(model_path="weights").model_dump_json()
    job = Job("t", "{}", model, Choice("npu", "asked for", 8), seed=3)
    found = on_cluster.job_for_nodes(job, "digest")
    assert ModelSettings.model_validate_json(found.model).model_path == tmp_path / "weights"
    assert found.device == Choice("npu", "asked for", 1)
    assert replace(found, model=model, device=job.device, backend_sha256="") == job


def test_workers_and_driver_name_the_runs_manifest(tmp_path):
    (tmp_path / "manifest.json").write_bytes(b"the manifest")
    head = {"type": "head", "manifest_sha256": hashlib.sha256(b"the manifest").hexdigest()}
    evaluation = ParallelEvaluation(
        work=SimpleNamespace(samples=[SimpleNamespace(audio=())]),
        job=Job("t", "{}", ModelSettings(backend="null").model_dump_json(), Choice("cpu", ""), 0),
        clips=[], device=CpuDevice(), log=None, progress=None, size=1, run_folder=tmp_path,
    )  # fmt: skip

    class Asked:
        def crew(self, size, resource, post, greeting, open_segment):
            [(header, _)] = greeting()
            assert header["manifest_sha256"] == head["manifest_sha256"]
            with open_segment(0):
                raise DeviceError("seen")

    with pytest.raises(DeviceError, match="seen"):
        on_cluster.evaluate_on_cluster(evaluation, Asked(), NullBackend(CpuDevice()))
    [path] = (tmp_path / "log").iterdir()
    assert read_segment(path).records == (head,)


@pytest.mark.parametrize(
    ("resource", "asked"),
    [
        ("CPU", {"num_cpus": 1}),
        ("GPU", {"num_cpus": 0, "num_gpus": 1}),
        ("NPU", {"num_cpus": 0, "resources": {"NPU": 1}}),
    ],
)
def test_a_worker_asks_for_one_device(resource, asked):
    assert ray_crew._demand(resource) == asked


@pytest.mark.parametrize("address", ["ray://head:10001", "head", ":6379", "head:six", "a/b:1"])
def test_no_address_of_a_head_is_said_before_ray_is_asked(address):
    with pytest.raises(UsageError, match=r"not HOST:PORT of a Ray cluster's head"):
        ray_crew.Cluster(address)


def test_the_working_directory_is_not_searched_for_modules(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert str(tmp_path) in ray_crew.not_searched()


def test_without_ray_one_line_says_how_to_install_it(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setitem(sys.modules, "ray", None)
    command = ["eval", "vocalsound_mini", "qwen2_audio_tiny", "--limit", "2", "--device", "cpu"]
    assert main([*command, "--ray"]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert "Ray is not installed here" in line
    assert "pip install 'modeltest[distributed]'" in line
    assert list(tmp_path.iterdir()) == []
