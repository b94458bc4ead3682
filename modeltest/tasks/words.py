"""The words of a text as transcripts are compared: lower case, no punctuation.

The same for references and replies: lower case; every character that Unicode calls
punctuation is dropped, with nothing in its place ("don't" is "dont"); a letter is the same
whether its accent is part of it or follows it (Unicode's NFC); words are what blanks separate.
Text in a script without blanks is one word.
"""

from __future__ import annotations

import unicodedata
from functools import cache
from typing import TYPE_CHECKING

from modeltest.errors import SettingsError

if TYPE_CHECKING:
    import jiwer


def require_jiwer() -> None:
    """Makes sure that transcripts can be scored, long before there are any.

    Raises:
        SettingsError: The library is missing.
    """
    try:
        import jiwer  # noqa: F401 - only whether it is there
    except ImportError as error:
        raise SettingsError(
            f"a transcription task needs the library jiwer: pip install jiwer ({error})"
        ) from error


def plain_words(text: str) -> str:
    """The words of a text, one blank between them; empty where it has none."""
    kept = _punctuation()(text.lower())
    return " ".join(unicodedata.normalize("NFC", kept).split())


def count_word_edits(reference: str, answer: str) -> int:
    """Words to substitute, delete and insert until the reference becomes the answer.

    Args:
        reference: As `plain_words` returns it, at least one word.
        answer: As `plain_words` returns it.
    """
    import jiwer

    found = jiwer.process_words(reference, answer)
    return int(found.substitutions + found.deletions + found.insertions)


@cache
def _punctuation() -> jiwer.RemovePunctuation:
    import jiwer

    return jiwer.RemovePunctuation()
