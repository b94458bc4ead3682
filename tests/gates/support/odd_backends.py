"""Faults of a backend, put into the null backend of a forked command."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable
from typing import Any


def _replace_generate(change: Callable[[Any, Any], Any]) -> None:
    from modeltest.backends.null import NullBackend

    original = NullBackend.generate
    NullBackend.generate = lambda self, requests, *_: change(
        requests, lambda: original(self, requests)
    )


def answer_unclearly() -> None:
    def change(requests: Any, answer: Callable[[], Any]) -> Any:
        replies = answer()
        texts = {"f0000_0_cough": "A or B"}
        return [
            dataclasses.replace(reply, text=texts.get(reply.sample_id, reply.text))
            for reply in replies
        ]

    _replace_generate(change)


def drop_the_audio() -> None:
    """The replies vary, but no clip decides them."""
    _reply(lambda request: "ABCDEF"[hashlib.sha256(request.sample_id.encode()).digest()[0] % 6])


def reply_the_same() -> None:
    _reply(lambda _: "A")


def reply_all_but_one_the_same() -> None:
    _reply(lambda request: "F" if request.sample_id.startswith("m0011_") else "A")


def repeat_a_word() -> None:
    _reply_to_a_third("the " * 20)


def reply_nothing() -> None:
    _reply_to_a_third("")


def swap_half() -> None:
    """A model that is always right; of each batch the first two replies change places."""

    def change(requests: Any, _: Callable[[], Any]) -> Any:
        replies = _of(requests, _right_letter)
        if len(replies) > 1:
            texts = [replies[1].text, replies[0].text]
            replies[:2] = map(_with_text, replies, texts)
        return replies

    _replace_generate(change)


def fail_behind(num_requests: int) -> Callable[[], None]:
    """Answers so many requests, and no more."""

    def break_it() -> None:
        left = [num_requests]

        def change(requests: Any, answer: Callable[[], Any]) -> Any:
            left[0] -= len(requests)
            if left[0] < 0:
                raise RuntimeError("broken by now")
            return answer()

        _replace_generate(change)

    return break_it


def _reply(text_of: Callable[[Any], str]) -> None:
    _replace_generate(lambda requests, _: _of(requests, text_of))


def _of(requests: Any, text_of: Callable[[Any], str]) -> list[Any]:
    from modeltest.records import Response, Timing

    return [
        Response(
            request.sample_id,
            text_of(request),
            output_tokens=1,
            finish_reason="stop",
            timing=Timing(0.001),
        )
        for request in requests
    ]


def _with_text(reply: Any, text: str) -> Any:
    return dataclasses.replace(reply, text=text)


def _right_letter(request: Any) -> str:
    """What the sample's name says, where there is something to be heard."""
    letters = {
        "laughter": "A", "sigh": "B", "cough": "C", "throatclearing": "D", "sneeze": "E",
        "sniff": "F",
    }  # fmt: skip
    heard = request.audio[0].waveform.any()
    return letters[request.sample_id.rpartition("_")[2]] if heard else "A"


def _reply_to_a_third(text: str) -> None:
    def change(requests: Any, answer: Callable[[], Any]) -> Any:
        return [
            _with_text(reply, text) if int(reply.sample_id[1:5]) % 3 == 0 else reply
            for reply in answer()
        ]

    _replace_generate(change)


def fit_two() -> None:
    _fit(2)


def fit_none() -> None:
    _fit(0)


def _fit(size: int) -> None:
    def change(requests: Any, answer: Callable[[], Any]) -> Any:
        if len(requests) > size:
            raise MemoryError
        return answer()

    _replace_generate(change)
