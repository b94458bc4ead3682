"""Every kind of wrong value, in the words that the user reads."""

from __future__ import annotations

import random
import re
import time
from pathlib import Path

import pytest

from modeltest.errors import SettingsError
from modeltest.settings.layers import Layer
from modeltest.settings.load import load_model, load_task
from modeltest.settings.schema import ModelSettings, TaskSettings
from modeltest.settings.validation import validated

TASK = """\
prompt: "Which? {choices}"
choices:
  - {letter: A, label: a, text: An a}
  - {letter: B, label: b, text: A b}
"""


def without_columns(error: Exception) -> str:
    return re.sub(r"(\.yaml:\d+):\d+:", r"\1:", str(error))


@pytest.fixture(autouse=True)
def in_a_bare_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("batch_size: eight", "'batch_size': expected a whole number, found the string 'eight'; "
         "write a whole number"),
        ("batch_size: '8'", "'batch_size': expected a whole number, found the string '8'; "
         "write it without quotes"),
        ("batch_size: 8.0", "'batch_size': expected a whole number, found the number 8.0; "
         "write a whole number"),
        ("batch_size: true", "'batch_size': expected a whole number, found the value true; "
         "write a whole number"),
        ("batch_size:", "'batch_size': expected a whole number, found nothing; "
         "write a value or delete the key"),
        ("batch_size: 0", "'batch_size': expected 1 or more, found the number 0; raise it"),
        ("data_type: bf61", "'data_type': expected bf16, fp16 or fp32, found the string 'bf61'; "
         "did you mean 'bf16'?"),
        ("data_type: 16", "'data_type': expected bf16, fp16 or fp32, found the number 16; "
         "write one of them"),
        ("backend: vllm", "'backend': expected transformers, null, openai or generate, "
         "found the string 'vllm'; write one of them"),
        ("backend: generat", "'backend': expected transformers, null, openai or generate, "
         "found the string 'generat'; did you mean 'generate'?"),
        ("base_url: http://h", "'base_url': is a service's, and backend is transformers; "
         "correct it"),
        ("request: {stream: true}", "'request': is a service's, and backend is transformers; "
         "correct it"),
        ("data_type: served", "'data_type': 'served' is what a service's is called; correct it"),
        ("modelpath: x", "'modelpath': unknown key; did you mean 'model_path'?"),
        ("zzz: x", "'zzz': unknown key; valid keys: backend, model_path, data_type, attention, "
         "engine, batch_size, mm_model, service, base_url, model, api_key_env, timeout_s, "
         "max_concurrency, retries, verify, trust_env, health, max_audio_s, request"),
        ("mm_model: {warm_up: []}", "'mm_model.warm_up': unknown key; "
         "did you mean 'warm_up_audio_path'?"),
        ("mm_model: 3", "'mm_model': expected a mapping, found the number 3; write a mapping"),
        ("mm_model: {warm_up_audio_path: a.wav}", "'mm_model.warm_up_audio_path': "
         "expected a list, found the string 'a.wav'; write [a, b], or one `- item` per line"),
        ("model_path: 3", "'model_path': expected a path, found the number 3; put it in quotes"),
    ],
)  # fmt: skip
def test_a_wrong_model_file_is_explained(text: str, message: str) -> None:
    Path("m.yaml").write_text(f"# a model\n{text}\n")
    with pytest.raises(SettingsError) as caught:
        load_model("m.yaml")
    assert without_columns(caught.value) == f"m.yaml:2: key {message}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("data_type: fp16", "'data_type': is for the service to decide where backend is openai; "
         "correct it"),
        ("model_path: x", "'model_path': is for the service to decide where backend is openai; "
         "correct it"),
        ("timeout_s: 0", "'timeout_s': expected 0.1 or more, found the number 0; raise it"),
        ("timeout_s: .inf", "'timeout_s': expected a number, found the number inf; write a number"),
        ("timeout_s: soon", "'timeout_s': expected a number, found the string 'soon'; "
         "write a number"),
        ("retries: 11", "'retries': expected 10 or less, found the number 11; lower it"),
        ("max_concurrency: 0", "'max_concurrency': expected 1 or more, found the number 0; "
         "raise it"),
        ("service: triton", "'service': expected mindie, vllm or openai, "
         "found the string 'triton'; write one of them"),
        ("verify: 1", "'verify': expected true, false or the path of a file with CA certificates; "
         "correct it"),
        ("health: [well]", "'health[0]': expected a path such as /health; correct it"),
        ("request: {steam: true}", "'request.steam': unknown key; did you mean 'stream'?"),
        ("request: {media: path}", "'request.media': expected data, file or http, "
         "found the string 'path'; write one of them"),
    ],
)  # fmt: skip
def test_a_wrong_service_is_explained(text: str, message: str) -> None:
    Path("m.yaml").write_text(f"backend: openai\n{text}\n")
    with pytest.raises(SettingsError) as caught:
        load_model("m.yaml")
    assert without_columns(caught.value) == f"m.yaml:2: key {message}"


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("max_new_tokens: 1e-3", "t.yaml:5:1"),
        ("max_new_tokens: 12:30:45", "t.yaml:5:1"),
        ("slices: {by: [a], age_ranges: [18-25, young]}", "t.yaml:5:39"),
        ("label:\n  source: a_table", "t.yaml:6:3"),
    ],
)
def test_a_wrong_value_is_found_by_line_and_column(text: str, place: str) -> None:
    Path("t.yaml").write_text(f"{TASK}{text}\n")
    with pytest.raises(SettingsError) as caught:
        load_task("t.yaml")
    assert str(caught.value).startswith(f"{place}: key ")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("version: 1.0", "'version': expected text, found the number 1.0; put it in quotes"),
        ("version: ''", "'version': expected text, found an empty string; write it"),
        ("slices: {age_ranges: [young]}", "'slices.age_ranges[0]': expected a range of years "
         "such as 18-25, found the string 'young'; correct it"),
        ("metrics: [acc, f1]", "'metrics[1]': expected acc, acc_legacy, wer, exact_match or "
         "answered_rate, found the string 'f1'; write one of them"),
        ("metrics: [acc, wer]", "'metrics': acc and acc_legacy are part of every result; "
         "correct it"),
        ("label: {source: paired_tables}", "'label': the source 'paired_tables' is for "
         "transcription tasks; correct it"),
        ("answer: words", "'answer': a task of this kind has no rule 'words'; correct it"),
        ("stop_at_answer: true\nanswer: helm", "'stop_at_answer': the rule 'helm' reads the whole "
         "reply; correct it"),
        ("published: [{value: 93.6, model: m, source: s}]", "'published[0].value': expected 1 or "
         "less, found the number 93.6; lower it"),
        ("label: {pattern: '('}", "'label.pattern': not a regular expression: missing ), "
         "unterminated subpattern at position 0; correct it"),
        ("label: {pattern: 'a{99999999999999999999}(?P<label>x)'}", "'label.pattern': "
         "not a regular expression: the repetition number is too large; correct it"),
        ("label: {pattern: '.*'}", "'label.pattern': needs a group (?P<label>…); correct it"),
        ("label: {rename: {gender: {f: 1}}}", "'label.rename.gender.f': expected text, "
         "found the number 1; put it in quotes"),
        ("label: {rename: [f]}", "'label.rename': expected a mapping, found a list; "
         "write a mapping"),
        ("raw_prompt: '{audio}'", "'raw_prompt': needs both {audio} and {prompt}; correct it"),
        ("max_new_token: 3", "'max_new_token': unknown key; did you mean 'max_new_tokens'?"),
    ],
)  # fmt: skip
def test_a_wrong_task_file_is_explained(text: str, message: str) -> None:
    Path("t.yaml").write_text(f"{TASK}{text}\n", encoding="utf-8")
    with pytest.raises(SettingsError) as caught:
        load_task("t.yaml")
    assert without_columns(caught.value) == f"t.yaml:5: key {message}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("version: '1'", "t.yaml: key 'prompt': missing; add it\n"
         "t.yaml: key 'choices': missing; add it"),
        (
            "promt: x\nchoices:\n- {letter: A, label: a, text: A}\n",
            "t.yaml: key 'prompt': missing; add it\n"
            "t.yaml:2:1: key 'choices': expected 2 items or more, found 1; add some\n"
            "t.yaml:1:1: key 'promt': unknown key; did you mean 'prompt'?",
        ),
        (
            "prompt: x\nchoices:\n- letter: a\n  labl: a\n  text: A\n"
            "- {letter: B, label: b, text: 3}\n",
            "t.yaml:3:3: key 'choices[0].letter': expected one capital letter, "
            "found the string 'a'; correct it\n"
            "t.yaml:3:3: key 'choices[0].label': missing; add it\n"
            "t.yaml:4:3: key 'choices[0].labl': unknown key; did you mean 'label'?\n"
            "t.yaml:6:25: key 'choices[1].text': expected text, found the number 3; "
            "put it in quotes",
        ),
        (
            "prompt: x\nchoices:\n- {letter: A, label: a, text: A}\n"
            "- {letter: A, label: b, text: B}\n",
            "t.yaml:2:1: key 'choices': two options share a letter; correct it",
        ),
        ("prompt: '{chioces}'\n" + TASK.partition("\n")[2], "t.yaml:1:1: key 'prompt': "
         "unknown placeholder {chioces}; known: {choices}; correct it"),
    ],
)  # fmt: skip
def test_all_problems_are_listed_one_per_line(text: str, message: str) -> None:
    Path("t.yaml").write_text(text)
    with pytest.raises(SettingsError) as caught:
        load_task("t.yaml")
    assert str(caught.value) == message


def test_a_problem_that_has_no_words_of_ours_keeps_those_of_pydantic() -> None:
    values = {"mm_model": {"warm_up_audio_path": [], 3: "x"}}
    with pytest.raises(SettingsError) as caught:
        validated(ModelSettings, Layer(values, {(): "m.yaml"}))
    assert str(caught.value) == ("m.yaml: key 'mm_model[3]': Keys should be strings; correct it")


ORIGINAL = """\
# Words of two speakers
kind: multiple_choice
version: "1.0"
local_dataset_path: ${UNSET:-}/clips
label:
  source: file_name
  pattern: '(?P<speaker>[fm]\\d+)_(?P<label>[a-z]+)'
  rename: {speaker: {f1: one, m1: 'two'}}
prompt: "Which? {choices}"
choices:
  - {letter: A, label: a, text: An a, words: [ah, eh]}
  - letter: B
    label: b
    text: A b
max_new_tokens: 65
"""
PIECES = [
    *(bytes([byte]) for byte in b"\n\t -:{}[]&*!|>'\"%@#?,\\\x00\xff~<0189"),
    *(b"<<: ", b"*a", b"&a ", b"---\n", b"!!int ", b"${X}", b"\\U00110000", b"%YAML 9.9\n"),
    *(b"null", b"true", b"1e999", b"0o7", "笑".encode(), b"- ", b"? ", b": ", b""),
]


def _mutated(randomness: random.Random) -> bytes:
    text = bytearray(ORIGINAL.encode())
    for _ in range(randomness.randint(1, 4)):
        at = randomness.randrange(len(text))
        text[at : at + randomness.choice([0, 0, 1, 5, 40])] = randomness.choice(PIECES)
    return bytes(text)


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_mutated_file_never_raises_anything_but_a_settings_error() -> None:
    randomness = random.Random(20240607)
    messages = []
    start_s = time.process_time()
    for _ in range(1000):
        Path("t.yaml").write_bytes(_mutated(randomness))
        try:
            load_task("t.yaml")
        except SettingsError as error:
            messages.append(str(error))
    assert time.process_time() - start_s < 5
    assert 500 < len(messages) < 990
    assert [message for message in messages if not message.startswith("t.yaml")] == []


@pytest.mark.parametrize("label", ["truth", "unparsed", "error", "total", "validity"])
def test_a_label_must_not_be_a_column_of_the_confusion_matrix(label):
    choices = [
        {"letter": "A", "label": label, "text": "One"},
        {"letter": "B", "label": "two", "text": "Two"},
    ]
    with pytest.raises(ValueError, match=f"'{label}' is a column of the confusion matrix"):
        TaskSettings(prompt="?", choices=choices)


def test_both_accuracies_are_part_of_every_result():
    choices = [
        {"letter": "A", "label": "one", "text": "One"},
        {"letter": "B", "label": "two", "text": "Two"},
    ]
    with pytest.raises(ValueError, match="acc and acc_legacy are part of every result"):
        TaskSettings(prompt="?", choices=choices, metrics=["acc_legacy"])


TWO = [
    {"letter": "A", "label": "one", "text": "One"},
    {"letter": "B", "label": "two", "text": "Two"},
]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"slices": {"by": ["gender", "gender"]}}, "counted twice"),
        ({"slices": {"by": ["class"]}}, "'class' cannot be a slice"),
        ({"slices": {"by": ["a=b"]}}, "'a=b' cannot be a slice"),
        ({"slices": {"age_ranges": ["48-26"]}}, "begins after its end"),
        ({"slices": {"age_ranges": ["18-30", "30-40"]}}, "overlap"),
        ({"choices": [TWO[0], {**TWO[1], "label": "O-ne"}]}, "share a label"),
        ({"choices": [TWO[0], {**TWO[1], "label": "_"}]}, "has no letter"),
        ({"prompt": "{choices:.5}"}, "only its name in braces"),
        ({"prompt": "{choices!r}"}, "only its name in braces"),
        ({"prompt": "{{audio}} {choices}"}, "doubled braces"),
        ({"raw_prompt": "{audio}{audio}{prompt}"}, "stands twice"),
    ],
)
def test_what_would_count_wrong_or_break_later_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        TaskSettings(**{"prompt": "{choices}", "choices": TWO, **changes})


TRANSCRIPTION = """\
kind: transcription
label: {source: table}
prompt: "What is said?"
"""


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("choices: [{letter: A, label: a, text: An a}]", "'choices': a task of this kind has no "
         "choices; correct it"),
        ("answer: letter_or_name", "'answer': a task of this kind answers by the rule 'words' "
         "alone; correct it"),
        ("stop_at_answer: true", "'stop_at_answer': a task of this kind has no option to stop at; "
         "correct it"),
        ("metrics: [wer]", "'metrics': a task of this kind always reports wer, exact_match, "
         "answered_rate; correct it"),
    ],
)  # fmt: skip
def test_what_only_multiple_choice_has_is_refused_to_a_transcription(text, message):
    Path("t.yaml").write_text(f"{TRANSCRIPTION}{text}\n")
    with pytest.raises(SettingsError) as caught:
        load_task("t.yaml")
    assert without_columns(caught.value) == f"t.yaml:4: key {message}"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("source: table", "source: folder", "t.yaml:2: key 'label': a transcription task needs the "
         "source 'table' or 'paired_tables'; correct it"),
        ("{source: table}", "{source: paired_tables, paired_tables: [a.csv]}", "t.yaml:2: key "
         "'label.paired_tables': expected 2 items or more, found 1; add some"),
        ("is said", "is {choices}", "t.yaml:3: key 'prompt': unknown placeholder {choices}; "
         "known: none; correct it"),
        ("kind: transcription", "kind: transcribe", "t.yaml:1: key 'kind': expected "
         "multiple_choice or transcription, found the string 'transcribe'; did you mean "
         "'transcription'?"),
    ],
)  # fmt: skip
def test_a_wrong_transcription_file_is_explained(old, new, message):
    Path("t.yaml").write_text(TRANSCRIPTION.replace(old, new))
    with pytest.raises(SettingsError) as caught:
        load_task("t.yaml")
    assert message in without_columns(caught.value)


def test_a_transcription_survives_the_way_to_a_worker():
    Path("t.yaml").write_text(TRANSCRIPTION)
    settings = load_task("t.yaml").settings
    assert settings.metrics == ("wer", "exact_match", "answered_rate")
    assert (settings.choices, settings.answer, settings.num_clips) == ((), "words", 1)
    assert TaskSettings.model_validate_json(settings.model_dump_json()) == settings


def test_as_many_clips_as_paired_tables():
    label = {"source": "paired_tables", "paired_tables": ["a.csv", "b.csv", "c.csv"]}
    assert TaskSettings(kind="transcription", prompt="?", label=label).num_clips == 3
