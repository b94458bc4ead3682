"""The parts of a message, alike in both routes, and what a request asks once it was read."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationError,
)

from modeltest.errors import one_line
from modeltest.records import Generation, Prompt
from modeltest.service.limits import DEFAULT_TOKENS, MAX_CLIPS, MAX_ITEMS, MAX_TEXT_CHARACTERS
from modeltest.service.refusals import INVALID, Refusal

EXAMPLE_CLIP = (
    "data:audio/wav;base64,UklGRiwAAABXQVZFZm10IBAAAAABAAEA6AMAAOgDAAABAAgAZGF0YQgAAACAgICAgICAgA=="
)
"""Eight samples of silence at 1 kHz."""

_MAX_PROBLEMS = 3


class Strict(BaseModel):
    """What is known is checked; what is not is passed over, as OpenAI's servers do."""

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True)


class Sampling(Strict):
    """Settings of a reply in both routes; those that would change a greedy one are refused."""

    temperature: float | None = None
    repetition_penalty: float | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    ignore_eos: bool | None = None


GREEDY: dict[str, tuple[Any, ...]] = {
    "temperature": (0,),
    "repetition_penalty": (1,),
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
}
"""Per field of `Sampling` the values that change nothing."""

TokenLimit = Annotated[int, Field(ge=1, examples=[16])] | None


class TextPart(Strict):
    """Text."""

    type: Literal["text"]
    text: str


class AudioAddress(Strict):
    """Where a clip is: a `data:` URI, or what `--allow-media` allows."""

    url: str = Field(examples=[EXAMPLE_CLIP])


class AudioUrlPart(Strict):
    """A clip by its address: OpenAI servers' object, or MindIE's plain string."""

    type: Literal["audio_url"]
    audio_url: Annotated[
        Annotated[str, Field(examples=[EXAMPLE_CLIP]), Tag("text")]
        | Annotated[AudioAddress, Tag("object")],
        Discriminator(lambda value: "text" if isinstance(value, str) else "object"),
    ]


class InputAudio(Strict):
    """A clip in base64; its content tells the format."""

    data: str = Field(examples=[EXAMPLE_CLIP.partition(",")[2]])
    format: str | None = None


class InputAudioPart(Strict):
    """A clip in the request."""

    type: Literal["input_audio"]
    input_audio: InputAudio


def _few(value: Any) -> Any:
    """A list that may be looked at: each wrong item of it becomes an error of its own."""
    if isinstance(value, list) and len(value) > MAX_ITEMS:
        raise ValueError(f"has {len(value)} items; at most {MAX_ITEMS}")
    return value


FEW = BeforeValidator(_few)
Part = Annotated[TextPart | AudioUrlPart | InputAudioPart, Field(discriminator="type")]
Content = Annotated[
    Annotated[str, Tag("text")] | Annotated[list[Part], FEW, Tag("parts")],
    Discriminator(lambda value: "text" if isinstance(value, str) else "parts"),
]


@dataclass(frozen=True, slots=True)
class ClipReference:
    """A clip as the client named it.

    Attributes:
        name: For messages, `clip 1`.
        address: A URI or a path; empty where `encoded` is set.
        encoded: Base64.
    """

    name: str
    address: str = ""
    encoded: str = ""


@dataclass(frozen=True, slots=True)
class Question:
    """What a request asks, whatever its route.

    Attributes:
        model: The name that it asked for, if any.
        clips: In the order of the prompt, those of earlier turns first.
        prompt: In the chat format.
        generation: Greedy.
        stream: Whether the reply is wanted piece by piece.
        include_usage: Whether the stream tells the token counts at its end.
        first_text: What `/generate` repeats before the reply.
        is_tgi: Whether `/generate` was asked in TGI's form.
        with_details: Whether TGI's form tells how the reply ended.
    """

    model: str | None
    clips: tuple[ClipReference, ...]
    prompt: Prompt
    generation: Generation
    stream: bool = False
    include_usage: bool = False
    first_text: str = ""
    is_tgi: bool = False
    with_details: bool = False


M = TypeVar("M", bound=BaseModel)


def read_body(kind: type[M], body: bytes) -> M:
    """A request's body, whatever its content type says.

    Raises:
        Refusal: 422, it is no JSON of that shape.
    """
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        # Without the input: a body may be large, and be nobody else's business.
        problems = error.errors(include_url=False, include_context=False, include_input=False)
    raise Refusal(INVALID, "; ".join(_problem(found) for found in problems[:_MAX_PROBLEMS]))


def _problem(found: Any) -> str:
    place = ".".join(str(part) for part in found["loc"])
    return one_line(f"{place}: {found['msg']}" if place else found["msg"])[:300]


def parts_of(content: str | Sequence[Part]) -> list[Part]:
    """A message's parts; a string is one text."""
    return [TextPart(type="text", text=content)] if isinstance(content, str) else list(content)


def texts_of(parts: Iterable[Part]) -> list[str]:
    """The texts among the parts."""
    return [part.text for part in parts if isinstance(part, TextPart)]


def joined(parts: Iterable[Part]) -> str:
    """The question: all texts, a line each."""
    return "\n".join(texts_of(parts))


def clips_of(parts: Iterable[Part], first: int) -> list[ClipReference]:
    """The clips among the parts, counted from `first`."""
    found: list[ClipReference] = []
    for part in parts:
        name = f"clip {first + len(found)}"
        if isinstance(part, AudioUrlPart):
            address = part.audio_url
            url = address if isinstance(address, str) else address.url
            found.append(ClipReference(name, address=url))
        elif isinstance(part, InputAudioPart):
            found.append(ClipReference(name, encoded=part.input_audio.data))
    return found


def check_size(clips: Sequence[ClipReference], texts: Iterable[str]) -> None:
    """Refuses what no model here is asked.

    Raises:
        Refusal: 422, no clip, too many, or too much text.
    """
    if not clips:
        raise Refusal(INVALID, "no clip; add a part of type audio_url or input_audio")
    if len(clips) > MAX_CLIPS:
        raise Refusal(INVALID, f"{len(clips)} clips; at most {MAX_CLIPS}")
    num_characters = sum(map(len, texts))
    if num_characters > MAX_TEXT_CHARACTERS:
        raise Refusal(INVALID, f"{num_characters} characters; at most {MAX_TEXT_CHARACTERS}")


def refuse_changes(asked: BaseModel, neutral: dict[str, tuple[Any, ...]]) -> None:
    """Refuses settings that would change a greedy reply, rather than passing over them.

    Args:
        asked: The request, or a part of it with such settings.
        neutral: Per field the values that change nothing; None always does.

    Raises:
        Refusal: 422.
    """
    for name, allowed in neutral.items():
        value = getattr(asked, name)
        if value is not None and value not in allowed:
            raise Refusal(
                INVALID,
                f"{name}: replies are greedy; send {json.dumps(allowed[0])} or leave it out",
            )


def num_tokens(asked: int | None, longest: int) -> int:
    """The longest reply.

    Raises:
        Refusal: 422, more than the server gives.
    """
    if asked is None:
        return min(DEFAULT_TOKENS, longest)
    if asked > longest:
        raise Refusal(INVALID, f"max_tokens: {asked} is more than {longest}, this server's limit")
    return asked
