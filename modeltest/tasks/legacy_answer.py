"""The answer rule of MindIE-LLM's `modeltest`, kept for comparison only.

It lets earlier figures be checked against new ones on the same replies. It misreads many
of them: any capital A counts as the first option, so "A person is coughing" is laughter.
"""

from __future__ import annotations

from collections.abc import Sequence

from modeltest.tasks.answers import Choice


def read_answer_legacy(reply: str, choices: Sequence[Choice]) -> str | None:
    """Label that the original tool reads out of `reply`, or None.

    The first choice, in their order, whose text occurs in any case, or whose capital letter
    occurs anywhere.

    Source: the rule of MindIE-LLM's modeltest (its VocalSound task), re-expressed.
    """
    folded = reply.lower()
    for choice in choices:
        if choice.text.lower() in folded or choice.letter in reply:
            return choice.label
    return None
