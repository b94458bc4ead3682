"""Which requests are asked together, and what a failure costs."""

import asyncio
import threading
from dataclasses import dataclass, field

import numpy as np
import pytest

from modeltest.errors import DeviceError, ModelError
from modeltest.records import Audio, Generation, Prompt, Request, Response
from modeltest.service.batcher import Batcher, Batching, Pending
from modeltest.service.refusals import Refusal

CLIP = Audio(np.zeros(1600, np.float32), 16_000, "ab" * 32, 0.1)
HASH = "ab" * 6


@dataclass
class Watched:
    batches: list[int] = field(default_factory=list)
    splits: list[tuple[int, str]] = field(default_factory=list)

    def batch(self, size):
        self.batches.append(size)

    def split(self, size, reason):
        self.splits.append((size, reason))


def request(text, longest=9, clips=1):
    return Request(f"id {text}", (CLIP,) * clips, Prompt(text, "chat"), Generation(longest))


class Asked:
    """A batcher whose queue is filled before it starts, so that batches do not depend on time."""

    def __init__(self, backend, device, size=4, wait_s=0.0):
        self.watched = Watched()
        self.failed = threading.Event()
        self.batcher = Batcher(backend, device, Batching(size, wait_s, 100), self.watched)

    def ask(self, *requests, stream=False, drop=()):
        async def all_events():
            pendings = [Pending(request, stream) for request in requests]
            for pending in pendings:
                self.batcher.submit(pending)
            for place in drop:
                self.batcher.drop(pendings[place])
            self.batcher.start(self.failed.set)
            left = [p for place, p in enumerate(pendings) if place not in drop]
            found = [await asyncio.wait_for(_events(pending), 10) for pending in left]
            await asyncio.to_thread(self.batcher.stop, 5)
            return found

        return asyncio.run(all_events())


async def _events(pending):
    events = [await pending.events.get()]
    while isinstance(events[-1], str):
        events.append(await pending.events.get())
    return events


@pytest.fixture
def asked(backend, device):
    return lambda **options: Asked(backend, device, **options)


def texts(found):
    return [getattr(events[-1], "text", events[-1]) for events in found]


def test_requests_that_wait_are_asked_in_their_order_in_batches(asked, backend):
    made = asked(size=3)
    found = made.ask(*(request(f"q{i}") for i in range(7)))
    assert backend.batches == [["q0", "q1", "q2"], ["q3", "q4", "q5"], ["q6"]]
    assert texts(found) == [f"{HASH} q{i}" for i in range(7)]
    assert [events[0].sample_id for events in found] == [f"id q{i}" for i in range(7)]
    assert made.watched.batches == [3, 3, 1]


def test_only_what_is_asked_alike_shares_a_batch_and_nothing_starves(asked, backend):
    asked(size=8).ask(request("a"), request("b", 1), request("c"), request("d", 2), request("e", 1))
    assert backend.batches == [["a", "c"], ["b", "e"], ["d"]]


def test_a_batch_waits_a_moment_for_others(backend, device):
    batcher = Batcher(backend, device, Batching(2, 5.0, 100), Watched())

    async def ask():
        batcher.start(lambda: None)
        pendings = [Pending(request("a"), False), Pending(request("b"), False)]
        batcher.submit(pendings[0])
        await asyncio.sleep(0.05)
        batcher.submit(pendings[1])  # the batch is full: it does not wait any longer
        return [await asyncio.wait_for(_events(pending), 2) for pending in pendings]

    asyncio.run(ask())
    assert batcher.stop(5)
    assert backend.batches == [["a", "b"]]


def test_a_dropped_request_is_not_asked(asked, backend):
    assert texts(asked().ask(request("a"), request("b"), request("c"), drop=[0])) == [
        f"{HASH} b", f"{HASH} c",
    ]  # fmt: skip
    assert backend.batches == [["b", "c"]]


def test_a_failing_request_costs_only_itself(asked, backend):
    found = asked().ask(request("a"), request("broken"), request("c"))
    assert texts(found)[0] == f"{HASH} a"
    assert texts(found)[2] == f"{HASH} c"
    [failure] = found[1]
    assert (failure.status, failure.message) == (
        424, "the model gave no answer: RuntimeError: broken",
    )  # fmt: skip


def test_an_error_of_the_whole_run_costs_only_the_request_that_has_it(asked, backend):
    backend.failure = ModelError("the clips\ndid not reach the model")
    found = asked().ask(request("a"), request("broken"), request("c"))
    assert texts(found)[0] == f"{HASH} a"
    assert texts(found)[2] == f"{HASH} c"
    assert found[1][0].message == (r"the model gave no answer: the clips\ndid not reach the model")


def test_a_prompt_that_cannot_be_rendered_or_is_too_long_is_not_asked(asked, backend):
    found = asked().ask(request("refused"), request("b"), request("c", clips=4))
    assert backend.batches == [["b"]]
    assert (found[0][0].status, found[0][0].message) == (422, "this question cannot be asked")
    assert found[2][0].status == 422
    assert "has 101 tokens, clips included; at most 100" in found[2][0].message
    assert texts(found)[1] == f"{HASH} b"


def test_out_of_memory_halves_the_batch(asked, backend, device):
    backend.capacity = 1
    made = asked()
    assert texts(made.ask(*map(request, "abcd"))) == [f"{HASH} {letter}" for letter in "abcd"]
    assert made.watched.splits == [(4, "out of memory"), (2, "out of memory"), (2, "out of memory")]


def test_streamed_pieces_add_up_to_the_reply_also_where_the_batch_was_halved(asked, backend):
    backend.capacity = 2
    found = asked().ask(*(request(f"{letter} and more") for letter in "abcd"), stream=True)
    for letter, events in zip("abcd", found, strict=True):
        *pieces, response = events
        assert len(pieces) > 1
        assert "".join(pieces) == response.text == f"{HASH} {letter} and more"


def test_a_backend_that_tells_nothing_before_its_end_is_streamed_whole(asked, backend):
    backend.generate = lambda requests, *_: [Response(r.sample_id, "whole") for r in requests]
    [[piece, response]] = asked().ask(request("a"), stream=True)
    assert piece == response.text == "whole"


def test_a_reply_that_differs_from_what_was_streamed_is_an_error(asked, backend):
    def generate(requests, prepared, on_text):
        on_text(0, "Yes")
        return [Response(requests[0].sample_id, "No")]

    backend.generate = generate
    [[piece, failure]] = asked().ask(request("a"), stream=True)
    assert piece == "Yes"
    assert isinstance(failure, Refusal)
    assert failure.status == 424


def test_nobody_streams_nothing_is_told(asked, backend):
    seen = []

    def generate(requests, prepared, on_text):
        seen.append(on_text)
        return [Response(r.sample_id, "x") for r in requests]

    backend.generate = generate
    asked().ask(request("a"))
    assert seen == [None]


def test_a_lost_device_ends_the_thread_and_everybody_is_told(asked, backend, device):
    device.alive = False
    made = asked(size=1)
    found = made.ask(request("broken"), request("b"))
    assert made.failed.wait(5)
    assert isinstance(made.batcher.failure, DeviceError)
    for [failure] in found:
        assert failure.status == 500
        assert "the server ends: cpu does not answer any more" in failure.message

    async def too_late():
        pending = Pending(request("c"), False)
        made.batcher.submit(pending)
        return await asyncio.wait_for(pending.events.get(), 5)

    assert asyncio.run(too_late()).status == 500


def test_a_bug_ends_the_thread_and_is_kept(asked, backend):
    backend.num_input_tokens = lambda request: 1 / 0
    made = asked()
    [[failure]] = made.ask(request("a"))
    assert failure.message == "the server ends: a bug in modeltest"
    assert isinstance(made.batcher.failure, ZeroDivisionError)


@pytest.mark.parametrize("seed", range(3))
def test_replies_are_never_mixed_up(backend, device, seed):
    """Many requests in random order and sizes, some failing, some dropped."""
    random = np.random.default_rng(seed)
    batcher = Batcher(backend, device, Batching(5, 0.001, 100), Watched())
    backend.capacity = 3

    async def one(number):
        await asyncio.sleep(float(random.uniform(0, 0.2)))
        text = f"q{number}" + (" broken" if number % 10 == 3 else "")
        pending = Pending(request(text, int(random.integers(1, 4))), bool(random.integers(2)))
        batcher.submit(pending)
        if number % 10 == 7:
            batcher.drop(pending)
            return
        *pieces, last = await asyncio.wait_for(_events(pending), 20)
        if number % 10 == 3:
            assert isinstance(last, Refusal)
            return
        assert last.text == f"{HASH} {text}"
        assert last.sample_id == f"id {text}"
        assert "".join(pieces) in {"", last.text}

    async def everything():
        batcher.start(lambda: None)
        await asyncio.gather(*map(one, range(300)))

    asyncio.run(everything())
    assert batcher.stop(5)
    assert batcher.num_waiting == 0
