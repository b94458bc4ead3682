"""The text of replies while it comes, from both engines on the embedded model."""

import dataclasses

import pytest
import torch

from modeltest.backends.transformers import backend as backend_module
from modeltest.settings.load import load_task
from modeltest.tasks.factory import make_task

NUM_CLIPS = 6


@pytest.fixture(scope="module", params=["fast", "stock"])
def speaking(request, make_backend):
    return make_backend(engine=request.param)


class Listener:
    """Keeps the pieces of each row and how often the model had run when they came."""

    def __init__(self, backend, num_rows):
        self.pieces = [[] for _ in range(num_rows)]
        self.passes = [[] for _ in range(num_rows)]
        self.num_passes = 0
        self._backend = backend

    def __call__(self, row, piece):
        self.pieces[row].append(piece)
        self.passes[row].append(self.num_passes)

    def ask(self, requests):
        head = self._backend.model.get_output_embeddings()
        counting = head.register_forward_pre_hook(self._count)
        try:
            return self._backend.generate(requests, on_text=self)
        finally:
            counting.remove()

    def _count(self, *_):
        self.num_passes += 1


def ask_with(requests, **changes):
    generation = dataclasses.replace(requests[0].generation, **changes)
    return [dataclasses.replace(request, generation=generation) for request in requests]


def test_pieces_come_token_by_token_and_add_up_to_the_replies(speaking, ask, mini_clips):
    requests = ask(mini_clips[:NUM_CLIPS])
    listener = Listener(speaking, NUM_CLIPS)
    replies = listener.ask(requests)
    assert [reply.text for reply in replies] == [
        reply.text for reply in speaking.generate(requests)
    ]
    for reply, pieces, passes in zip(replies, listener.pieces, listener.passes, strict=True):
        assert "".join(pieces) == reply.text
        # One pass, one token: of plain ASCII each is shown at once, but for the end token.
        assert passes == list(range(1, reply.output_tokens))
        assert all(pieces)


@pytest.mark.parametrize(
    "changes",
    [{"max_new_tokens": 2}, {"max_new_tokens": 9, "ignore_eos": True}, {"stop_pattern": ".*:"}],
    ids=str,
)
def test_however_replies_end_the_pieces_add_up(speaking, ask, mini_clips, changes):
    requests = ask_with(ask(mini_clips[:NUM_CLIPS]), **changes)
    listener = Listener(speaking, NUM_CLIPS)
    for reply, pieces in zip(listener.ask(requests), listener.pieces, strict=True):
        assert "".join(pieces) == reply.text != ""


def test_a_reply_of_broken_characters_is_told_as_it_is_returned(speaking, ask, mini_clips):
    """A head that only knows one byte of a Chinese character."""
    tokenizer = speaking.processor.tokenizer
    half = tokenizer.convert_tokens_to_ids("å")  # byte E5, the first of three
    assert tokenizer.decode([half]) == "�"
    requests = ask_with(ask(mini_clips[:2]), max_new_tokens=3)
    listener = Listener(speaking, 2)

    def only_half(_head, _inputs, logits):
        forced = torch.zeros_like(logits)
        forced[..., half] = 1.0
        return forced

    hook = speaking.model.get_output_embeddings().register_forward_hook(only_half)
    try:
        replies = listener.ask(requests)
    finally:
        hook.remove()
    assert [reply.text for reply in replies] == ["���"] * 2
    assert listener.pieces == [["���"]] * 2


def test_nothing_is_told_of_logits_that_are_not_finite(speaking, ask, mini_clips):
    listener = Listener(speaking, 2)

    def spoil_second(_head, _inputs, logits):
        spoilt = logits.clone()
        spoilt[1] = float("nan")
        return spoilt

    hook = speaking.model.get_output_embeddings().register_forward_hook(spoil_second)
    try:
        first, second = listener.ask(ask_with(ask(mini_clips[:2]), max_new_tokens=8))
    finally:
        hook.remove()
    assert "".join(listener.pieces[0]) == first.text != ""
    assert second.error
    assert listener.pieces[1] == []


def test_who_does_not_listen_does_not_pay(speaking, ask, mini_clips, monkeypatch):
    def refuse(*_):
        raise AssertionError("nobody asked for the text")

    monkeypatch.setattr(backend_module, "BatchText", refuse)
    generate, seen = speaking._engine.generate, []
    monkeypatch.setattr(
        speaking._engine, "generate", lambda *given: seen.append(given[-1]) or generate(*given)
    )
    [reply] = speaking.generate(ask(mini_clips[:1]))
    assert reply.text
    assert seen == [None]


def test_the_harness_without_a_model_tells_too(ask, mini_clips):
    from modeltest.backends.null import NullBackend
    from modeltest.devices.cpu import CpuDevice

    told = {}
    replies = NullBackend(CpuDevice()).generate(ask(mini_clips[:3]), on_text=told.__setitem__)
    assert told == {row: reply.text for row, reply in enumerate(replies)}


def test_stopping_at_the_answer_is_told_up_to_there(speaking, ask, mini_clips):
    loaded = load_task("vocalsound_mini", ["stop_at_answer=true"])
    requests = ask(mini_clips[:NUM_CLIPS], of=make_task(loaded.name, loaded.settings))
    listener = Listener(speaking, NUM_CLIPS)
    for reply, pieces in zip(listener.ask(requests), listener.pieces, strict=True):
        assert reply.finish_reason == "answer"
        assert "".join(pieces) == reply.text
