"""The transcription task: prompt, words, scores, slices."""

import sys
import unicodedata
from pathlib import Path

import pytest
import yaml

from modeltest.errors import SettingsError
from modeltest.records import Generation, Prompt, Response, Sample, Score
from modeltest.settings.schema import TaskSettings
from modeltest.tasks.factory import make_task
from modeltest.tasks.words import count_word_edits, plain_words

ROOT = Path(__file__).parents[3]
QUESTION = (
    "What did the speaker say in the first audio? And what did the speaker say in the second audio?"
)


def meld_pairs(**changes):
    text = (ROOT / "config" / "task" / "meld_pairs.yaml").read_text(encoding="utf-8")
    settings = yaml.safe_load(text) | {"local_dataset_path": None} | changes
    return make_task("meld_pairs", TaskSettings(**settings))


def score(truth, reply="", error=""):
    response = Response("s", text=reply, error=error)
    return meld_pairs().score(Sample("s", (), truth), response)


def test_the_question_is_the_original_one_inside_the_chat_template():
    assert meld_pairs().prompt() == Prompt(QUESTION, "chat")
    assert meld_pairs().num_clips == 2


def test_a_raw_prompt_has_a_place_for_each_clip():
    prompt = meld_pairs(prompt_format="raw", raw_prompt="{audio}{prompt} OK").prompt()
    assert prompt == Prompt(f"{{audio}}{{audio}}{QUESTION} OK", "raw")


def test_facts_of_the_task_file():
    task = meld_pairs(max_new_tokens=9)
    assert (task.name, task.version, task.labels) == ("meld_pairs", "1.0", ())
    assert task.generation() == Generation(max_new_tokens=9)


def test_slices_are_those_of_the_metadata():
    task = meld_pairs(slices={"by": ["first_Speaker", "x"], "age_ranges": ["18-25"]})
    sample = Sample("s", (), "", {"first_Speaker": "Ross", "age": "20.0"})
    assert task.subsets(sample) == ("first_Speaker=Ross", "age=18-25")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Oh my God, he's lost it.", "oh my god hes lost it"),
        (" First: “No!”\n\tSecond — 'yes' ", "first no second yes"),
        ("one / two", "one two"),
        ("Ça VA? ¡Sí! 你好，世界。", "ça va sí 你好世界"),
        ("3.5 dollars ($5)", "35 dollars $5"),
        ("well-known", "wellknown"),
        ("cafe\u0301 A\u030aNGSTRO\u0308M", "café ångström"),
        ("e-\u0301", "é"),
        ("\u1112\u1161\u11ab", "\ud55c"),  # three jamo, one syllable
        ("...", ""),
        ("", ""),
    ],
)
def test_words(text, words):
    assert plain_words(text) == words
    assert plain_words(words) == words


@pytest.mark.parametrize(
    ("reference", "answer", "edits"),
    [
        ("a b c", "a b c", 0),
        ("a b c", "a x c", 1),  # substituted
        ("a b c", "a c", 1),  # deleted
        ("a b c", "a b b c", 1),  # inserted
        ("a b c", "", 3),
        ("a", "x y z", 3),  # one substituted, two inserted
        ("the cat sat on the mat", "cat sat in the mat now", 3),
    ],
)
def test_word_edits(reference, answer, edits):
    assert count_word_edits(reference, answer) == edits


def test_a_reply_with_the_very_words_is_correct():
    assert score("Hello, Ross! / No.", "hello ross; NO") == Score(
        "hello ross no", True, None, False, num_word_edits=0, num_reference_words=3
    )


@pytest.mark.parametrize(("of_reference", "of_reply"), [("NFD", "NFC"), ("NFC", "NFD")])
def test_an_accent_is_the_same_however_it_is_spelled(of_reference, of_reply):
    truth = unicodedata.normalize(of_reference, "Où est Zoë? / Übermorgen.")
    reply = unicodedata.normalize(of_reply, "où est zoë ÜBERMORGEN")
    found = score(truth, reply)
    assert (found.correct, found.num_word_edits, found.num_reference_words) == (True, 0, 4)


def test_words_around_the_transcript_are_insertions():
    found = score("Hello Ross", 'The speaker said "Hello, Ross".')
    assert (found.num_word_edits, found.num_reference_words, found.correct) == (3, 2, False)


@pytest.mark.parametrize(("reply", "error"), [("", ""), ("?!", ""), ("", "ValueError: x")])
def test_of_a_reply_without_words_all_words_are_deleted(reply, error):
    assert score("one two / three", reply, error) == Score(
        None, False, None, False, num_word_edits=3, num_reference_words=3
    )


def test_without_a_reference_nothing_is_right_or_wrong():
    assert score("", "Hello!") == Score("hello", False, None, False)
    assert score("", "") == Score(None, False, None, False)


def test_a_missing_library_is_one_line_and_comes_early(monkeypatch):
    monkeypatch.setitem(sys.modules, "jiwer", None)
    with pytest.raises(SettingsError, match="pip install jiwer"):
        meld_pairs()
