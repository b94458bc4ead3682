"""No model at all: measures the harness, and lets faults be tried in a second, not a minute."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from modeltest.protocols import Device, OnText
from modeltest.records import Prompt, Request, Response, StageWork, Timing

LETTERS = "ABCDEF"


class NullBackend:
    """Replies with a letter that the clip's hash decides: the same clip, the same reply."""

    name = "null"
    sampling_rate_hz = 16_000
    max_audio_s = 30.0

    def __init__(self, device: Device) -> None:
        self._device = device

    def render(self, prompt: Prompt, num_clips: int) -> str:
        """The prompt as it is."""
        return prompt.text

    def num_input_tokens(self, request: Request) -> int:
        """There is no language model for tokens to enter."""
        return 0

    def load(self) -> None:
        """There is nothing to load."""

    def prepare(self, requests: Sequence[Request]) -> None:
        """There is nothing to prepare."""

    def generate(
        self,
        requests: Sequence[Request],
        prepared: Any = None,
        on_text: OnText | None = None,
    ) -> list[Response]:
        """One letter per request."""
        start_s = time.perf_counter()
        letters = [LETTERS[int(r.audio[0].sha256, 16) % len(LETTERS)] for r in requests]
        self._device.synchronize()
        e2e_s = time.perf_counter() - start_s
        if on_text is not None:
            for row, letter in enumerate(letters):
                on_text(row, letter)
        return [
            Response(
                sample_id=request.sample_id,
                text=letter,
                input_text=self.render(request.prompt, len(request.audio)),
                input_tokens=0,
                output_tokens=1,
                finish_reason="stop",
                timing=Timing(e2e_s),
            )
            for request, letter in zip(requests, letters, strict=True)
        ]

    def identity(self, certified: bool) -> Mapping[str, Any]:
        """The letters are all there is."""
        return {"letters": LETTERS}

    def facts(self) -> Mapping[str, Any]:
        """Nothing to tell."""
        return {}

    def work(self, requests: Sequence[Request], output_tokens: int) -> Mapping[str, StageWork]:
        """There is no work."""
        return {}

    def close(self) -> None:
        """There is nothing to free."""
