"""Which part of a `--tp` command a process is, and what keeps the ranks from being started."""

import socket
from argparse import Namespace
from types import SimpleNamespace

import pytest

from modeltest.backends.factory import make_backend
from modeltest.cli import tensor_parallel
from modeltest.devices.cpu import CpuDevice
from modeltest.devices.factory import Choice
from modeltest.errors import DeviceError, ModelError, UsageError
from modeltest.settings.load import load_model


@pytest.fixture(autouse=True)
def _no_ranks(monkeypatch):
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)


def options(tp, dry_run=False, dp=None, ray=None):
    return Namespace(tp=tp, dp=dp, ray=ray, dry_run=dry_run)


def test_one_process_does_it_all_unless_it_shall_not(monkeypatch):
    assert tensor_parallel.other_role(options(1)) is None
    assert tensor_parallel.other_role(options(8, dry_run=True)) is None
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert tensor_parallel.other_role(options(4)) is None
    with pytest.raises(UsageError, match="--tp 2, but RANK=0 and WORLD_SIZE=4"):
        tensor_parallel.other_role(options(2))


def test_a_taken_port_is_named(monkeypatch):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        monkeypatch.setenv("MASTER_PORT", port)
        with pytest.raises(UsageError, match=f"port {port}.*set MASTER_PORT to a free one"):
            tensor_parallel.other_role(options(2))


@pytest.mark.parametrize("text", ["x", "0", "65536", "-1", "²"])
def test_what_is_no_port_is_refused(monkeypatch, text):
    monkeypatch.setenv("MASTER_PORT", text)
    with pytest.raises(UsageError, match="not a port"):
        tensor_parallel.other_role(options(2))


def named(name):
    return SimpleNamespace(label="NPU", is_host=False, facts=lambda: {"name": name})


def test_each_rank_needs_a_device():
    two, npu = Choice("npu", "asked for", num_devices=2), named("Ascend910B4")
    tensor_parallel.refuse_too_many_ranks(2, two, npu)
    with pytest.raises(DeviceError, match="--tp 4: needs as many devices, and 2 NPU can be used"):
        tensor_parallel.refuse_too_many_ranks(4, two, npu)
    tensor_parallel.refuse_too_many_ranks(8, Choice("cpu", ""), SimpleNamespace(is_host=True))


def test_a_300i_duo_computes_alone():
    two = Choice("npu", "asked for", num_devices=2)
    tensor_parallel.refuse_too_many_ranks(1, two, named("Ascend310P3"))
    with pytest.raises(UsageError, match="300I DUO"):
        tensor_parallel.refuse_too_many_ranks(2, two, named("Ascend310P3"))


def test_the_null_backend_has_nothing_to_split():
    settings = load_model("null").settings
    with pytest.raises(ModelError, match="no model to split"):
        make_backend(settings, 0, CpuDevice(), 2)


@pytest.mark.parametrize("several", [{"dp": 2}, {"ray": "auto"}])
def test_one_model_is_split_or_several_are_run(several):
    with pytest.raises(UsageError, match="leave one of them out"):
        tensor_parallel.other_role(options(2, **several))


def test_a_rank_takes_the_device_of_its_number(monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert tensor_parallel.device_index() == 0  # of something else's, here is no rank
    monkeypatch.setenv("RANK", "3")
    assert tensor_parallel.device_index() == 3
    monkeypatch.setenv("LOCAL_RANK", "")
    with pytest.raises(UsageError, match="LOCAL_RANK=: not a number"):
        tensor_parallel.device_index()
