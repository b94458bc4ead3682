"""The answer rule and the legacy rule, on hand-judged replies and by laws."""

from __future__ import annotations

import json
import re
import string
import time
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from modeltest.tasks.answers import Choice, read_answer
from modeltest.tasks.names import inflections
from modeltest.tasks.rules import read_original

ROOT = Path(__file__).parents[3]
CASES = json.loads((Path(__file__).parent / "answer_cases.json").read_text(encoding="utf-8"))
TASK_FILE = ROOT / "config" / "task" / "vocalsound.yaml"
VOCALSOUND = tuple(
    Choice(each["letter"], each["label"], each["text"], tuple(each.get("words", ())))
    for each in yaml.safe_load(TASK_FILE.read_text(encoding="utf-8"))["choices"]
)
PETS = (Choice("A", "dog", "Dog bark"), Choice("B", "cat", "Cat meow"))
YES_NO = (Choice("A", "yes", "Yes"), Choice("B", "no", "No"))
EMOTIONS = (
    Choice("P", "joy", "Happy"),
    Choice("Q", "sadness", "Sad"),
    Choice("R", "none", "Neutral"),
    Choice("I", "rage", "Angry", ("furious",)),
)
CODED = (Choice("A", "zero", "Cat"), Choice("B", "1", "Dog"), Choice("C", "b", "Bird"))
NESTED = (Choice("A", "dog", "Dog"), Choice("B", "bark", "Dog bark"), Choice("C", "cpp", "C++"))

by_reply = pytest.mark.parametrize("case", CASES, ids=[repr(case["reply"]) for case in CASES])


@by_reply
def test_answer_of_case(case: dict[str, str]) -> None:
    assert read_answer(case["reply"], VOCALSOUND) == case["answer"], case["reason"]


@by_reply
def test_legacy_answer_of_case(case: dict[str, str]) -> None:
    assert read_original(case["reply"], VOCALSOUND) == case["legacy"]


def test_case_file_is_well_formed() -> None:
    labels = {choice.label for choice in VOCALSOUND} | {None}
    assert len(CASES) >= 90
    assert len({case["reply"] for case in CASES}) == len(CASES)
    for case in CASES:
        assert case.keys() == {"reply", "answer", "legacy", "reason"}
        assert {case["answer"], case["legacy"]} <= labels


@pytest.mark.parametrize(
    ("reply", "choices", "answer"),
    [
        ("A: Dog bark", PETS, "dog"),
        ("a dog is barking", PETS, "dog"),
        ("barking", PETS, None),
        ("Audio 1: a cat", CODED, "zero"),
        ("B", CODED, "1"),
        ("1", CODED, None),
        ("A dog barks.", PETS, "dog"),
        ("The cat meowed twice", PETS, "cat"),
        ("dog-barking", PETS, "dog"),
        ("A cat meows, not a dog barking", PETS, "cat"),
        ("B", PETS, "cat"),
        ("A: Dog bark, B: Cat meow", PETS, None),
        ("A: Dog bark, B: Cat meow. Answer: B", PETS, "cat"),
        ("C", PETS, None),
        ("A cough", PETS, None),
        ("Yes", YES_NO, "yes"),
        ("No, there is none.", YES_NO, "no"),
        ("B: No", YES_NO, "no"),
        ("A: No", YES_NO, None),
        ("yes or no", YES_NO, None),
        ("Not sure", YES_NO, None),
        ("I", EMOTIONS, "rage"),
        ("I: Angry", EMOTIONS, "rage"),
        ("The speaker sounds furious", EMOTIONS, "rage"),
        ("Q) Sad", EMOTIONS, "sadness"),
        ("I think the speaker is happy", EMOTIONS, "joy"),
        ("unhappy", EMOTIONS, None),
        ("neutral, neither happy nor sad", EMOTIONS, "none"),
        ("none", EMOTIONS, "none"),
        ("a dog", NESTED, "dog"),
        ("a dog bark", NESTED, "bark"),
        ("dogs", NESTED, "dog"),
        ("It is C++ code", NESTED, "cpp"),
    ],
)
def test_other_choices(reply: str, choices: tuple[Choice, ...], answer: str | None) -> None:
    assert read_answer(reply, choices) == answer


@pytest.mark.parametrize("reply", ["a car", "cars", "take care", "caring"])
def test_inflection_never_turns_one_option_into_another(reply: str) -> None:
    choices = (Choice("A", "car", "Car"), Choice("B", "care", "Care"))
    assert read_answer(reply, choices) == ("care" if "care" in reply or "ing" in reply else "car")


def test_a_word_that_two_options_share_names_neither() -> None:
    choices = (Choice("A", "x", "Xylophone", ("bars",)), Choice("B", "y", "Vibraphone", ("bars",)))
    assert read_answer("bars", choices) is None
    assert read_answer("I hear bars being struck", choices) is None
    assert read_answer("I hear a vibraphone with bars", choices) is None


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("cough", "cough coughs coughed coughing"),
        ("sneeze", "sneeze sneezes sneezed sneezing"),
        ("hum", "hum hums hummed humming"),
        ("cry", "cry cries cried crying"),
        ("play", "play plays played playing"),
        ("hiss", "hiss hisses hissed hissing"),
        ("evening", "evening evenings eveninged eveninging"),
        ("go", "go"),
        ("咳嗽", "咳嗽"),
    ],
)
def test_inflections(word: str, expected: str) -> None:
    assert inflections(word) == set(expected.split())


words = st.text(string.ascii_lowercase, min_size=2, max_size=9)
texts = st.lists(words, min_size=1, max_size=3).map(" ".join)


@st.composite
def choice_sets(draw: st.DrawFn) -> tuple[Choice, ...]:
    letters = draw(st.lists(st.sampled_from(string.ascii_uppercase), min_size=2, unique=True))
    names = draw(st.lists(texts, min_size=len(letters), max_size=len(letters), unique=True))
    return tuple(
        Choice(letter, f"label{index}", name.capitalize())
        for index, (letter, name) in enumerate(zip(letters, names, strict=True))
    )


@given(choice_sets(), st.data())
def test_option_as_the_prompt_shows_it_is_that_option(
    choices: tuple[Choice, ...], data: st.DataObject
) -> None:
    choice = data.draw(st.sampled_from(choices))
    assert read_answer(f"{choice.letter}: {choice.text}", choices) == choice.label
    assert read_answer(choice.letter, choices) == choice.label


TOKENS = re.findall(
    r"\S+|\n",
    "A B C a c G I : . ) ( , ? \n not no but or and cough Laughter sneezing throat clear "
    "the answer is option 答案 选 不是 咳嗽 <think> </think> ** most likely this",
)
replies = st.text() | st.lists(st.sampled_from(TOKENS)).map(" ".join)


@given(replies)
def test_any_text_is_read(reply: str) -> None:
    assert read_answer(reply, VOCALSOUND) in {None, *(choice.label for choice in VOCALSOUND)}


@given(replies, st.text(" \n\t\r") | st.just("<|im_end|>") | st.just("</s>"))
def test_blanks_and_end_tokens_change_nothing(reply: str, tail: str) -> None:
    assert read_answer(reply + tail, VOCALSOUND) == read_answer(reply, VOCALSOUND)


@given(st.sampled_from(VOCALSOUND), st.lists(st.booleans(), min_size=15, max_size=15))
def test_case_of_a_name_changes_nothing(choice: Choice, upper: list[bool]) -> None:
    name = "".join(
        letter.upper() if up else letter.lower()
        for letter, up in zip(choice.text, upper, strict=False)
    )
    assert read_answer(f"it is {name}", VOCALSOUND) == choice.label


@given(choice_sets(), st.data())
def test_two_options_are_no_answer(choices: tuple[Choice, ...], data: st.DataObject) -> None:
    one, other = data.draw(st.permutations(choices))[:2]
    assert read_answer(f"{one.letter}: {one.text}\n{other.letter}: {other.text}", choices) is None


@given(replies)
def test_legacy_rule_is_the_first_name_or_capital(reply: str) -> None:
    hits = [re.search(re.escape(c.text), reply, re.I) or c.letter in reply for c in VOCALSOUND]
    first = next((c.label for c, hit in zip(VOCALSOUND, hits, strict=True) if hit), None)
    assert read_original(reply, VOCALSOUND) == first


def test_reading_is_fast() -> None:
    def seconds_per_reply() -> float:
        start = time.perf_counter()
        for case in CASES:
            read_answer(case["reply"], VOCALSOUND)
        return (time.perf_counter() - start) / len(CASES)

    seconds_per_reply()
    assert min(seconds_per_reply() for _ in range(5)) < 200e-6


@pytest.mark.parametrize(
    "unit", ["no ", "<think>", " ", "A, ", "throat-", "(", "answer ", "cough, ", "? ", "not a "]
)
def test_long_nonsense_takes_no_longer_than_its_length(unit: str) -> None:
    start = time.perf_counter()
    read_answer(unit * 5000, VOCALSOUND)
    assert time.perf_counter() - start < 2
