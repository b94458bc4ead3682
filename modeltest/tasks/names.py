"""How a reply may name an option: the names' inflected forms, and finding them in a text."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

WORD_CHARACTERS = r"0-9A-Za-z\u00c0-\u024f\u0370-\u1fff"
"""Scripts that put spaces between words, for use inside `[…]`. Chinese, Japanese and Korean
are left out: there a name may begin or end in the middle of a run of characters."""

_JOINT = r"(?:[ \n_-]*|\s(?:of\s)?(?:(?:a|an|the|my|your|his|her|its|our|their|one's)\s)?)"
_IS_WORD_CHARACTER = re.compile(f"[{WORD_CHARACTERS}]")
_JOINTS = re.compile(r"[\s_-]+")
_VOWELS = "aeiou"
_MIN_INFLECTED = 3


def inflections(word: str) -> frozenset[str]:
    """The regular English endings of a lower-case word: cough, coughs, coughed, coughing.

    Words that are not plain English letters, or shorter than three, stay as they are.
    """
    if len(word) < _MIN_INFLECTED or not (word.isascii() and word.isalpha()):
        return frozenset({word})
    if word.endswith("e") and word[-2] not in "eoy":
        return frozenset({word, word + "s", word + "d", word[:-1] + "ing"})
    if word.endswith("y") and word[-2] not in _VOWELS:
        return frozenset({word, word[:-1] + "ies", word[:-1] + "ied", word + "ing"})
    plural = "es" if word.endswith(("s", "x", "z", "ch", "sh")) else "s"
    stem = word + word[-1] if _doubles(word) else word
    return frozenset({word, word + plural, stem + "ed", stem + "ing"})


def _doubles(word: str) -> bool:
    """True for one-syllable words such as hum: humming, hummed."""
    return re.fullmatch(r"[^aeiou]*[aeiou][^aeiouwxy]", word) is not None


def _forms_in_phrase(word: str) -> frozenset[str]:
    """Like `inflections`; also undoes -ing, which a word by itself forbids (evening, even)."""
    forms = inflections(word)
    if not re.fullmatch(r"[a-z]*[aeiou][a-z]*[a-z]ing", word):
        return forms
    stem = word[:-3]
    stems = {stem, stem + "e"} | ({stem[:-1]} if stem[-1] == stem[-2] else set())
    return forms.union(*(inflections(each) for each in stems))


def _pattern(name: str) -> str:
    """Matches a name: its words inflected, joined by a space, a hyphen, nothing or `his`."""
    words = [word for word in _JOINTS.split(name.lower()) if word]
    forms = inflections if len(words) == 1 else _forms_in_phrase
    body = _JOINT.join(
        "(?:" + "|".join(sorted(map(re.escape, forms(word)), key=len, reverse=True)) + ")"
        for word in words
    )
    return body + (f"(?![{WORD_CHARACTERS}])" if _IS_WORD_CHARACTER.match(words[-1][-1]) else "")


def _key(name: str) -> str:
    return _JOINTS.sub("", name.lower())


@dataclass(frozen=True, slots=True)
class NameFinder:
    """Finds the names of options in a text.

    Attributes:
        spaced: Matches a character that is no part of a word, then a name that begins a word.
        unspaced: Matches a name in a script without spaces.
        spelled: Options by a name's exact spelling, spaces and hyphens left out.
        inflected: Per option, what matches any form of its names.
    """

    spaced: re.Pattern[str]
    unspaced: re.Pattern[str]
    spelled: dict[str, frozenset[int]]
    inflected: tuple[re.Pattern[str], ...]

    def mark(self, text: str, mark_of: Callable[[int | None], str]) -> str:
        """`text` with every name replaced by `mark_of(index of its option)`.

        The index is None for a name that two options own.

        Args:
            text: Begins with a blank, so that a name has a character before it.
            mark_of: What to put in a name's place.
        """
        text = self.spaced.sub(lambda match: match[0][0] + mark_of(self._owner(match[0][1:])), text)
        return self.unspaced.sub(lambda match: mark_of(self._owner(match[0])), text)

    def _owner(self, found: str) -> int | None:
        """An exact spelling goes before an inflected form."""
        owners = self.spelled.get(_key(found)) or {
            index for index, each in enumerate(self.inflected) if each.fullmatch(found)
        }
        return next(iter(owners)) if len(owners) == 1 else None


def find_names(names: Sequence[Sequence[str]]) -> NameFinder:
    """Compiles the finder of options whose names are `names[i]`.

    A name that is one letter, or has no letter or digit, is left out: it would be found
    where nobody meant it.
    """
    usable = [[name for name in each if _is_usable(name)] for each in names]
    spelled: dict[str, set[int]] = {}
    for index, each in enumerate(usable):
        for name in each:
            spelled.setdefault(_key(name), set()).add(index)
    every = sorted({name for each in usable for name in each}, key=_length, reverse=True)
    spaced = [_pattern(name) for name in every if _IS_WORD_CHARACTER.match(name[0])]
    unspaced = [_pattern(name) for name in every if not _IS_WORD_CHARACTER.match(name[0])]
    return NameFinder(
        # A set of characters comes first because `re` skips fast to the next one of a set.
        spaced=re.compile(f"[^{WORD_CHARACTERS}](?i:{_any(spaced)})"),
        unspaced=re.compile(f"(?i:{_any(unspaced)})"),
        spelled={key: frozenset(owners) for key, owners in spelled.items()},
        inflected=tuple(re.compile(_any(map(_pattern, each)), re.IGNORECASE) for each in usable),
    )


def _is_usable(name: str) -> bool:
    is_letter = re.fullmatch(r"[\s.:()_-]*[A-Za-z][\s.:()_-]*", name) is not None
    return not is_letter and any(character.isalnum() for character in name)


def _length(name: str) -> tuple[int, int]:
    """Longer names first, so that "dog bark" is not read as "dog"."""
    return len(_JOINTS.split(name)), len(name)


def _any(patterns: Iterable[str]) -> str:
    """Alternation of patterns; of none, a pattern that never matches."""
    return "(?:" + ("|".join(patterns) or "(?!)") + ")"
