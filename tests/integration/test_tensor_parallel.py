"""A model on two ranks against transformers' own forward on one."""

import json
import os
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from copy import deepcopy
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torch.distributed as dist
from transformers import Qwen2Config, Qwen2ForCausalLM

from modeltest.backends.transformers import tensor_parallel
from modeltest.backends.transformers.backend import TransformersBackend, TransformersSettings
from modeltest.devices.cpu import CpuDevice
from modeltest.errors import DeviceError, ModelError

NUM_CLIPS = 4
NUM_GROUPS = 3
RANK = Path(__file__).with_name("tensor_parallel_rank.py")


@pytest.fixture(scope="module")
def two_ranks(tiny_model, project, mini_clips):
    """What rank 0 saw, by engine."""
    with ExitStack() as held:
        free = [held.enter_context(socket.socket()) for _ in range(NUM_GROUPS)]
        for each in free:
            each.bind(("127.0.0.1", 0))
        ports = ",".join(str(each.getsockname()[1]) for each in free)
    told = {
        "PYTHONPATH": str(project), "OMP_NUM_THREADS": "1", "WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
    }  # fmt: skip
    ranks = [
        subprocess.Popen(
            [sys.executable, str(RANK), str(rank), ports, str(tiny_model), *map(str, clips)],
            stdout=subprocess.PIPE,
            env={**os.environ, **told, "RANK": str(rank), "LOCAL_RANK": str(rank)},
        )
        for rank, clips in enumerate((mini_clips[:NUM_CLIPS], ()))
    ]
    try:
        out, _ = ranks[0].communicate(timeout=120)
        assert [rank.wait(20) for rank in ranks] == [0, 0]
    finally:
        for rank in ranks:
            rank.kill()
            rank.wait()
    return json.loads(out)


@pytest.mark.parametrize("engine", ["fast", "stock"])
def test_two_ranks_have_the_whole_models_logits(two_ranks, plain_logits, ask, mini_clips, engine):
    logits = torch.tensor(two_ranks[engine]["logits"])
    expected = plain_logits(ask(mini_clips[:NUM_CLIPS]))
    assert (logits - expected).abs().max() <= 1e-4


@pytest.mark.parametrize("engine", ["fast", "stock"])
def test_the_replies_are_one_ranks_and_rank_0_decides(
    two_ranks, golden_replies, mini_clips, engine
):
    names = [clip.stem for clip in mini_clips[:NUM_CLIPS]]
    expected = {name: golden_replies["raw"][name] for name in names}
    assert two_ranks[engine]["texts"] == expected
    assert two_ranks[engine]["told"] == expected  # as it came


def test_each_rank_holds_half_of_the_heads(two_ranks, backend):
    """4 heads of 48 and as many for keys and values, 192 wide."""
    shapes = {"q_proj": [96, 192], "k_proj": [96, 192], "o_proj": [192, 96]}
    assert two_ranks["fast"]["shapes"] == shapes
    facts = two_ranks["fast"]["facts"]
    assert (facts["tp"], facts["engine"]) == (2, "fast")
    assert facts["num_parameters"] == backend.facts()["num_parameters"]


def test_heads_that_cannot_be_dealt_evenly_are_refused(tiny_model):
    tensor_parallel.refuse_uneven(tiny_model, 4)
    with pytest.raises(ModelError, match=r"4 attention heads .* cannot be dealt evenly to --tp 8"):
        tensor_parallel.refuse_uneven(tiny_model, 8)


@pytest.mark.parametrize(
    ("failure", "kind", "message"),
    [
        (MemoryError(), DeviceError, r"rank 1 \(cpu\): out of memory; .* smaller --bs"),
        (
            RuntimeError("[/gloo/transport/tcp/pair.cc:5] Read error: reset. Check the logs."),
            tensor_parallel.RankLostError,
            r"does not answer \(Read error: reset\)$",
        ),
        (torch.distributed.DistBackendError("NCCL"), tensor_parallel.RankLostError, "another rank"),
        (TypeError("odd"), DeviceError, r"rank 1 \(cpu\): TypeError: odd"),
        (ModelError("as it is"), ModelError, "^as it is$"),
    ],
)
def test_no_failure_in_a_rank_is_a_samples(failure, kind, message):
    """The others wait in the middle of a batch, which therefore cannot be halved."""
    ranks = object.__new__(tensor_parallel.Ranks)
    ranks.rank, ranks.size, ranks._device = 1, 2, CpuDevice()
    with pytest.raises(kind, match=message), ranks.failing_together():
        raise failure


@pytest.mark.parametrize(
    ("rank", "kind", "message"),
    [
        ("0", DeviceError, "^the 2 ranks do not find each other: .* MASTER_ADDR"),
        ("1", tensor_parallel.RankLostError, "^another rank .* MASTER_ADDR"),
    ],
)
def test_ranks_that_do_not_meet(monkeypatch, rank, kind, message):
    monkeypatch.setenv("RANK", rank)
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    with pytest.raises(DeviceError, match=message) as caught:
        tensor_parallel.share_kind(2, "cpu")
    assert type(caught.value) is kind


class GroupOfThreads:
    """Eight ranks as threads of this process, which add their tensors up."""

    def __init__(self, size):
        self._parts = [None] * size
        self._all_here = threading.Barrier(size, timeout=60)
        self.own = threading.local()

    def all_reduce(self, tensor):
        self._parts[self.own.rank] = tensor.clone()
        self._all_here.wait()
        tensor.copy_(torch.stack(self._parts).sum(0))
        self._all_here.wait()  # before the next one is put in


@pytest.mark.parametrize("kv_heads", [8, 16])
def test_eight_ranks_have_the_whole_models_logits(monkeypatch, kv_heads):
    """The embedded model has 4 heads; this one's 16 are dealt two a rank."""
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=50, hidden_size=64, intermediate_size=96, num_hidden_layers=2,
        num_attention_heads=16, num_key_value_heads=kv_heads, attn_implementation="eager",
    )  # fmt: skip
    model = Qwen2ForCausalLM(config).eval()
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):  # is zero at first
            torch.nn.init.normal_(parameter)
    tokens = torch.randint(0, 50, (2, 7))
    group = GroupOfThreads(8)
    monkeypatch.setattr(dist, "all_reduce", group.all_reduce)

    def rank(number):
        group.own.rank = number
        part = deepcopy(model)
        tensor_parallel.split(part, SimpleNamespace(rank=number, size=8))
        attention = part.model.layers[0].self_attn
        shapes = attention.q_proj.weight.shape, attention.k_proj.weight.shape
        assert shapes == ((8, 64), (kv_heads // 2, 64))  # heads of 4
        with torch.inference_mode():
            return part(tokens, use_cache=False).logits

    with torch.inference_mode():
        expected = model(tokens, use_cache=False).logits
    with ThreadPoolExecutor(8) as threads:
        for logits in threads.map(rank, range(8)):
            assert (logits - expected).abs().max() <= 1e-5


@pytest.fixture
def store(monkeypatch):
    """One place where ranks of several commands meet."""
    store = dist.HashStore()
    store.set_timeout(timedelta(milliseconds=100))
    monkeypatch.setattr(tensor_parallel, "_meeting_place", lambda: store)


@pytest.mark.parametrize("variable", [tensor_parallel.GROUP_VARIABLE, "TORCHELASTIC_RUN_ID"])
def test_a_rank_of_another_command_gets_no_answer(store, monkeypatch, variable):
    monkeypatch.delenv(tensor_parallel.GROUP_VARIABLE, raising=False)
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv(variable, "one")
    assert tensor_parallel.share_kind(2, "cpu") == "cpu"
    monkeypatch.setenv(variable, "other")
    with pytest.raises(tensor_parallel.RankLostError, match="does not answer"):
        tensor_parallel.share_kind(2)
    monkeypatch.setenv(variable, "one")
    assert tensor_parallel.share_kind(2) == "cpu"


def test_a_port_that_was_taken_in_the_meantime_is_named(monkeypatch):
    with socket.socket() as taken:
        taken.bind(("", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        told = {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        for name, value in told.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(DeviceError, match=f"^port {port}, .*; set MASTER_PORT to a free one$"):
            tensor_parallel.share_kind(2, "cpu")


class Alone(tensor_parallel.Ranks):
    """A rank whose group is gone."""

    def __init__(self, device, size, rank=0):
        self.rank, self.size, self._device = rank, size, device

    def _send_header(self, header):
        raise RuntimeError("[/gloo/transport/tcp/pair.cc:5] Connection closed by peer [::1]:5")


def test_a_rank_that_is_lost_before_the_first_batch_is_the_runs_failure(tiny_model, monkeypatch):
    monkeypatch.setattr(tensor_parallel, "Ranks", Alone)
    backend = TransformersBackend(
        TransformersSettings(tiny_model, "fp32", "sdpa", tp=2), CpuDevice()
    )
    with pytest.raises(tensor_parallel.RankLostError, match="Connection closed by peer") as caught:
        backend.load()
    assert caught.value.exit_code == 5


@pytest.mark.parametrize("rank", [0, 1])
def test_the_librarys_trouble_in_ending_the_group_costs_nothing(monkeypatch, rank):
    ended = []

    def crash():
        ended.append(rank)
        raise SystemError("the driver is in a hurry")

    monkeypatch.setattr(dist, "destroy_process_group", crash)
    Alone(CpuDevice(), 2, rank).leave()
    assert ended == [rank]
