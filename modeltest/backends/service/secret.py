"""The API key: sent in one header, and taken out of every text that comes back."""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Callable, Iterator
from urllib.parse import quote

from modeltest.backends.service.failures import CUT
from modeltest.errors import ModelError

SHOWN_INSTEAD = "[API key]"
_TELLING = 4
MIN_LENGTH = 8
"""Of a shorter one every occurrence in ordinary text would have to go."""


class Secret:
    """An API key, or none; neither `repr` nor an attribute's name gives it away."""

    def __init__(self, value: str = "") -> None:
        self._value = value
        forms = sorted({form.lower() for form in _forms(value)}, key=len, reverse=True)
        self._forms = forms if value else []
        self._pattern = re.compile("|".join(map(re.escape, self._forms)), re.IGNORECASE)

    def __repr__(self) -> str:
        return f"Secret({SHOWN_INSTEAD if self._value else 'none'})"

    @property
    def headers(self) -> dict[str, str]:
        """What proves the right to ask (RFC 6750)."""
        return {"Authorization": f"Bearer {self._value}"} if self._value else {}

    def cleaned(self, text: str) -> str:
        """The text without the key, spelled plainly, in base64, in hex or for a URL.

        Where the text was shortened, a beginning of the key goes, too.
        """
        if not self._forms:
            return text
        *cut, last = self._pattern.sub(SHOWN_INSTEAD, text).split(CUT)
        return CUT.join((*map(self._without_beginning, cut), last))

    def _without_beginning(self, text: str) -> str:
        num = self.held_back(text)
        return text[: len(text) - num] + SHOWN_INSTEAD if num >= _TELLING else text

    def held_back(self, text: str) -> int:
        """How many characters at the end of a text may be the beginning of the key."""
        longest = max(map(len, self._forms), default=1) - 1
        for num in range(min(longest, len(text)), 0, -1):
            tail = text[-num:].lower()
            if any(form.startswith(tail) for form in self._forms):
                return num
        return 0


class CleanPieces:
    """Passes a text on that comes in pieces, without the key, whichever way it is cut."""

    def __init__(self, secret: Secret, tell: Callable[[str], None]) -> None:
        """Nothing was said yet.

        Args:
            secret: What nobody is told.
            tell: Told all else, piece by piece.
        """
        self._secret = secret
        self._tell = tell
        self._waiting = ""

    def add(self, piece: str) -> None:
        """Tells what cannot be the beginning of the key."""
        text = self._secret.cleaned(self._waiting + piece)
        num_shown = len(text) - self._secret.held_back(text)
        self._waiting = text[num_shown:]
        if num_shown:
            self._tell(text[:num_shown])

    def end(self) -> None:
        """Tells the rest: nothing follows."""
        if self._waiting:
            self._tell(self._waiting)
        self._waiting = ""


def api_key(variable: str | None) -> Secret:
    """The key that an environment variable holds.

    Args:
        variable: Its name; None where the service wants no key.

    Raises:
        ModelError: It is not set, or holds no key; the message does not hold it.
    """
    if variable is None:
        return Secret()
    value = os.environ.get(variable, "")
    if not value:
        raise ModelError(
            f"api_key_env: the environment variable {variable} is not set; set it to the "
            "service's API key"
        )
    if not (value.isascii() and value.isprintable() and " " not in value):
        raise ModelError(
            f"api_key_env: {variable} holds characters that no API key has (spaces, line ends, "
            "letters beyond ASCII); set it anew"
        )
    if len(value) < MIN_LENGTH:
        raise ModelError(
            f"api_key_env: {variable} holds fewer than {MIN_LENGTH} characters, too few to be kept "
            "secret; take a longer key, or delete api_key_env if the service needs none"
        )
    return Secret(value)


def _forms(value: str) -> Iterator[str]:
    octets = value.encode()
    yield value
    yield quote(value, safe="")
    yield octets.hex()
    for shift in range(3):  # inside a longer text a key begins anywhere in a group of three bytes
        encoded = base64.b64encode(b"\0" * shift + octets).decode()
        # The first and the last characters depend on what stands beside the key.
        core = encoded[(0, 2, 3)[shift] : (len(octets) + shift) * 8 // 6]
        if len(core) >= MIN_LENGTH:
            yield core
            yield core.translate(str.maketrans("+/", "-_"))
