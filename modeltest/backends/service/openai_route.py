"""`/v1/chat/completions`: requests, replies and streams, as OpenAI, vLLM and MindIE have them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from modeltest.backends.service.audio_part import audio_part
from modeltest.backends.service.failures import AskError, shortened
from modeltest.backends.service.lines import EventLines
from modeltest.backends.service.presets import Wire
from modeltest.backends.service.reply import Reply, count, json_value
from modeltest.records import Request

FINISH_REASONS = ("stop", "length")
_END = "[DONE]"


@dataclass(frozen=True, slots=True)
class OpenAiRoute:
    """Chat messages in, a message out.

    Attributes:
        wire: How the service spells things.
        model: Its name of the model.
        sampling: Keys that make decoding greedy.
    """

    wire: Wire
    model: str
    sampling: Mapping[str, Any]
    path: str = "/v1/chat/completions"
    can_stream: bool = True

    def body(self, request: Request, clips: list[str]) -> dict[str, Any]:
        """The dialogue so far and the question, each turn's clips before its text."""
        messages: list[dict[str, Any]] = []
        waiting = iter(clips)
        prompt = request.prompt
        for turn in prompt.turns:
            messages.append(self._question(turn.text, turn.num_clips, waiting))
            messages.append({"role": "assistant", "content": turn.reply})
        num_left = len(clips) - sum(turn.num_clips for turn in prompt.turns)
        messages.append(self._question(prompt.text, num_left, waiting))
        asked = request.generation
        return {
            "model": self.model,
            "messages": messages,
            "max_tokens": asked.max_new_tokens,
            **self.sampling,
            **({"ignore_eos": True} if asked.ignore_eos else {}),
        }

    def streaming(self, stream: bool) -> dict[str, Any]:
        """With the count of tokens in the last chunk, where the service has to be asked."""
        if stream and self.wire.asks_for_usage:
            return {"stream": True, "stream_options": {"include_usage": True}}
        return {"stream": stream}

    def read(self, value: Any, request: Request) -> Reply:
        """The first choice's message."""
        choice = _choice(value)
        message = choice.get("message") if choice else None
        if not isinstance(message, Mapping):
            raise AskError("the reply has no choices[0].message")
        text = _content(message)
        usage = value.get("usage")
        return _reply(text, _finish_reason(choice), usage)

    def new_stream(self) -> ChatStream:
        """Reads chunks of `choices[0].delta`."""
        return ChatStream()

    def _question(self, text: str, num_clips: int, clips: Iterator[str]) -> dict[str, Any]:
        parts = [audio_part(self.wire, next(clips)) for _ in range(num_clips)]
        return {"role": "user", "content": [*parts, {"type": "text", "text": text}]}


@dataclass(slots=True)
class ChatStream:
    """Server-sent events, each a chunk of the reply; complete once one has a finish reason."""

    tells_its_end: ClassVar[bool] = True
    is_done: bool = False
    _lines: EventLines = field(default_factory=EventLines)
    _pieces: list[str] = field(default_factory=list)
    _finish_reason: Any = None
    _usage: Any = None

    def feed(self, octets: bytes) -> list[str]:
        """The pieces in the next bytes; what follows `[DONE]` is passed over."""
        found: list[str] = []
        for data in self._lines.feed(octets):
            found += self._event(data)
        return found

    def end(self) -> Reply:
        """The whole reply."""
        for data in self._lines.rest():
            self._event(data)
        if self._finish_reason is None:
            raise AskError("the stream ended without a finish reason: it may have been cut")
        text = "".join(self._pieces)
        return _reply(text, _finish_reason({"finish_reason": self._finish_reason}), self._usage)

    def _event(self, data: bytes) -> list[str]:
        if self.is_done:
            return []
        if data.strip() == _END.encode():
            self.is_done = True
            return []
        chunk = json_value(data)
        if not isinstance(chunk, Mapping):
            raise AskError("the stream holds a chunk that is no JSON object")
        self._usage = chunk.get("usage") or self._usage
        choice = _choice(chunk)
        if choice is None:  # the chunk that only counts tokens has none
            return []
        self._finish_reason = choice.get("finish_reason") or self._finish_reason
        delta = choice.get("delta")
        piece = _content(delta) if isinstance(delta, Mapping) else ""
        self._pieces += [piece] if piece else []
        return [piece] if piece else []


def _choice(value: Any) -> Mapping[str, Any] | None:
    choices = value.get("choices") if isinstance(value, Mapping) else None
    first = choices[0] if isinstance(choices, list) and choices else None
    return first if isinstance(first, Mapping) else None


def _content(message: Mapping[str, Any]) -> str:
    text = message.get("content")
    if text is None:  # a delta of the role alone, or an empty reply
        return ""
    if not isinstance(text, str):
        raise AskError("the reply's content is no text")
    return text


def _finish_reason(choice: Mapping[str, Any] | None) -> str:
    reason = choice.get("finish_reason") if choice else None
    if reason is None:
        raise AskError("the reply has no finish reason: it may have been cut")
    if reason not in FINISH_REASONS:
        shown = shortened(repr(reason))
        raise AskError(f"the reply ended with finish reason {shown}, not with stop or length")
    return str(reason)


def _reply(text: str, finish_reason: str, usage: Any) -> Reply:
    return Reply(
        text=text,
        finish_reason=finish_reason,
        input_tokens=count(usage, "prompt_tokens"),
        audio_tokens=count(usage, "prompt_tokens_details", "audio_tokens"),
        output_tokens=count(usage, "completion_tokens"),
    )
