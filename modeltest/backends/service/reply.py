"""What a reply is made of, whichever route it came by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from json import JSONDecodeError
from typing import Any, Protocol

from modeltest.backends.service.failures import AskError, reported_error, shortened
from modeltest.plain_files import strict_json
from modeltest.records import Request


@dataclass(frozen=True, slots=True)
class Reply:
    """One whole reply.

    Attributes:
        text: What the model said.
        finish_reason: `stop` or `length`; empty where the route does not tell.
        input_tokens: As the service counted them, or None.
        audio_tokens: Those among them that stand for audio, or None.
        output_tokens: As the service counted them, or None.
    """

    text: str
    finish_reason: str = ""
    input_tokens: int | None = None
    audio_tokens: int | None = None
    output_tokens: int | None = None


class ReplyStream(Protocol):
    """Reads a streamed body."""

    @property
    def tells_its_end(self) -> bool:
        """Whether a cut shows in what the stream holds, and not in how its body ends alone."""
        ...

    @property
    def is_done(self) -> bool:
        """Whether the stream said that nothing follows."""
        ...

    def feed(self, octets: bytes) -> list[str]:
        """The pieces of text that the next bytes of the body complete, none of them empty.

        Raises:
            AskError: They are not what a stream of this route holds.
        """
        ...

    def end(self) -> Reply:
        """The reply, once the body ended in order.

        Raises:
            AskError: It is not complete.
        """
        ...


class Route(Protocol):
    """How one kind of service is asked; nothing here touches the network."""

    @property
    def path(self) -> str:
        """Below the service's base URL."""
        ...

    @property
    def can_stream(self) -> bool:
        """Whether replies can come in pieces."""
        ...

    @property
    def sampling(self) -> Mapping[str, Any]:
        """Keys that make decoding greedy."""
        ...

    def body(self, request: Request, clips: list[str]) -> dict[str, Any]:
        """The request as JSON values, `streaming` left out; `clips` are URLs or base64."""
        ...

    def streaming(self, stream: bool) -> dict[str, Any]:
        """The keys that ask for a stream, or for none."""
        ...

    def read(self, value: Any, request: Request) -> Reply:
        """The reply that a body of JSON holds.

        Raises:
            AskError: It is none, or not complete.
        """
        ...

    def new_stream(self) -> ReplyStream:
        """Reads one streamed reply."""
        ...


def json_value(octets: bytes) -> Any:
    """A body's or a chunk's JSON value: UTF-8, no NaN, no key twice, not nested too deeply.

    Raises:
        AskError: It is none, or holds an error.
    """
    try:
        value = strict_json(octets.decode("utf-8"))
    except RecursionError:
        raise AskError("the reply is JSON that is nested too deeply") from None
    except (JSONDecodeError, UnicodeDecodeError) as error:
        raise AskError(f"the reply is not JSON ({shortened(str(error))})") from None
    except ValueError:
        reason = "NaN, a key twice, or a number of thousands of digits"
        raise AskError(f"the reply is JSON that is refused: {reason}") from None
    if failure := reported_error(value):
        raise failure
    return value


def count(usage: Any, *keys: str) -> int | None:
    """A count of tokens, by its path of keys; None where the service gives none."""
    for key in keys:
        usage = usage.get(key) if isinstance(usage, Mapping) else None
    return usage if type(usage) is int and 0 <= usage < 1 << 31 else None
