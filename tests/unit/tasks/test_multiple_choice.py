"""The multiple-choice task: prompt, scores, slices."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from modeltest.protocols import Task
from modeltest.records import Generation, Prompt, Response, Sample, Score
from modeltest.settings.load import load_task
from modeltest.settings.schema import TaskSettings
from modeltest.tasks.factory import make_task

ROOT = Path(__file__).parents[3]
QUESTION = (
    "In this audio, what kind of sound can you hear? A: Laughter, B: Sigh, C: Cough, "
    "D: Throat clearing, E: Sneeze, F: Sniff, Please select the one closest to the correct answer."
)


def vocalsound(**changes: Any) -> Task:
    text = (ROOT / "config" / "task" / "vocalsound.yaml").read_text(encoding="utf-8")
    settings = yaml.safe_load(text) | {"local_dataset_path": None} | changes
    return make_task("vocalsound", TaskSettings(**settings))


def sample(truth: str = "cough", **metadata: str) -> Sample:
    return Sample(sample_id="f0003_0_cough", audio=(), truth=truth, metadata=metadata)


def response(text: str = "", error: str = "") -> Response:
    return Response(sample_id="f0003_0_cough", text=text, error=error)


def test_raw_prompt_is_the_original_one() -> None:
    assert vocalsound().prompt() == Prompt(f"{{audio}}{QUESTION} ASSISTANT:", "raw")


def test_chat_prompt_is_the_question_alone() -> None:
    assert vocalsound(prompt_format="chat").prompt() == Prompt(QUESTION, "chat")


def test_braces_in_a_choice_stay_as_they_are() -> None:
    choices = [
        {"letter": "A", "label": "a", "text": "{x}"},
        {"letter": "B", "label": "b", "text": "}"},
    ]
    assert vocalsound(choices=choices, prompt="{choices}?").prompt().text == (
        "{audio}A: {x}, B: }? ASSISTANT:"
    )


def test_facts_of_the_task_file() -> None:
    task = vocalsound(version="1.3", max_new_tokens=7)
    assert task.name == "vocalsound"
    assert task.version == "1.3"
    assert task.generation() == Generation(max_new_tokens=7, options=tuple("ABCDEF"))
    assert task.labels == ("laughter", "sigh", "cough", "throatclearing", "sneeze", "sniff")


@pytest.mark.parametrize(
    ("text", "answer", "correct", "legacy_answer", "legacy_correct"),
    [
        ("C: Cough", "cough", True, "cough", True),
        ("A person is coughing", "cough", True, "laughter", False),
        ("E: Sneeze", "sneeze", False, "sneeze", False),
        ("C: Sneeze", None, False, "cough", True),
        ("hello", None, False, None, False),
    ],
)
def test_score(
    text: str, answer: str | None, correct: bool, legacy_answer: str | None, legacy_correct: bool
) -> None:
    score = vocalsound().score(sample(), response(text))
    assert (score.answer, score.correct) == (answer, correct)
    assert (score.legacy_answer, score.legacy_correct) == (legacy_answer, legacy_correct)


@pytest.mark.parametrize(
    ("rule", "text", "answer"),
    [
        ("letter_or_name", "Is it a cough? A cough.", "cough"),
        ("original", "A cough.", "laughter"),
        ("aisbench", "C", None),
        ("lmms", "throat, cough", "throatclearing"),
        ("ultraeval", "coughing", "cough"),
        ("official", "Cough.", None),
        ("helm", "A cough.", "cough"),
    ],
)
def test_the_task_file_chooses_the_rule(rule: str, text: str, answer: str | None) -> None:
    score = vocalsound(answer=rule).score(sample(), response(text))
    assert (score.answer, score.correct) == (answer, answer == "cough")
    assert score.legacy_answer == vocalsound().score(sample(), response(text)).legacy_answer


@pytest.mark.parametrize(
    ("name", "prompt", "tokens"),
    [
        ("official", "{audio}Classify the human vocal sound to VocalSound in English:", 256),
        ("lmms", "Classify the human vocal sound to VocalSound in English: ", 256),
        (
            "ultraeval",
            "listen the audio and judge the vocal sound, the answer must be one of "
            "[Cough,Sigh,Throat clearing,Sneeze,Laughter,Sniff], answer without explain",
            256,
        ),
        ("aisbench", f"{QUESTION} ASSISTANT:", 65),
        (
            "helm",
            "Listen to the audio and classify the speaker behavior. Choose only from these "
            'options:"Cough", "Laughter", "Sigh", "Sneeze", "Sniff", or "Throat clearing". '
            "Respond with just the behavior.",
            5,
        ),
    ],
)
def test_other_tools_tasks_ask_as_they_do(name: str, prompt: str, tokens: int) -> None:
    settings = load_task(f"vocalsound_{name}").settings
    task = make_task(name, settings)
    assert settings.answer == name
    assert task.prompt() == Prompt(prompt, "raw" if name == "official" else "chat")
    options = tuple("ABCDEF") if name == "aisbench" else tuple(c.text for c in settings.choices)
    assert task.generation() == Generation(max_new_tokens=tokens, options=options)
    assert task.labels == vocalsound().labels


def test_published_figures_are_fractions_with_a_source() -> None:
    official = load_task("vocalsound_official").settings.published
    instruct = load_task("vocalsound_lmms").settings.published[0]
    assert [each.value for each in official] == [0.9392, 0.9395]
    assert (instruct.value, instruct.model) == (0.936, "Qwen2-Audio-7B-Instruct")
    assert all(each.source for each in (*official, instruct))
    for name in ("vocalsound", "vocalsound_mini", "vocalsound_chat", "vocalsound_aisbench"):
        assert load_task(name).settings.published == (), name


def test_a_failed_sample_is_never_correct() -> None:
    score = vocalsound().score(sample(), response("C: Cough", error="cannot decode"))
    assert score.answer is None
    assert score.legacy_answer is None
    assert not score.correct
    assert not score.legacy_correct


@pytest.mark.parametrize("truth", ["", "yawn", "None"])
def test_an_unparsed_reply_never_equals_an_unknown_truth(truth: str) -> None:
    score = vocalsound().score(sample(truth), response("hello"))
    assert not score.correct
    assert not score.legacy_correct


@pytest.mark.parametrize(
    ("metadata", "subsets"),
    [
        ({"gender": "female", "age": "33"}, ("class=cough", "gender=female", "age=26-48")),
        ({"gender": "male", "age": "25"}, ("class=cough", "gender=male", "age=18-25")),
        ({"age": "26"}, ("class=cough", "age=26-48")),
        ({"age": "80"}, ("class=cough", "age=49-80")),
        ({"age": "17", "gender": ""}, ("class=cough",)),
        ({"age": "unknown"}, ("class=cough",)),
        ({"age": ""}, ("class=cough",)),
        ({}, ("class=cough",)),
    ],
)
def test_subsets(metadata: dict[str, str], subsets: tuple[str, ...]) -> None:
    assert vocalsound().subsets(sample(**metadata)) == subsets


def test_subsets_follow_the_order_of_the_task_file() -> None:
    task = vocalsound(slices={"by": ["country", "gender"]})
    assert task.subsets(sample(gender="male", country="NZ", age="30")) == (
        "class=cough",
        "country=NZ",
        "gender=male",
    )


def test_a_task_of_other_choices() -> None:
    task = vocalsound(
        prompt="Which animal? {choices}",
        raw_prompt="{audio} {prompt}",
        choices=[
            {"letter": "A", "label": "dog", "text": "Dog bark"},
            {"letter": "B", "label": "cat", "text": "Cat meow"},
        ],
    )
    assert task.prompt().text == "{audio} Which animal? A: Dog bark, B: Cat meow"
    assert task.labels == ("dog", "cat")
    assert task.score(sample("cat"), response("A cat is heard. B: Cat meow")).correct
    assert task.score(sample("dog"), response("A dog barks")).correct
    assert not task.score(sample("dog"), response("B")).correct


def test_stopping_at_the_answer_waits_for_the_letter_and_its_name() -> None:
    pattern = re.compile(vocalsound(stop_at_answer=True).generation().stop_pattern)
    for whole in ("C: Cough", " c. cough, because", "(D) Throat clearing", "A: Laughter B"):
        assert pattern.match(whole), whole
    for more in ("C", "C:", "C: Yawn", "C: Sneeze", "Cough", "It is C: Cough", "C: Coughing"):
        assert not pattern.match(more), more


def test_the_highest_option_is_an_answer_of_its_own() -> None:
    task = vocalsound()
    cough = Sample("s", (), "cough")

    def scored(*logits: float) -> Score:
        return task.score(cough, Response("s", "A: Laughter", option_logits=logits))

    score = scored(0.1, 0.2, 3.0, -1.0, 0.0, 2.9)
    assert (score.answer, score.option_answer) == ("laughter", "cough")
    assert (score.correct, score.option_correct) == (False, True)
    assert scored(1.0, 1.0, 0.0, 0.0, 0.0, 0.0).option_answer is None
    assert scored().option_answer is None
    wordy = vocalsound(prompt="Which sound?").score(
        cough, Response("s", "Cough", option_logits=(0.1, 0.2, 3.0, -1.0, 0.0, 2.9))
    )
    assert (wordy.answer, wordy.option_answer) == ("cough", None)
    failed = task.score(cough, Response("s", "", error="x", option_logits=(0, 0, 9, 0, 0, 0)))
    assert (failed.option_answer, failed.option_correct) == (None, False)
