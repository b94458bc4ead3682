"""Reads the chosen option out of a reply: the rule `letter_or_name`.

The rule looks for what the reply means and would rather read nothing (None, unparsed) than
something that was not meant:

1. The reply is normalised (Unicode NFKC); special tokens, tags and emphasis marks are
   dropped, and so is all before `</think>` and all after a `<think>` that never ends.
2. A reply that is exactly an option ("C", "C: Cough", "cough.") is that option.
3. A repeated list of all options, and questions, say nothing and are dropped.
4. Names of options are found as whole words in any case: the option's text, its label
   (unless it has digits or is one letter) and its other `words`, with a space, a hyphen or
   nothing between their words, and with the regular English endings ("coughing", "clears
   her throat").
5. Letters are found where they are meant, for instance alone, in "C:", in "(C)" or after
   "answer is" (`modeltest.tasks.letters` lists all ways). The article "a" is no letter. A
   letter of no option stands for an option that does not exist.
6. What is denied does not count: "not laughter", "rather than a sigh", "cough is unlikely".
7. If exactly one option is left, named once or often, by name or by letter, and it is not
   denied elsewhere, it is the answer.
8. If several are left, the last verdict ("the answer is …", "most likely …", "this is a …")
   decides, provided that it names one option which was among those weighed before it.
9. Otherwise the reply is unparsed: two options, a letter and a name that disagree, none.

A change here that gives any reply another answer raises the version of every task.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from modeltest.tasks.letters import LETTER_MARKS, NAME_MARKS, LetterFinder, find_letters
from modeltest.tasks.names import WORD_CHARACTERS, NameFinder, find_names


@dataclass(frozen=True, slots=True)
class Choice:
    """One option.

    Attributes:
        letter: The capital letter that the prompt shows.
        label: The label as the data spells it; what `read_answer` returns.
        text: The option as the prompt spells it.
        words: Other names of the option, in any language.
    """

    letter: str
    label: str
    text: str
    words: tuple[str, ...] = ()


def read_answer(reply: str, choices: Sequence[Choice]) -> str | None:
    """Label of the option that `reply` means, or None if it means none or several.

    Args:
        reply: What the model wrote; any text.
        choices: All options of the question.

    Returns:
        The `label` of one of `choices`, or None (unparsed). Never raises on any text.
    """
    reader = _reader(tuple(choices))
    text = _plain(reply)
    key = _key(text)
    if key in reader.exact:
        return reader.exact[key]
    index = _decide(reader.mark(text))
    return None if index is None else reader.labels[index]


_UNKNOWN = 0xFF
_FIRST_NAME, _FIRST_LETTER = ord(NAME_MARKS[0]), ord(LETTER_MARKS[0])
_MARK = f"[{NAME_MARKS}{LETTER_MARKS}]"

_UNFINISHED_THOUGHT = re.compile(r"<think>.*", re.DOTALL)
_TAG = re.compile(
    r"<(?:\|[^<>]*\||/?(?:s|b|i|p|br|em|strong|answer|final_answer|response|bos|eos|pad|unk)\s?/?)>",
    re.IGNORECASE,
)
_PRIVATE_USE = re.compile(r"[\ue000-\uf8ff]")
_QUOTES = str.maketrans("‘’“”「」", '\'\'""""')
_CHINESE_AFTER_WORD = re.compile(r"[\u3040-\ud7ff](?<=[A-Za-z]{2}.)")
_QUESTION = re.compile(
    r"(?P<end>[.!?\n。])\s*(?i:(?:is|are|was|were|does|did|can|could|would|should|what|which)\b"
    r"[^.!?\n]*|[^.!?\n。]*吗)(?=\?)"
)

# The patterns below run on lower-case text that begins with a line break. They begin with a
# set of characters because `re` skips fast to the next one of a set.

_DETERMINER = r"(?:(?:an?|any|the)\s)?"
_NOT_A_DENIAL = rf"(?!\s(?:{_DETERMINER}(?:doubt|question)|only|just|merely|stop|help|other)\b)"
_CONTRAST = r"\b(?:but|however|yet|although|though|instead(?!\sof))\b|而"
_DENIED_AFTER = re.compile(
    rf"[^a-z](?:(?:except(?:\sfor)?|other\sthan|apart\sfrom|not|no|non|never|neither|nor|hardly|without|cannot|instead\sof|rather\sthan|unlike|lacks?"
    rf"|lack\sof|absence\sof|nothing|none|exclud\w+|rul\w+\sout|(?:less|un)likely|unsure"
    rf"|uncertain|whether|(?<!as\s)if|(?<!other\s)than)\b{_NOT_A_DENIAL}"
    rf"(?P<denied>(?:(?!{_CONTRAST})[^.!?;:,\n。])*"
    rf"(?:(?:,\s?{_DETERMINER}{_MARK}+)+,?\s(?:or|nor|and)\s{_DETERMINER}{_MARK}+)?)"
    rf"|(?:不是|不像|不属于|没有|并非|而非|无法|不能|不确定|听不)"
    rf"(?P<denied_zh>(?:(?!{_CONTRAST})[^.!?;:,\n。])*))"
)
_DENIED_BEFORE = re.compile(
    rf"(?P<denied>{_MARK}+)[\"')\]]*(?:"
    r"\s(?:is|was|are|were|does|do|did|has|have|can|could|would|should|seems?|sounds?)"
    r"(?:\s(?:be|been|very|quite|clearly|highly|most|seems?))*\s?"
    r"(?:not|never|(?:less|un)likely|absent|wrong|incorrect|impossible|excluded|ruled\sout)\b"
    r"|\s?[:=?\-–—(]+\s?(?:not?|unlikely|incorrect|wrong|false)(?=\s?(?:[.,;)\n]|\Z)))"
)
_VERDICT = re.compile(
    r"[^a-z](?:(?:answer|choice|option)(?:\s(?:is|(?:would|should|must)\sbe)\b|\s?:)"
    r"|(?:more|most)\s(?:likely|probably)\s(?!or\b|and\b)"
    r"|(?:(?:but|so|think|believe|say)\s|(?<=[,.;:!?\n])|(?<=[,.;:!?\n]\s))this\sis\s(?=an?\s)"
    r"|(?:therefore|thus|in\sconclusion)\b"
    r"|i(?:'d|'ll|\swould|\swill)?\s(?:choose|pick|select|go\swith)\b"
    r"|答案|最可能|因此|所以|更像)"
)
_LETTER_BEFORE_NAME = re.compile(
    rf"([{LETTER_MARKS}])[\"')\]}}]*\s?[:.)=,–—-]*\s?[\"'(\[{{]*(?=[{NAME_MARKS}])"
)


@dataclass(frozen=True, slots=True)
class _Reader:
    """What is compiled once per set of options.

    Attributes:
        labels: By index of the option.
        exact: Whole replies that are an option; None where two options share one.
        names: Finds names.
        letters: Finds letters.
        letter_marks: Mark of each option's letter.
        echo: Matches the list of all options.
    """

    labels: tuple[str, ...]
    exact: dict[str, str | None]
    names: NameFinder
    letters: LetterFinder
    letter_marks: dict[str, str]
    echo: re.Pattern[str]

    def mark(self, text: str) -> str:
        """`text` in lower case with each mention of an option, by name or letter, as one mark."""
        text = _QUESTION.sub(r"\g<end>", self.echo.sub("\n", "\n" + text))
        text = self.names.mark(text, self._name_mark)
        text = self.letters.mark(text, self._letter_mark)
        return _LETTER_BEFORE_NAME.sub(r"\1", text).lower().replace("n't", " not")

    def _name_mark(self, index: int | None) -> str:
        return chr(_FIRST_NAME + (_UNKNOWN if index is None else index))

    def _letter_mark(self, letter: str) -> str:
        return self.letter_marks.get(letter, chr(_FIRST_LETTER + _UNKNOWN))


@lru_cache(maxsize=64)
def _reader(choices: tuple[Choice, ...]) -> _Reader:
    names = [tuple(map(_plain, _names_of(choice))) for choice in choices]
    return _Reader(
        labels=tuple(choice.label for choice in choices),
        exact=_exact_replies(choices, names),
        names=find_names(names),
        letters=find_letters("".join(choice.letter for choice in choices)),
        letter_marks={
            choice.letter: chr(_FIRST_LETTER + index) for index, choice in enumerate(choices)
        },
        echo=_echo(choices),
    )


def _names_of(choice: Choice) -> tuple[str, ...]:
    """A label that is a code (`0`, `f`, `m_01`) is no name: the model was not shown it."""
    is_code = len(choice.label) == 1 or any(character.isdigit() for character in choice.label)
    return (choice.text, *choice.words) if is_code else (choice.text, choice.label, *choice.words)


def _exact_replies(
    choices: Sequence[Choice], names: Sequence[tuple[str, ...]]
) -> dict[str, str | None]:
    exact: dict[str, str | None] = {}
    for choice, own in zip(choices, names, strict=True):
        for key in {_key(name) for name in (choice.letter, *own)} - {""}:
            exact[key] = None if key in exact else choice.label
    for choice in choices:
        exact[_key(_plain(f"{choice.letter}: {choice.text}"))] = choice.label
    return exact


def _echo(choices: Sequence[Choice]) -> re.Pattern[str]:
    """Matches all options in their order, with or without letters."""
    options = (
        rf"(?:\b{choice.letter}[\s:.)=-]*)?"
        + r"\s".join(map(re.escape, _plain(choice.text).split()))
        for choice in choices
    )
    listed = r"[\s,;/|(\[]*(?:(?:and|or)\s)?[(\[]?".join(options)
    return re.compile(f"[^{WORD_CHARACTERS}](?i:{listed})")


def _plain(reply: str) -> str:
    """Step 1: the text without markup, runs of blanks as one."""
    text = unicodedata.normalize("NFKC", reply).translate(_QUOTES)
    text = _UNFINISHED_THOUGHT.sub("", text.rpartition("</think>")[2])
    text = _PRIVATE_USE.sub("", _TAG.sub("\n", text))
    text = _CHINESE_AFTER_WORD.sub(r" \g<0>", text)
    text = text.replace("*", "").replace("`", "").replace("__", "")
    lines = (" ".join(line.split()) for line in text.split("\n"))
    return "\n".join(line for line in lines if line)


def _key(text: str) -> str:
    """The words alone, so that case and punctuation make no difference."""
    return " ".join(re.findall(r"\w+", text.lower()))


def _decide(text: str) -> int | None:
    """Steps 7 to 9 on marked text: the index of the option."""
    index = _only_option(text)
    if index is not None:
        return index
    verdicts = list(_VERDICT.finditer(text))
    if not verdicts:
        return None
    index = _only_option(text[verdicts[-1].end() - 1 :])
    weighed, _ = _mentions(text[: verdicts[-1].start() + 1])
    return index if index in weighed else None


def _only_option(text: str) -> int | None:
    affirmed, denied = _mentions(text)
    if len(affirmed) != 1 or affirmed & (denied | {_UNKNOWN}):
        return None
    return next(iter(affirmed))


def _mentions(text: str) -> tuple[set[int], set[int]]:
    """Step 6: which options are affirmed and which are denied."""
    denied: list[str] = []

    def collect(match: re.Match[str]) -> str:
        denied.extend(span for span in match.groups() if span)
        return " "

    def collect_after(match: re.Match[str]) -> str:
        return match[0][0] + collect(match)

    affirmed = _DENIED_AFTER.sub(collect_after, _DENIED_BEFORE.sub(collect, text))
    return _options(affirmed), _options("".join(denied))


def _options(text: str) -> set[int]:
    return {ord(mark) & _UNKNOWN for mark in re.findall(_MARK, text)}
