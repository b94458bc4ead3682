"""`POST /v1/chat/completions`: OpenAI's form, with MindIE's plain-string `audio_url`."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import Field

from modeltest.records import Generation, Prompt, Response, Turn
from modeltest.service.content import (
    FEW,
    GREEDY,
    ClipReference,
    Content,
    Part,
    Question,
    Sampling,
    Strict,
    TokenLimit,
    check_size,
    clips_of,
    joined,
    num_tokens,
    parts_of,
    read_body,
    refuse_changes,
)
from modeltest.service.refusals import (
    BAD_REQUEST,
    FAILED,
    FORBIDDEN,
    INVALID,
    LOST,
    NOT_FOUND,
    UNAUTHORIZED,
    UNAVAILABLE,
    Refusal,
)

_STATUS = {INVALID: BAD_REQUEST, FAILED: LOST}
_TYPES = {
    BAD_REQUEST: "BadRequestError",
    UNAUTHORIZED: "AuthenticationError",
    FORBIDDEN: "PermissionDeniedError",
    NOT_FOUND: "NotFoundError",
    LOST: "InternalServerError",
    UNAVAILABLE: "ServiceUnavailableError",
}
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    **GREEDY,
    "n": (1,),
    "logprobs": (False,),
    "stop": ([], ""),
}


class Message(Strict):
    """One message of a dialogue."""

    role: Literal["system", "developer", "user", "assistant"]
    content: Content


class StreamOptions(Strict):
    """What a stream tells beside the text."""

    include_usage: bool | None = None


class ChatRequest(Sampling):
    """The body of `/v1/chat/completions`."""

    messages: Annotated[list[Message], Field(min_length=1), FEW]
    model: str | None = None
    max_tokens: TokenLimit = None
    max_completion_tokens: TokenLimit = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: int | None = None
    logprobs: bool | None = None
    stop: Any = None


class ChatForm:
    """Reads and writes the chat completions form."""

    media_type = "text/event-stream"

    def read(self, body: bytes, longest_reply: int) -> Question:
        """The question; raises as `Form.read`."""
        asked = read_body(ChatRequest, body)
        refuse_changes(asked, _NEUTRAL)
        prompt, clips = _dialogue(asked.messages)
        wanted = asked.max_completion_tokens or asked.max_tokens
        limit = num_tokens(wanted, longest_reply)
        options = asked.stream_options
        return Question(
            model=asked.model,
            clips=clips,
            prompt=prompt,
            generation=Generation(limit, ignore_eos=bool(asked.ignore_eos)),
            stream=bool(asked.stream),
            include_usage=bool(options and options.include_usage),
        )

    def whole(self, question: Question, response: Response, model: str) -> dict[str, Any]:
        """A `chat.completion`."""
        message = {"role": "assistant", "content": response.text}
        choice = {"index": 0, "message": message, "finish_reason": _finish_reason(response)}
        return {
            "id": response.sample_id,
            "object": "chat.completion",
            "created": int(time.time()),
            "model": model,
            "choices": [choice],
            "usage": _usage(response),
        }

    def first(self, question: Question, reply_id: str, model: str) -> bytes:
        """The chunk that tells the role."""
        return _event(_chunk(reply_id, model, {"role": "assistant", "content": ""}))

    def piece(self, text: str, reply_id: str, model: str) -> bytes:
        """A `chat.completion.chunk`."""
        return _event(_chunk(reply_id, model, {"content": text}))

    def last(self, question: Question, response: Response, model: str) -> bytes:
        """The finish reason, the counts where they are wanted, `[DONE]`."""
        end = _event(_chunk(response.sample_id, model, {}, _finish_reason(response)))
        if question.include_usage:
            counts = {**_chunk(response.sample_id, model, {}), "choices": []}
            end += _event({**counts, "usage": _usage(response)})
        return end + b"data: [DONE]\n\n"

    def broken(self, refusal: Refusal) -> bytes:
        """The error as an event, then `[DONE]`, but no finish reason."""
        return _event(self.refused(refusal)) + b"data: [DONE]\n\n"

    def status(self, refusal: Refusal) -> int:
        """OpenAI has one status for every mistake in a body."""
        return _STATUS.get(refusal.status, refusal.status)

    def refused(self, refusal: Refusal) -> dict[str, Any]:
        """OpenAI's error object."""
        status = self.status(refusal)
        kind = _TYPES.get(status, "BadRequestError")
        error = {"message": refusal.message, "type": kind, "param": None, "code": status}
        return {"error": error}


def _dialogue(messages: Sequence[Message]) -> tuple[Prompt, tuple[ClipReference, ...]]:
    """The prompt: what the system says goes before the first question."""
    clips: list[ClipReference] = []
    turns: list[Turn] = []
    texts: list[str] = []
    system: list[str] = []
    pending: list[Part] | None = None
    for place, message in enumerate(messages):
        parts = parts_of(message.content)
        if message.role == "user":
            pending = [*(pending or []), *parts]
            continue
        _refuse_clips(parts, message.role, place)
        if message.role != "assistant":
            if turns or pending is not None:
                raise Refusal(INVALID, f"messages.{place}: {message.role} goes before all others")
            system.append(joined(parts))
            continue
        if pending is None:
            raise Refusal(INVALID, f"messages.{place}: the assistant replies to nothing")
        texts.append(_with_system(system, joined(pending)))
        new = clips_of(pending, len(clips) + 1)
        clips += new
        turns.append(Turn(texts[-1], len(new), joined(parts)))
        pending, system = None, []
    if pending is None:
        raise Refusal(INVALID, "messages: the last one must be the user's")
    clips += clips_of(pending, len(clips) + 1)
    question = _with_system(system, joined(pending))
    check_size(clips, [*texts, *(turn.reply for turn in turns), question])
    return Prompt(question, "chat", tuple(turns)), tuple(clips)


def _refuse_clips(parts: Sequence[Part], role: str, place: int) -> None:
    if clips_of(parts, 1):
        raise Refusal(INVALID, f"messages.{place}: only the user's messages may have clips")


def _with_system(system: Sequence[str], question: str) -> str:
    return "\n\n".join([*system, question]) if system else question


def _finish_reason(response: Response) -> str:
    return "length" if response.finish_reason == "length" else "stop"


def _usage(response: Response) -> dict[str, int] | None:
    if response.input_tokens is None or response.output_tokens is None:
        return None
    return {
        "prompt_tokens": response.input_tokens,
        "completion_tokens": response.output_tokens,
        "total_tokens": response.input_tokens + response.output_tokens,
    }


def _chunk(
    reply_id: str, model: str, delta: dict[str, str], finish_reason: str | None = None
) -> dict[str, Any]:
    return {
        "id": reply_id,
        "object": "chat.completion.chunk",
        "created": int(time.time()),
        "model": model,
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}],
    }


def _event(content: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(content, ensure_ascii=False).encode() + b"\n\n"
