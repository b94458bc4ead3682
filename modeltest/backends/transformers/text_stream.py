"""The text of replies while their tokens come, in pieces that are never taken back.

A token of a byte-level vocabulary can end in the middle of a character; what it has of it is
held back until the rest is there.
"""

from __future__ import annotations

from typing import Any

from modeltest.backends.transformers.fast import Limits
from modeltest.protocols import OnText

_REPLACEMENT = "\ufffd"


class ReplyText:
    """One reply. Its pieces add up to the text of all its tokens, special tokens left out."""

    def __init__(self, tokenizer: Any, joins: bool = True) -> None:
        """Begins.

        Args:
            tokenizer: Of the model.
            joins: It is byte-level, so that the texts of whole characters can be joined. Of
                any other the text is made anew with each token: the first token of a text
                loses a space that it keeps further on.
        """
        self._tokenizer = tokenizer
        self._joins = joins
        self._open: list[int] = []
        self._num_shown = 0

    def take(self, token: int) -> str:
        """What can be shown with one token more."""
        self._open.append(token)
        text = self._text()
        # A character that is not whole yet looks like one that cannot be decoded.
        certain = text.rstrip(_REPLACEMENT)
        piece = certain[self._num_shown :]
        if certain == text and self._joins:
            self._open, self._num_shown = [], 0
        else:
            self._num_shown = len(certain)
        return piece

    def rest(self) -> str:
        """What was held back, for when no more tokens come."""
        piece = self._text()[self._num_shown :]
        self._open, self._num_shown = [], 0
        return piece

    def _text(self) -> str:
        return str(
            self._tokenizer.decode(
                self._open, skip_special_tokens=True, clean_up_tokenization_spaces=False
            )
        )


class BatchText:
    """Tells of the replies of a batch, step by step."""

    def __init__(self, tokenizer: Any, limits: Limits, on_text: OnText, joins: bool = True) -> None:
        """Begins.

        Args:
            tokenizer: See `ReplyText`.
            limits: When the replies end.
            on_text: Told of every piece that is not empty.
            joins: See `ReplyText`.
        """
        self._tokenizer = tokenizer
        self._limits = limits
        self._on_text = on_text
        self._joins = joins
        self._replies: list[ReplyText] = []
        self._tokens: list[list[int]] = []
        self._running: list[int] = []

    def step(self, tokens: Any, not_finite: Any) -> None:
        """Takes the next token of each row; waits for the device.

        Args:
            tokens: (B,) int64; those of rows that ended have no meaning.
            not_finite: (B,) bool, rows whose logits were NaN or infinite: they have no text.
        """
        chosen = tokens.tolist()
        if not self._replies:
            self._replies = [ReplyText(self._tokenizer, self._joins) for _ in chosen]
            self._tokens = [[] for _ in chosen]
            self._running = list(range(len(chosen)))
        broken = not_finite.tolist()
        self._running = [row for row in self._running if not broken[row]]
        ended = {row for row in self._running if self._take(row, chosen[row])}
        self._running = [row for row in self._running if row not in ended]

    def _take(self, row: int, token: int) -> bool:
        """Whether the row's reply ends with this token."""
        reply, tokens = self._replies[row], self._tokens[row]
        tokens.append(token)
        piece = reply.take(token)
        is_last = len(tokens) == self._limits.max_new_tokens or self._limits.end_with(tokens)
        if is_last:
            piece += reply.rest()
        if piece:
            self._on_text(row, piece)
        return is_last
