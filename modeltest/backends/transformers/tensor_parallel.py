"""One model on several devices: every rank computes a part of each layer of the language model.

The products whose outputs are independent (query, key, value, gate, up) are split by output,
those behind them (output, down) by input; their partial results are summed over the ranks, two
sums per layer (Shoeybi et al. 2019, arXiv:1909.08053, section 3). Which product is split how is
transformers' own plan, `base_model_tp_plan`. Audio encoder, embeddings and head are whole on
every rank. Weights stay plain tensors: as DTensors each product would cost its dispatch, and
transformers' own loading to several devices knows no `hccl`, needs accelerate and picks the
device itself.

Rank 0 asks: it sends each batch's inputs to the others, which run the same engine. Its tokens
are everybody's, so that no rank ends a batch earlier than another for a rounding difference.
"""

from __future__ import annotations

import errno
import json
import os
import re
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

from modeltest.backends.transformers.fast import only
from modeltest.backends.transformers.loading import load_config
from modeltest.errors import DeviceError, ModelError, ModeltestError, one_line
from modeltest.protocols import Device
from modeltest.records import Generation

GROUP_VARIABLE = "MODELTEST_RANK_GROUP"
"""Names the group of ranks that one command started; no two have the same."""

LOOPBACK = "127.0.0.1"
"""Where ranks that one host holds meet; nobody else reaches it."""

LOST = "another rank of the tensor-parallel group ended or does not answer"

# Older releases have no plan; Qwen2's, as in those that have it.
_PLAN = {
    **{f"layers.*.self_attn.{name}_proj": "colwise" for name in "qkv"},
    **{f"layers.*.mlp.{name}_proj": "colwise" for name in ("gate", "up")},
    "layers.*.self_attn.o_proj": "rowwise",
    "layers.*.mlp.down_proj": "rowwise",
}
# Ranks may load at different speeds, and wait for each batch while rank 0 makes it.
_TIMEOUT = timedelta(minutes=30)
_NAMES = ("num_heads", "num_key_value_heads", "hidden_size")
_LOAD = {"load": True}
_NO_MEETING = (OSError, OverflowError, RuntimeError, ValueError)
_GROUP_PREFIX = "default_pg"  # as torch calls it


class RankLostError(DeviceError):
    """This rank is well, but the group is not whole any more."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A batch as rank 0 sends it.

    Attributes:
        generation: How replies are generated.
        tensors: The engine's inputs by name, on the host.
    """

    generation: Generation
    tensors: Mapping[str, Any]


class Ranks:
    """The group, of which this process is one rank.

    Attributes:
        rank: Its number; 0 asks.
        size: How many there are.
    """

    def __init__(self, device: Device, size: int) -> None:
        """Waits until all are there; `RANK` and `MASTER_ADDR` are torchrun's variables.

        Raises:
            DeviceError: They do not come together.
            RankLostError: The same, for the ranks above 0.
        """
        import torch.distributed as dist

        # Batches come from the host, partial results from the device.
        own = dist.Backend.default_device_backend_map.get(device.kind)
        if own is None:
            raise DeviceError(f"torch has no collectives for {device.kind}; leave out --tp")
        backends = own if device.is_host else f"cpu:gloo,{device.kind}:{own}"
        try:
            store = dist.PrefixStore(_GROUP_PREFIX, _meeting_place())
            rank = int(os.environ["RANK"])
            dist.init_process_group(
                backends, store=store, rank=rank, world_size=size, timeout=_TIMEOUT
            )
        except _NO_MEETING as error:
            raise _apart(size, error) from error
        self.rank, self.size = dist.get_rank(), size
        self._device = device

    def let_load(self) -> None:
        """Rank 0: there is something to do."""
        self._send_header(_LOAD)

    def shall_load(self) -> bool:
        """The others: waits until rank 0 knows whether there is anything to do.

        Raises:
            RankLostError: Rank 0 is gone.
        """
        with self.failing_together():
            header = self._receive_header()
        return header == _LOAD

    def ask(self, generation: Generation, tensors: Mapping[str, Any]) -> None:
        """Rank 0: sends a batch to the others."""
        described = [(name, _dtype_name(t), list(t.shape)) for name, t in tensors.items()]
        self._send_header({"generation": asdict(generation), "tensors": described})
        for tensor in tensors.values():
            _broadcast(_bytes_of(tensor))

    def next_asked(self) -> Asked | None:
        """The others: waits for a batch; None when there are no more.

        Raises:
            RankLostError: Rank 0 is gone.
        """
        import torch

        with self.failing_together():
            header = self._receive_header()
            if not header:
                return None
            tensors = {}
            for name, dtype, shape in header["tensors"]:
                tensors[name] = torch.empty(shape, dtype=getattr(torch, dtype))
                _broadcast(_bytes_of(tensors[name]))
        asked = header["generation"]
        return Asked(Generation(**{**asked, "options": tuple(asked["options"])}), tensors)

    def agree(self, tensor: Any) -> Any:
        """Rank 0's values of a tensor on the device, on every rank; fills it in place."""
        _broadcast(tensor)
        return tensor

    def leave(self) -> None:
        """Ends the group in order; rank 0's word lets the others do the same."""
        import torch.distributed as dist

        with suppress(RuntimeError):  # one that ended before needs not be told
            if self.rank == 0:
                self._send_header({})
        with suppress(Exception):  # all is answered: a library's trouble in ending costs nothing
            dist.destroy_process_group()

    @contextmanager
    def failing_together(self) -> Iterator[None]:
        """Makes whatever fails in here the run's failure; drains the device.

        Raises:
            RankLostError: It is another rank that failed.
            DeviceError: What failed here, for the user.
        """
        try:
            yield
            self._device.synchronize()
        except ModeltestError:
            raise
        except Exception as error:  # no sample's failure: the others wait where this one stopped
            raise self._of_the_run(error) from error

    def _of_the_run(self, error: Exception) -> DeviceError:
        import torch.distributed as dist

        detail = one_line(" ".join(str(error).split()))[:300]
        no_memory = self._device.is_out_of_memory(error)
        if not no_memory and (isinstance(error, dist.DistError) or "gloo" in detail):
            said = re.sub(r"^\[[^\]]*\] *", "", detail).split(". ")[0]  # without its source file
            return RankLostError(f"{LOST} ({said})")
        where = f"rank {self.rank} ({self._device.torch_name})"
        if no_memory:
            return DeviceError(
                f"{where}: out of memory; tensor-parallel ranks cannot halve a batch, start a "
                "run with a smaller --bs or more ranks"
            )
        return DeviceError(f"{where}: {type(error).__name__}: {detail}")

    def _send_header(self, header: Mapping[str, Any]) -> None:
        import torch

        text = json.dumps(header).encode()
        _broadcast(torch.tensor([len(text)]))
        _broadcast(torch.frombuffer(bytearray(text), dtype=torch.uint8))

    def _receive_header(self) -> dict[str, Any]:
        import torch

        length = torch.empty(1, dtype=torch.int64)
        _broadcast(length)
        text = torch.empty(int(length), dtype=torch.uint8)
        _broadcast(text)
        header: dict[str, Any] = json.loads(bytes(text.tolist()))
        return header


def share_kind(size: int, kind: str | None = None) -> str:
    """Rank 0's kind of device, on every rank; the group, which depends on it, comes later.

    Args:
        size: How many ranks there are.
        kind: Rank 0's; the others leave it out and wait for it.

    Raises:
        DeviceError: The ranks do not come together.
        RankLostError: The same, for the ranks above 0.
    """
    try:
        store = _meeting_place()
        key = _key_of_kind()
        if kind is not None:
            store.set(key, kind)
        return str(store.get(key).decode())
    except _NO_MEETING as error:
        raise _apart(size, error) from error


def _key_of_kind() -> str:
    """Of this group alone: ranks of two commands that began together may meet at one port.

    Those whose rank 0 did not get the port find no key, and end when their command does.
    """
    group = os.environ.get(GROUP_VARIABLE) or os.environ.get("TORCHELASTIC_RUN_ID", "")
    return f"modeltest/{group}/device_kind"


def _meeting_place() -> Any:
    """The store by which ranks tell each other things, and by which the group forms."""
    return _store(os.environ.get("MASTER_ADDR", ""), os.environ.get("MASTER_PORT", ""))


@cache
def _store(address: str, port: str) -> Any:
    """Kept, since rank 0 may be its server.

    torch's own way to one lets the server listen on all addresses, whatever `MASTER_ADDR` is, and
    it asks nobody for a password. torchrun's agent has started its own by now.
    """
    import torch.distributed as dist

    rank, size = os.environ.get("RANK"), os.environ.get("WORLD_SIZE")
    by_agent = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == str(True)
    if by_agent or address != LOOPBACK or not (port and rank and size):
        store, _, _ = next(dist.rendezvous("env://", timeout=_TIMEOUT))
        return store
    place = _listen_on_loopback(int(port)) if int(rank) == 0 else None
    return dist.TCPStore(
        address,
        int(port),
        int(size),
        is_master=place is not None,
        timeout=_TIMEOUT,
        master_listen_fd=place,
        # The other kind of server takes no socket before torch 2.8 (pytorch pull request 150215).
        use_libuv=False,
    )


def _listen_on_loopback(port: int) -> int:
    """The descriptor of a socket that only this host reaches; torch's server closes it.

    Raises:
        OSError: The port is taken.
    """
    with socket.socket() as place:
        place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        place.bind((LOOPBACK, port))
        place.listen()  # now: until then another socket may be bound to the same port
        return place.detach()


def _apart(size: int, error: Exception) -> DeviceError:
    detail = one_line(" ".join(str(error).split()))[:300]
    if os.environ.get("RANK") != "0":  # rank 0's failure may be all there is to say
        return RankLostError(f"{LOST} ({detail})")
    taken = isinstance(error, OSError) and error.errno == errno.EADDRINUSE
    if taken or "EADDRINUSE" in str(error):  # it was free when the ranks were started
        return DeviceError(
            f"port {os.environ.get('MASTER_PORT')}, by which the {size} ranks of --tp find each "
            "other, was taken by another program; set MASTER_PORT to a free one"
        )
    return DeviceError(f"the {size} ranks do not find each other: {detail}")


def refuse_uneven(path: Path, size: int) -> None:
    """Makes sure that a checkpoint's attention heads can be dealt evenly; loads no weights.

    Raises:
        ModelError: They cannot.
    """
    text = load_config(path).text_config
    heads = text.num_attention_heads, text.num_key_value_heads
    if any(number % size for number in heads):
        raise ModelError(
            f"{path}: {heads[0]} attention heads with {heads[1]} for keys and values cannot be "
            f"dealt evenly to --tp {size} ranks; take a smaller --tp"
        )


def split(model: Any, ranks: Ranks) -> None:
    """Leaves of a loaded model on the host what this rank computes.

    Raises:
        ModelError: The plan of this release of transformers is not understood.
    """
    body = only(model, "Qwen2Model")
    plan = getattr(body.config, "base_model_tp_plan", None) or _PLAN
    styles = {name: plan.get(re.sub(r"\d+", "*", name)) for name, _ in body.named_modules()}
    num_split = 0
    for name, module in body.named_modules():
        style = styles[name]
        if style == "colwise":
            _keep_outputs(module, ranks)
        elif style == "rowwise":
            _keep_inputs(module, ranks)
        elif style is not None:
            raise ModelError(f"--tp: transformers' plan for {name} is {style}, which is not known")
        num_split += style is not None
    if num_split != len(_PLAN) * len(body.layers):
        raise ModelError("--tp: transformers' plan leaves out layers of the language model")
    for layer in body.layers:  # releases before 4.48 shape their tensors by these
        for name in _NAMES:
            if hasattr(layer.self_attn, name):
                setattr(layer.self_attn, name, getattr(layer.self_attn, name) // ranks.size)


def _keep_outputs(linear: Any, ranks: Ranks) -> None:
    _keep_part(linear, "weight", 0, ranks)
    if linear.bias is not None:
        _keep_part(linear, "bias", 0, ranks)
    linear.out_features //= ranks.size


def _keep_inputs(linear: Any, ranks: Ranks) -> None:
    import torch.distributed as dist

    def sum_over_ranks(_module: Any, _inputs: Any, output: Any) -> Any:
        dist.all_reduce(output)
        return output

    _keep_part(linear, "weight", 1, ranks)
    if ranks.rank != 0:
        linear.bias = None  # it is part of the sum once
    linear.in_features //= ranks.size
    linear.register_forward_hook(sum_over_ranks)


def _keep_part(linear: Any, name: str, dimension: int, ranks: Ranks) -> None:
    import torch

    whole = getattr(linear, name).detach()
    if whole.shape[dimension] % ranks.size:
        raise ModelError(
            f"--tp {ranks.size}: a {name} of {whole.shape[dimension]} rows or columns cannot be "
            "split evenly; take a smaller --tp"
        )
    part = whole.chunk(ranks.size, dimension)[ranks.rank]
    # Its own memory: a view would keep the whole alive.
    copied = part.clone(memory_format=torch.contiguous_format)
    setattr(linear, name, torch.nn.Parameter(copied, requires_grad=False))


def _broadcast(tensor: Any) -> None:
    import torch.distributed as dist

    dist.broadcast(tensor, src=0)


def _bytes_of(tensor: Any) -> Any:
    """A tensor's memory; not every collective knows every type."""
    import torch

    return tensor.contiguous().view(-1).view(torch.uint8)


def _dtype_name(tensor: Any) -> str:
    return str(tensor.dtype).removeprefix("torch.")
