"""`POST /generate`: vLLM's form as MindIE speaks it, and TGI's `inputs`."""

from __future__ import annotations

import json
from typing import Any

from modeltest.records import Generation, Prompt, Response
from modeltest.service.content import (
    GREEDY,
    Content,
    Question,
    Sampling,
    TokenLimit,
    check_size,
    clips_of,
    joined,
    num_tokens,
    parts_of,
    read_body,
    refuse_changes,
    texts_of,
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

_KINDS = {
    BAD_REQUEST: "Bad Request",
    UNAUTHORIZED: "Unauthorized",
    FORBIDDEN: "Forbidden",
    NOT_FOUND: "NotFoundError",
    INVALID: "Input Validation Error",
    FAILED: "Generation Error",
    LOST: "Incomplete Generation",
    UNAVAILABLE: "Service Unavailable",
}
_NEUTRAL: dict[str, tuple[Any, ...]] = {**GREEDY, "do_sample": (False,)}


class _Settings(Sampling):
    do_sample: bool | None = None


class TgiParameters(_Settings):
    """TGI's settings of a reply."""

    max_new_tokens: TokenLimit = None
    details: bool | None = None


class GenerateRequest(_Settings):
    """The body of `/generate`: `prompt` as vLLM has it, or `inputs` and `parameters` as TGI has."""

    prompt: Content | None = None
    inputs: Content | None = None
    model: str | None = None
    max_tokens: TokenLimit = None
    stream: bool | None = None
    parameters: TgiParameters | None = None


class GenerateForm:
    """Reads and writes the form of `/generate`."""

    media_type = "text/event-stream"  # what MindIE says, though its chunks end with NUL

    def read(self, body: bytes, longest_reply: int) -> Question:
        """The question; raises as `Form.read`."""
        asked = read_body(GenerateRequest, body)
        content = asked.prompt if asked.inputs is None else asked.inputs
        is_tgi = asked.inputs is not None
        if content is None or (is_tgi and asked.prompt is not None):
            raise Refusal(INVALID, "send prompt (vLLM's form) or inputs (TGI's form), one of them")
        if is_tgi and asked.stream:
            raise Refusal(INVALID, "stream: works with prompt, not with inputs")
        settings = asked.parameters or TgiParameters()
        refuse_changes(asked, _NEUTRAL)
        refuse_changes(settings, _NEUTRAL)
        limit = num_tokens(settings.max_new_tokens or asked.max_tokens, longest_reply)
        parts = parts_of(content)
        clips, texts = clips_of(parts, 1), texts_of(parts)
        check_size(clips, texts)
        return Question(
            model=asked.model,
            clips=tuple(clips),
            prompt=Prompt(joined(parts), "chat"),
            generation=Generation(limit, bool(asked.ignore_eos or settings.ignore_eos)),
            stream=bool(asked.stream),
            first_text=texts[0] if texts else "",
            is_tgi=is_tgi,
            with_details=bool(settings.details),
        )

    def whole(self, question: Question, response: Response, model: str) -> dict[str, Any]:
        """MindIE repeats the first text and a space before the reply; TGI's form does not."""
        if question.is_tgi:
            details = {"details": _details(response)} if question.with_details else {}
            return {"generated_text": response.text, **details}
        echo = f"{question.first_text} " if question.first_text else ""
        return {"text": [echo + response.text]}

    def first(self, question: Question, reply_id: str, model: str) -> bytes:
        """Nothing: a stream does not repeat the prompt."""
        return b""

    def piece(self, text: str, reply_id: str, model: str) -> bytes:
        """JSON, then NUL."""
        return _chunk({"text": [text]})

    def last(self, question: Question, response: Response, model: str) -> bytes:
        """Nothing."""
        return b""

    def broken(self, refusal: Refusal) -> bytes:
        """The error as a chunk."""
        return _chunk(self.refused(refusal))

    def status(self, refusal: Refusal) -> int:
        """As it is."""
        return refusal.status

    def refused(self, refusal: Refusal) -> dict[str, Any]:
        """MindIE's error body."""
        kind = _KINDS.get(refusal.status, "Bad Request")
        return {"error": refusal.message, "error_type": kind}


def _details(response: Response) -> dict[str, Any]:
    reason = "length" if response.finish_reason == "length" else "eos_token"
    return {"finish_reason": reason, "generated_tokens": response.output_tokens}


def _chunk(content: dict[str, Any]) -> bytes:
    return json.dumps(content, ensure_ascii=False).encode() + b"\0"
