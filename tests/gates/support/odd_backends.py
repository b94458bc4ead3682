"""Faults of a backend, put into the null backend of a forked command."""

from __future__ import annotations

import dataclasses
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
