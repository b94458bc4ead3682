"""One side of a parity check: loaded, asked, and gone before the next one comes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from modeltest.errors import DeviceError, ModeltestError, UsageError
from modeltest.metrics.parity.traces import SampleTrace, StageValues, Trace
from modeltest.protocols import Backend, Device, Progress, Service
from modeltest.records import Request, Response
from modeltest.runlog.digests import digest
from modeltest.runner.parity.probe_set import ProbeSet
from modeltest.runner.recovery import generate_surviving, load

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from modeltest.backends.transformers.backend import TransformersBackend
    from modeltest.backends.transformers.probes import Probed

    Given = Mapping[str, Mapping[str, NDArray[np.float32]]]


@dataclass(frozen=True, slots=True)
class Side:
    """What computes.

    Attributes:
        name: `A` or `B`.
        make: Makes the backend; it is called when the side's turn has come.
        device: Where it computes.
        data_type: `bf16`, `fp16`, `fp32`, or `served`.
        batch_size: Requests per batch.
        words: For a person.
    """

    name: str
    make: Callable[[], Backend]
    device: Device
    data_type: str
    batch_size: int
    words: str


@dataclass(frozen=True, slots=True)
class Observed:
    """What a side showed.

    Attributes:
        trace: Of all samples.
        given: Per sample the values from which each stage was tried by itself; empty of a
            service.
    """

    trace: Trace
    given: Given


def model_files(backend: Backend) -> dict[str, str]:
    """Digests of the checkpoint's files by name, its weights' as one, `weights`; of a service none.

    Raises:
        UsageError: The backend has no stages and is no service either.
    """
    if isinstance(backend, Service):
        return {}
    found = backend.identity(certified=False).get("model", {}).get("files")
    if not found:
        raise UsageError(f"parity compares models; the {backend.name} backend has none")
    weights = {name: entry for name, entry in found.items() if "header_sha256" in entry}
    others = {name: entry["sha256"] for name, entry in found.items() if name not in weights}
    return {**others, "weights": digest(weights)}


def observe(
    side: Side,
    probes: ProbeSet,
    layers: frozenset[str],
    given: Given | None,
    progress: Progress,
) -> Observed:
    """Loads a side, asks it everything and closes it.

    Args:
        side: Not loaded.
        probes: What it is asked.
        layers: Ids of the samples of which every layer is compared.
        given: The reference's values, from which each stage is tried by itself; None makes
            them of what this side shows, rounded to bfloat16, which every precision holds
            exactly.
        progress: Told of each sample.

    Raises:
        ModeltestError: The model cannot be used.
        DeviceError: The device's memory does not suffice, or it was lost.
    """
    backend = side.make()
    try:
        load(backend, side.device)
        progress.start(len(probes.requests) + len(layers), f"{side.name}, {side.words}")
        try:
            if isinstance(backend, Service):
                return Observed(_served(side, backend, probes, progress), {})
            return _Asking(side, _in_process(backend), probes, progress).observe(layers, given)
        finally:
            progress.finish()
    finally:
        backend.close()
        # It and its model are in cycles; two models may not fit one memory.
        del backend
        side.device.free_memory()


def _in_process(backend: Backend) -> TransformersBackend:
    from modeltest.backends.transformers.backend import TransformersBackend

    if not isinstance(backend, TransformersBackend):
        raise UsageError(f"parity compares models; the {backend.name} backend has none")
    return backend


def _served(side: Side, backend: Service, probes: ProbeSet, progress: Progress) -> Trace:
    """Texts and numbers of tokens; a service shows no more."""
    traces: list[SampleTrace] = []
    for batch in _batches(probes.requests, side.batch_size):
        responses = generate_surviving(backend, side.device, batch, lambda *_: None)
        traces += [_reply(probes, len(traces) + i, each) for i, each in enumerate(responses)]
        progress.advance(len(batch))
    return Trace(tuple(traces), side.data_type)


@dataclass(frozen=True, slots=True)
class _Asking:
    """A loaded model in this process, being asked."""

    side: Side
    backend: TransformersBackend
    probes: ProbeSet
    progress: Progress

    def observe(self, layers: frozenset[str], given: Given | None) -> Observed:
        """As it answers; then each stage by itself, in the same batches."""
        traces: list[SampleTrace] = []
        seen: dict[str, dict[str, NDArray[np.float32]]] = {}
        for batch in _batches(self.probes.requests, self.side.batch_size):
            for probed in self._probe(batch, layers, None):
                traces.append(self._trace(len(traces), probed))
                if probed.response.sample_id in layers:
                    seen[probed.response.sample_id] = probed.stages
            self.progress.advance(len(batch))
        if given is None:
            given = {sample_id: _rounded(stages) for sample_id, stages in seen.items()}
        alone = self._alone(frozenset(given), given)
        whole = tuple(replace(each, alone=alone.get(each.sample_id, {})) for each in traces)
        return Observed(Trace(whole, self.side.data_type), given)

    def _alone(self, layers: frozenset[str], given: Given) -> dict[str, dict[str, StageValues]]:
        alone = {}
        for batch in _batches(self.probes.requests, self.side.batch_size):
            wanted = [request.sample_id for request in batch if request.sample_id in layers]
            if not wanted:
                continue
            for probed in self._probe(batch, layers, given):
                if probed.response.sample_id in layers:
                    alone[probed.response.sample_id] = _values(probed.stages)
            self.progress.advance(len(wanted))
        return alone

    def _probe(
        self, batch: Sequence[Request], layers: frozenset[str], given: Given | None
    ) -> list[Probed]:
        from modeltest.backends.transformers.probes import probe

        try:
            return probe(self.backend, batch, layers, given)
        except ModeltestError:
            raise
        except Exception as error:  # the type of what drivers raise is theirs to choose
            if not self.side.device.is_out_of_memory(error):
                raise
            raise DeviceError(
                f"{self.side.device.torch_name}: its memory does not hold a batch of "
                f"{len(batch)} of side {self.side.name}; take a smaller batch size"
            ) from error

    def _trace(self, number: int, probed: Probed) -> SampleTrace:
        return replace(
            _reply(self.probes, number, probed.response),
            input_ids=probed.input_ids,
            margins=probed.margins,
            stages=_values(probed.stages),
        )


def _reply(probes: ProbeSet, number: int, response: Response) -> SampleTrace:
    answer = None if response.error else probes.answer(probes.samples[number], response.text)
    return SampleTrace(
        sample_id=response.sample_id,
        text=response.text,
        answer=answer,
        error=response.error,
        input_tokens=response.input_tokens,
        output_ids=response.output_ids,
        option_logits=response.option_logits,
    )


def _batches(requests: Sequence[Request], size: int) -> list[Sequence[Request]]:
    return [requests[first : first + size] for first in range(0, len(requests), size)]


def _values(stages: Mapping[str, NDArray[np.float32]]) -> dict[str, StageValues]:
    return {name: StageValues(values, len(values)) for name, values in stages.items()}


def _rounded(stages: Mapping[str, NDArray[np.float32]]) -> dict[str, Any]:
    """To bfloat16, and back to what numpy knows."""
    import torch

    return {
        name: torch.from_numpy(values).bfloat16().float().numpy()
        for name, values in stages.items()
        if name != "logits"
    }
