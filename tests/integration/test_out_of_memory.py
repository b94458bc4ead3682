"""Out of memory with the real model: a batch that is halved answers as one by one."""

import pytest

from modeltest.devices.cpu import CpuDevice
from modeltest.runner.recovery import generate_surviving

NUM_CLIPS = 7


class SmallMemory:
    """The embedded model, which does not fit more than so many requests; on a real backend."""

    def __init__(self, backend, largest):
        self.backend = backend
        self.largest = largest
        self.sizes = []

    def generate(self, requests, prepared=None, on_text=None):
        self.sizes.append(len(requests))
        if len(requests) > self.largest:
            # As torch's CPU allocator says it, which the device has to recognise.
            raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")
        return self.backend.generate(requests, prepared)


@pytest.fixture(scope="module")
def requests(ask, mini_clips):
    return ask(mini_clips[::17][:NUM_CLIPS])


@pytest.fixture(scope="module")
def one_by_one(backend, requests):
    return [backend.generate([request])[0] for request in requests]


@pytest.mark.parametrize(
    ("largest", "sizes"),
    [
        (1, [7, 3, 1, 2, 1, 1, 4, 2, 1, 1, 2, 1, 1]),
        (2, [7, 3, 1, 2, 4, 2, 2]),
        (3, [7, 3, 4, 2, 2]),
    ],
)
def test_halved_batches_give_the_replies_of_single_requests(
    backend, requests, one_by_one, largest, sizes
):
    small, splits = SmallMemory(backend, largest), []
    replies = generate_surviving(
        small, CpuDevice(), requests, lambda size, reason: splits.append((size, reason))
    )
    assert small.sizes == sizes
    assert splits == [(size, "out of memory") for size in sizes if size > largest]
    assert [reply.text for reply in replies] == [reply.text for reply in one_by_one]
    assert [reply.sample_id for reply in replies] == [request.sample_id for request in requests]
    assert all(reply.text and not reply.error for reply in replies)
