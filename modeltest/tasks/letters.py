"""Where a single letter in a reply is meant as an option, and not as a word or a part of one.

Works on text in which every option's name already is one mark (see `NAME_MARKS`), so the
rules know no names. Each rule below is one way to mean a letter; a letter that no rule
finds is not meant. `find_letters` documents them in the order in which they are tried.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from modeltest.tasks.names import WORD_CHARACTERS

NAME_MARKS = "\ue000-\ue0ff"
"""Private-use characters that stand for options' names, for use inside `[…]`."""

LETTER_MARKS = "\ue100-\ue1ff"
"""Private-use characters that stand for letters found to be meant."""

_NAME = f"[{NAME_MARKS}]"
_BEFORE_WORD = f"[^{WORD_CHARACTERS}']"
_LETTER_ENDS = f"(?![{WORD_CHARACTERS}]|'[A-Za-z])"
_OPEN = r"[\"'(\[{$]*"
_CLOSE = r"[\"')\]}$]*"
_WIDE = r"[\u3001-\ud7ff\uff00-\uffef]"
_SUBJECT_OF = (
    r"is (?:the |most |more |probably |clearly |much )*"
    r"(?:correct|right|best|better|answer|closest|closer|likely|probable|plausible|preferable)"
)
_CONJUNCTIONS = r"because|since|as|for|due|but|and|or|not|rather|which"
_AFTER_LETTER = (
    rf"(?=\s*(?:$|\n|[.!?;:,/=&。，！？；、]|[-–—]\s|(?:{_CONJUNCTIONS}|{_SUBJECT_OF})\b)"
    rf"|[{NAME_MARKS}]|{_WIDE})"
)
"""What follows a letter and cannot follow the article "a": an end, punctuation, a conjunction."""

_RELABELLED = (
    r"(?!\s*[=-]>\s*[A-Z]\b)(?!\s*[:.)=]\s*(?:\d"
    r"|(?!(?:yes|correct|true|right)\b)[A-Za-z]+(?: [A-Za-z]+)?[\s.!]*\Z))"
)
"""Not "C: Yawn", "C: 0.2" or "C => D": a letter with another short name, number or letter."""


def _meant(letters: str, consonants: str) -> tuple[str, ...]:
    """The rules; `letters` are those that can be meant, `consonants` those that are no article."""
    upper, either = f"[{letters}]", f"[{letters}{letters.lower()}]"
    plain = f"[{consonants}{consonants.lower()}]"
    one_more = (
        rf"\s*(?:[,/&+、]|\b(?:and|or)\b|和|或者?|与)\s*{_OPEN}{upper}"
        rf"{_LETTER_ENDS}{_CLOSE}{_AFTER_LETTER}"
    )
    more = f"(?:{one_more})*"
    careful = f"{either}{_LETTER_ENDS}{_CLOSE}{_AFTER_LETTER}{more}"
    after_cue = f"(?P<letters>{careful}|{plain}{_LETTER_ENDS}{_CLOSE}{more})"
    return (
        _CUE + after_cue,
        rf"(?P<before>(?i:option|choice|letter) )(?P<letters>{upper}){_LETTER_ENDS}",
        rf"(?P<before>[(\[{{])(?P<letters>{upper}|(?<![\w{NAME_MARKS}][(\[{{]){either})(?=[)\]}}])",
        rf"(?P<before>[.!?\n。](?:(?<=[\n。])| )\s*[>\-–—•#]*\s*{_OPEN})"
        rf"(?P<letters>{either}{_LETTER_ENDS}{_CLOSE}{_RELABELLED}{_AFTER_LETTER}{more})",
        rf"(?P<before>{_BEFORE_WORD})(?P<letters>{either}{_LETTER_ENDS}{_CLOSE}"
        rf"(?=\s*(?:[=-]>|[:.)=])\s*{_OPEN}(?:{_NAME}|(?i:yes|no|true|false)\b))"
        rf"|{upper}(?=\s?\({_NAME})|[{consonants}]{_CLOSE}(?=\s*[-–—,]?\s*{_NAME}))",
        rf"(?P<before>{_BEFORE_WORD})(?P<letters>{upper}{_CLOSE}(?:{one_more})+)",
        _COMPLEMENT + rf"(?P<letters>{upper}{_LETTER_ENDS}{_CLOSE}{_AFTER_LETTER}{more})",
        rf"(?P<before>{_BEFORE_WORD})(?P<letters>{upper}{_LETTER_ENDS}{_CLOSE})(?=\s+{_SUBJECT_OF}\b)",
        rf"(?P<before>{_NAME}(?:[:,=]\s?| [-–—] ))(?P<letters>{upper}){_CLOSE}(?=\W*(?:$|\n))",
    )


_CUE = (
    rf"(?P<before>{_BEFORE_WORD}(?:(?i:answers?|options?|choices?|choose|chose|chosen|selected"
    rf"|select|picked|pick|guess|prediction|boxed|assistant)(?![{WORD_CHARACTERS}]|'[A-Za-z])"
    rf"(?i: (?:letter|number))?"
    rf"|答案|选项|选择|选|应选)"
    rf"[\"']?\s*(?i:(?:is|are|was|(?:would|should|must|might|could) be|应该是|应为|是|为|选)\s*)?"
    rf"(?i:(?:most likely|likely|probably|clearly|definitely)\s)?[:=>\-–—]*\s*{_OPEN})"
)
_COMPLEMENT = (
    rf"(?P<before>{_BEFORE_WORD}(?:(?i:is|it's|that's|be|likely|probably|definitely"
    rf"|(?:go|going|went) with|i(?:'d| would)? say|think|believe|and|or"
    rf"|sounds like|closest to|corresponds to"
    rf"|(?:actually|maybe|perhaps|sorry|wait|no),?)\s|(?:是|像)\s?))"
)


@dataclass(frozen=True, slots=True)
class LetterFinder:
    """Replaces meant letters by marks.

    Attributes:
        rules: The compiled rules, in the order in which they are tried.
    """

    rules: tuple[re.Pattern[str], ...]

    def mark(self, text: str, mark_of: Callable[[str], str]) -> str:
        """`text` with every meant letter replaced by `mark_of(capital letter)`.

        Args:
            text: Begins with a line break, so that a letter has a character before it.
            mark_of: What to put in a letter's place.
        """

        def replace(match: re.Match[str]) -> str:
            found = re.findall(r"(?<![A-Za-z])[A-Za-z](?![A-Za-z])", match["letters"])
            return match["before"] + " ".join(mark_of(letter.upper()) for letter in found)

        for rule in self.rules:
            text = rule.sub(replace, text)
        return text


def find_letters(letters: str) -> LetterFinder:
    """Compiles the rules for a task whose options have the capital `letters`.

    Letters of no option are found too, since "G" is no answer among A to F; except I,
    the pronoun, unless it is an option's. A letter is meant:

    1. after a cue: "answer", "answer is", "option", "choose", "boxed", 答案, 选;
       the article-like a only before an end, punctuation or a conjunction;
    2. as a capital right after "option" or "choice";
    3. in brackets: "(C)";
    4. at the start of a line or sentence before an end, punctuation, "because", "is correct";
       but not if a number or another short name follows ("C: Yawn");
    5. right before an option's name: "C: Cough", "C (Cough)", "C - Cough", "C Cough";
    6. as capitals in a list: "either B or D", which 1, 4 and 7 may be followed by, too;
    7. as a capital and complement: "it's C.", "most likely C", "or C", "actually, C";
    8. as a capital that is called right: "but D is more likely";
    9. as a capital right after a name, at the end: "Cough, C".
    """
    known = "".join(
        chr(code) for code in range(ord("A"), ord("Z") + 1) if chr(code) != "I" or "I" in letters
    )
    no_articles = known.replace("A", "").replace("I", "")
    return LetterFinder(tuple(re.compile(rule) for rule in _meant(known, no_articles)))
