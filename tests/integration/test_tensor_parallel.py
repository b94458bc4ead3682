"""A model on two ranks against transformers' own forward on one."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from modeltest.backends.transformers import tensor_parallel
from modeltest.devices.cpu import CpuDevice
from modeltest.errors import DeviceError, ModelError

NUM_CLIPS = 4
RANK = Path(__file__).with_name("tensor_parallel_rank.py")


@pytest.fixture(scope="module")
def two_ranks(tiny_model, project, mini_clips):
    """What rank 0 saw, by engine."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    told = {
        "PYTHONPATH": str(project), "OMP_NUM_THREADS": "1", "WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
    }  # fmt: skip
    ranks = [
        subprocess.Popen(
            [sys.executable, str(RANK), str(rank), str(tiny_model), *map(str, clips)],
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
