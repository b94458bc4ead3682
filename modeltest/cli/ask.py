"""Asks a model one thing at a time and prints its reply while it comes."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass

from modeltest.errors import one_line
from modeltest.protocols import Backend, Device
from modeltest.records import Audio, Generation, Prompt, Request, Response
from modeltest.runner.material import refuse_long_input
from modeltest.runner.recovery import generate_surviving


@dataclass(frozen=True, slots=True)
class Asker:
    """A loaded model and how long questions and answers may be.

    Attributes:
        backend: Loaded before anything is asked.
        device: Where it is.
        max_new_tokens: Longest answer.
        max_input_tokens: Longest request; None allows any.
    """

    backend: Backend
    device: Device
    max_new_tokens: int
    max_input_tokens: int | None = None

    def request(self, name: str, clips: Sequence[Audio], prompt: Prompt) -> Request:
        """What to ask about the clips; needs no loaded model.

        Raises:
            DataError: It is longer than the user allows.
            SettingsError: The prompt holds what only the model's template may write.
        """
        self.backend.render(prompt, len(clips))  # or it would be refused after loading
        request = Request(name, tuple(clips), prompt, Generation(self.max_new_tokens))
        if self.max_input_tokens is not None:
            refuse_long_input(request, self.backend, self.max_input_tokens)
        return request

    def ask(self, request: Request) -> Response:
        """Prints the answer as one line, or why there is none on standard error.

        Raises:
            ModeltestError: Concerns more than this request.
            OSError: Standard output takes no more.
        """
        line = _Line()
        try:
            [response] = generate_surviving(
                self.backend, self.device, [request], no_split, on_text=line.add
            )
            if line.failure is not None:  # which is not the request's
                raise line.failure
            if not response.error:
                line.add(0, "")  # an empty answer is a line too
        finally:
            line.end()
        if response.error:
            print(f"failed: {one_line(response.error)}", file=sys.stderr)
        return response


def no_split(_size: int, _reason: str) -> None:
    """A single request cannot be split."""


class _Line:
    """A line of standard output that grows; no text in it can end it or steer a terminal."""

    def __init__(self) -> None:
        self.failure: OSError | None = None
        self._is_open = False

    def add(self, _row: int, piece: str) -> None:
        """Shows a piece at once."""
        self._is_open = True
        try:
            print(one_line(piece), end="", flush=True)
        except OSError as error:
            self.failure = error
            raise

    def end(self) -> None:
        """Ends the line, if there is one."""
        if self._is_open and self.failure is None:
            print(flush=True)
