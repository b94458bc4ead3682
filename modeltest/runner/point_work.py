"""What the batches of a round have to compute and to move, with every reply's own length."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from modeltest.protocols import Backend
from modeltest.records import Request, Response

StageSums = dict[str, dict[str, float]]
_USEFUL = ("useful_flops", "num_bytes")


def round_work(
    backend: Backend, batches: Sequence[Sequence[Request]], replies: Sequence[Sequence[Response]]
) -> StageSums:
    """The work of a round by stage; empty where the backend cannot tell.

    Useful operations and bytes end with each reply. What is executed goes on to the end of
    the batch's longest one: rows that have ended are computed along.

    Args:
        backend: Counts the work of a batch whose replies all have one length.
        batches: What was asked.
        replies: What came back, per batch.
    """
    total: StageSums = {}
    for requests, responses in zip(batches, replies, strict=True):
        lengths = [max(response.output_tokens or 0, 1) for response in responses]
        for stage, work in _batch_work(backend, requests, lengths).items():
            sums = total.setdefault(stage, dict.fromkeys(work, 0.0))
            for name, amount in work.items():
                sums[name] += amount
    return total


def _batch_work(
    backend: Backend, requests: Sequence[Request], lengths: Sequence[int]
) -> Mapping[str, dict[str, float]]:
    """Sums over the stretches between one reply's end and the next.

    In each stretch only the rows that go on count: what they cost up to its end, less what
    they cost up to its beginning. The stages before decoding cost the same either way.
    """
    total = {
        stage: {"useful_flops": 0.0, "executed_flops": work.executed_flops, "num_bytes": 0.0}
        for stage, work in backend.work(requests, max(lengths)).items()
    }
    begin = 0
    for end in sorted(set(lengths)):
        rows = [r for r, length in zip(requests, lengths, strict=True) if length >= end]
        until_begin = backend.work(rows, begin) if begin else {}
        for stage, work in backend.work(rows, end).items():
            for name in _USEFUL:
                before = getattr(until_begin[stage], name) if begin else 0.0
                total[stage][name] += getattr(work, name) - before
        begin = end
    return total
