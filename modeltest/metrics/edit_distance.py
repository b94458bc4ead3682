"""How far two texts are apart, letter by letter."""

from __future__ import annotations


def edit_distance_share(first: str, second: str) -> float:
    """Letters to substitute, insert and delete, over the letters of both texts.

    0 for equal texts, 1 where only one of them is empty. Two texts of one length that share
    nothing have 0.5, so this is no error rate.

    Source: the agreement score of MindIE-LLM's `multiaudio_acc.py`, re-expressed.
    """
    from rapidfuzz.distance import Levenshtein

    num_letters = len(first) + len(second)
    return int(Levenshtein.distance(first, second)) / num_letters if num_letters else 0.0
