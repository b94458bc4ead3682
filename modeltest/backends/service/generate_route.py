"""`/generate`: MindIE's vLLM-style parts with NUL-ended chunks, and the TGI form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from modeltest.backends.service.audio_part import audio_part
from modeltest.backends.service.failures import AskError, shortened
from modeltest.backends.service.lines import Cutter
from modeltest.backends.service.presets import Wire
from modeltest.backends.service.reply import Reply, ReplyStream, count, json_value
from modeltest.errors import ModelError
from modeltest.records import Request

_TGI_REASONS = {"eos_token": "stop", "stop_sequence": "stop", "length": "length"}


@dataclass(frozen=True, slots=True)
class GenerateRoute:
    """A list of parts in, a text out. The reply does not say why it ended.

    Attributes:
        wire: How the service spells things.
        model: Its name of the model.
        sampling: Keys that make decoding greedy.
    """

    wire: Wire
    model: str
    sampling: Mapping[str, Any]
    path: str = "/generate"

    @property
    def can_stream(self) -> bool:
        """The TGI form has a route of its own for streams, which is not asked."""
        return self.wire.form == "parts"

    def body(self, request: Request, clips: list[str]) -> dict[str, Any]:
        """The clips, then the question.

        Raises:
            ModelError: There is a dialogue to continue.
        """
        if request.prompt.turns:
            raise ModelError("/generate takes one question and no dialogue; use backend: openai")
        parts = [audio_part(self.wire, clip) for clip in clips]
        parts.append({"type": "text", "text": request.prompt.text})
        asked = request.generation
        limits = {"ignore_eos": True} if asked.ignore_eos else {}
        if self.wire.form == "tgi":
            settings = {"max_new_tokens": asked.max_new_tokens, "details": True}
            return {"inputs": parts, "parameters": {**settings, **self.sampling, **limits}}
        return {
            "model": self.model,
            "prompt": parts,
            "max_tokens": asked.max_new_tokens,
            **self.sampling,
            **limits,
        }

    def streaming(self, stream: bool) -> dict[str, Any]:
        """The switch alone."""
        return {"stream": stream}

    def read(self, value: Any, request: Request) -> Reply:
        """`{"text": […]}` without the prompt that it begins with, or TGI's `generated_text`."""
        if isinstance(value, list) and len(value) == 1:  # as TGI's own root route answers
            value = value[0]
        if isinstance(value, Mapping) and isinstance(value.get("generated_text"), str):
            return _tgi_reply(value)
        echo = f"{request.prompt.text} "
        return Reply(_text(value).removeprefix(echo))

    def new_stream(self) -> ReplyStream:
        """Reads NUL-ended chunks, which hold no echo."""
        return ChunkStream()


@dataclass(slots=True)
class ChunkStream:
    """JSON objects `{"text": [piece]}`, each ended by NUL; complete when the body ends in order."""

    tells_its_end: ClassVar[bool] = False
    is_done: bool = False
    _chunks: Cutter = field(default_factory=lambda: Cutter(b"\0"))
    _pieces: list[str] = field(default_factory=list)
    _num_chunks: int = 0

    def feed(self, octets: bytes) -> list[str]:
        """The pieces in the next bytes."""
        found = [_text(json_value(chunk)) for chunk in self._chunks.feed(octets)]
        self._num_chunks += len(found)
        pieces = [piece for piece in found if piece]
        self._pieces += pieces
        return pieces

    def end(self) -> Reply:
        """The whole reply."""
        if rest := self._chunks.rest().strip():
            json_value(rest)  # an error has no NUL behind it
            raise AskError("the stream ended in a chunk without its NUL: it may have been cut")
        if not self._num_chunks:
            raise AskError("the stream ended without any chunk")
        return Reply("".join(self._pieces))


def _text(value: Any) -> str:
    texts = value.get("text") if isinstance(value, Mapping) else None
    first = texts[0] if isinstance(texts, list) and texts else texts
    if not isinstance(first, str):
        raise AskError("the reply has no text[0]")
    return first


def _tgi_reply(value: Mapping[str, Any]) -> Reply:
    details = value.get("details")
    reason = details.get("finish_reason") if isinstance(details, Mapping) else None
    if reason is None:  # details are asked for, and not every service has them
        reason = ""
    elif not isinstance(reason, str) or reason not in _TGI_REASONS:
        raise AskError(f"the reply ended with finish reason {shortened(repr(reason))}")
    return Reply(
        text=value["generated_text"],
        finish_reason=_TGI_REASONS.get(reason, ""),
        output_tokens=count(details, "generated_tokens"),
    )
