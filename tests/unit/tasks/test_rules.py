"""Other tools' answer rules, against hand-judged replies and a second way of writing each.

`replies_rules.json` says of every reply what each rule makes of it, worked out by hand from the
rule's description; `answer_cases.json` adds replies that were judged for two of the rules. The
second implementations below know VocalSound's six classes only and go through a reply character by
character or by table.
"""

from __future__ import annotations

import json
import re
import typing
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from modeltest.settings.task_schema import AnswerRuleName
from modeltest.tasks.answers import Choice
from modeltest.tasks.rules import OURS, RULES, original_truth

HERE = Path(__file__).parent
TASK_FILE = Path(__file__).parents[3] / "config" / "task" / "vocalsound.yaml"
VOCALSOUND = tuple(
    Choice(each["letter"], each["label"], each["text"], tuple(each.get("words", ())))
    for each in yaml.safe_load(TASK_FILE.read_text(encoding="utf-8"))["choices"]
)
LABELED = json.loads((HERE / "replies_rules.json").read_text(encoding="utf-8"))
JUDGED = json.loads((HERE / "answer_cases.json").read_text(encoding="utf-8"))
REPLIES = sorted({case["reply"] for case in (*LABELED, *JUDGED)})

LETTERS = ["laughter", "sigh", "cough", "throatclearing", "sneeze", "sniff"]
NAMES = {
    "Laughter": "laughter",
    "Sigh": "sigh",
    "Cough": "cough",
    "Throat clearing": "throatclearing",
    "Sneeze": "sneeze",
    "Sniff": "sniff",
}
LMMS_TABLE = [
    ("laughter", "laughter"),
    ("sniff", "sniff"),
    ("throat", "throatclearing"),
    ("cough", "cough"),
    ("sigh", "sigh"),
    ("sneeze", "sneeze"),
]
PUNCTUATION = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"


def second_original(reply: str) -> str | None:
    hits = set()
    for place, (letter, name) in enumerate(zip("ABCDEF", NAMES, strict=True)):
        if reply.count(letter) or reply.lower().count(name.lower()):
            hits.add(place)
    return LETTERS[min(hits)] if hits else None


def second_aisbench(reply: str) -> str | None:
    match = re.fullmatch(r"([A-F])(.+)", reply, re.DOTALL)
    return LETTERS["ABCDEF".index(match[1])] if match else None


def second_lmms(reply: str) -> str | None:
    small = reply.lower()
    for word, label in LMMS_TABLE:
        if small.find(word) != -1:
            return label
    return None


def without_leading_blanks(text: str) -> str:
    start = 0
    while start < len(text) and text[start].isspace():
        start += 1
    return text[start:]


def second_ultraeval(reply: str) -> str | None:
    small = without_leading_blanks(reply.lower())
    for name, label in NAMES.items():
        if small[: len(name)] == name.lower():
            return label
    return None


def second_official(reply: str) -> str | None:
    return NAMES.get(without_leading_blanks(reply))


def second_helm(reply: str) -> str | None:
    words, word = [], ""
    kept = [character for character in reply.lower() if character not in PUNCTUATION]
    for character in [*kept, " "]:
        if character.isalnum():
            word += character
            continue
        words.append(" " if word in {"a", "an", "the"} else word)
        words.append(character)
        word = ""
    small = " ".join("".join(words).split())
    for name, label in NAMES.items():
        if small[: len(name)] == name.lower():
            return label
    return None


SECOND: dict[str, Callable[[str], str | None]] = {
    "original": second_original,
    "aisbench": second_aisbench,
    "lmms": second_lmms,
    "ultraeval": second_ultraeval,
    "official": second_official,
    "helm": second_helm,
}


def read(rule: str, reply: str, choices: tuple[Choice, ...] = VOCALSOUND) -> str | None:
    return RULES[rule].read(reply, choices)


@pytest.mark.parametrize("rule", RULES)
def test_the_replies_that_were_labelled_by_hand(rule: str) -> None:
    found = {case["reply"]: read(rule, case["reply"]) for case in LABELED}
    assert found == {case["reply"]: case[rule] for case in LABELED}


@pytest.mark.parametrize("rule", SECOND)
def test_the_second_implementation_agrees_on_every_reply(rule: str) -> None:
    found = {reply: read(rule, reply) for reply in REPLIES}
    assert found == {reply: SECOND[rule](reply) for reply in REPLIES}


def test_the_replies_are_many_different_and_in_two_languages() -> None:
    chinese = [reply for reply in REPLIES if re.search(r"[\u4e00-\u9fff]", reply)]
    assert len(REPLIES) >= 300
    assert len(chinese) >= 40
    assert len({case["reply"] for case in LABELED}) == len(LABELED) >= 60
    for case in LABELED:
        assert case.keys() == {"reply", *RULES}
        assert {case[rule] for rule in RULES} <= {*LETTERS, None}
    for rule in RULES:  # a rule that reads everything or nothing would be no test of it
        assert {case[rule] for case in LABELED} == {*LETTERS, None}


PIECES = re.findall(
    r"\S+|\n",
    "A B C D E F G a c an the Laughter laughter sniff Sniff throat Throat clearing Clearing cough "
    "COUGH sigh sneeze sneezing : . , ! - _ ( ) \n 咳嗽 。 Ａ Ｃ ſigh İ '",
)
glue = st.sampled_from(["", " ", "  ", "\u3000"])
replies = st.text() | st.lists(st.tuples(glue, st.sampled_from(PIECES))).map(
    lambda parts: "".join(blank + piece for blank, piece in parts)
)


@given(replies)
@example("ſigh")
@example("the\u00a0sigh")
@example("a_cough")
def test_the_second_implementations_agree_on_any_text(reply: str) -> None:
    for rule, second in SECOND.items():
        assert read(rule, reply) == second(reply), rule


def test_a_task_file_can_name_every_rule() -> None:
    assert set(typing.get_args(AnswerRuleName)) == set(RULES)
    assert next(iter(RULES)) == OURS


@pytest.mark.parametrize(
    ("path", "label"),
    [
        ("/data/f0003_0_cough.wav", "cough"),
        ("/data/m1_2_throatclearing.wav", "throatclearing"),
        ("../data/f0003_0_cough.wav", None),
        ("/data/v1.0/f0003_0_cough.wav", None),
        ("/data/f0003_0_Cough.wav", None),
        ("/data/f0003_0_yawn.wav", None),
        ("/data_all/cough", None),
        ("cough.wav", "cough"),
        ("_cough", "cough"),
    ],
)
def test_the_original_tools_own_label(path: str, label: str | None) -> None:
    assert original_truth(path, VOCALSOUND) == label


class TestOtherChoices:
    PETS = (Choice("P", "dog", "Dog"), Choice("Q", "bark", "Dog bark"), Choice("R", "hm", "The a"))

    @pytest.mark.parametrize(
        ("rule", "reply", "answer"),
        [
            ("ultraeval", "dog barks", "bark"),
            ("helm", "A dog, meowing", "dog"),
            ("helm", "A dog bark", "bark"),
            ("helm", "anything", None),
            ("lmms", "a dog bark", "dog"),
            ("aisbench", "Q: Dog bark", "bark"),
            ("aisbench", "A: Dog", None),
            ("official", "Dog bark", "bark"),
        ],
    )
    def test_rules_read_them(self, rule: str, reply: str, answer: str | None) -> None:
        assert read(rule, reply, self.PETS) == answer
