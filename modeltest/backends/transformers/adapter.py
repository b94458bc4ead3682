"""What a backend has to know of an architecture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from modeltest.backends.transformers.engines import Engine
from modeltest.protocols import Device
from modeltest.records import Prompt, Request, StageWork


class Adapter(Protocol):
    """One architecture's processor, prompts, tokens and modules.

    Attributes:
        engines: Names of the engines that can run it.
        model_class: The class of transformers that loads it.
        sampling_rate_hz: Rate at which it hears.
        max_audio_s: Longest clip that it hears whole, seconds.
        joins_text: The texts of whole characters can be joined; see text_stream.py.
    """

    engines: tuple[str, ...]
    model_class: str
    sampling_rate_hz: int
    max_audio_s: float
    joins_text: bool

    def render(self, prompt: Prompt, num_clips: int) -> str:
        """The input text with one unexpanded audio token per clip."""
        ...

    def make_engine(self, name: str, device: Device, pad_id: int) -> Engine:
        """One of `engines`."""
        ...

    def num_input_tokens(self, text: str, request: Request) -> int:
        """Tokens that enter the language model; needs no weights."""
        ...

    def token_counts(
        self, texts: Sequence[str], requests: Sequence[Request], prepared: Any
    ) -> list[tuple[int, int]]:
        """Per request all tokens of its input, and those among them that stand for audio."""
        ...

    def option_tokens(self, options: Sequence[str]) -> list[list[int]]:
        """Per option the tokens with which it can begin; empty where that tells none apart."""
        ...

    def attach(self, model: Any) -> None:
        """Watches the loaded model's encoder."""
        ...

    def begin_batch(self) -> None:
        """Forgets what was seen of the batch before."""
        ...

    def check_heard(self, num_clips: int) -> None:
        """Makes sure that the encoder saw the batch's clips.

        Raises:
            ModelError: It did not.
        """
        ...

    def work(
        self,
        model: Any,
        texts: Sequence[str],
        requests: Sequence[Request],
        output_tokens: int,
        fast: bool,
    ) -> Mapping[str, StageWork]:
        """FLOPs and bytes by stage; empty where they are not known."""
        ...
