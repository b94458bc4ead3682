"""From a name to settings: shipped files and parents."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from modeltest.errors import SettingsError, UsageError
from modeltest.settings.load import load_model, load_task
from modeltest.settings.paths import assets_dir, known_names
from modeltest.settings.schema import LabelSettings, SliceSettings
from modeltest.settings.yaml_text import MAX_BYTES

ROOT = Path(__file__).parents[3]
CONFIG = ROOT / "config"

Writer = Callable[[str, str], Path]

TASK = """\
prompt: "Which? {choices}"
choices:
  - {letter: A, label: a, text: An a}
  - {letter: B, label: b, text: A b}
"""


def _message(load: Callable[[], object], error: type[Exception] = SettingsError) -> str:
    with pytest.raises(error) as caught:
        load()
    return str(caught.value)


def test_vocalsound_loads_as_written() -> None:
    loaded = load_task("vocalsound")
    settings = loaded.settings
    assert loaded.name == "vocalsound"
    assert loaded.overrides == ()
    assert settings.kind == "multiple_choice"
    assert settings.version == "1.0"
    assert settings.local_dataset_path is None
    assert settings.expected_samples == 3591
    assert settings.label == LabelSettings(
        source="file_name",
        pattern=r"(?P<speaker>(?P<gender>[fm])\d+)_\d+_(?P<label>[a-z]+)",
        rename={"gender": {"f": "female", "m": "male"}},
    )
    assert settings.prompt_format == "raw"
    assert settings.prompt == (
        "In this audio, what kind of sound can you hear? {choices}, "
        "Please select the one closest to the correct answer."
    )
    assert settings.raw_prompt == "{audio}{prompt} ASSISTANT:"
    assert [(choice.letter, choice.label, choice.text) for choice in settings.choices] == [
        ("A", "laughter", "Laughter"),
        ("B", "sigh", "Sigh"),
        ("C", "cough", "Cough"),
        ("D", "throatclearing", "Throat clearing"),
        ("E", "sneeze", "Sneeze"),
        ("F", "sniff", "Sniff"),
    ]
    assert "笑声" in settings.choices[0].words
    assert settings.answer == "letter_or_name"
    assert settings.max_new_tokens == 65
    assert settings.long_audio == "error"
    assert settings.slices == SliceSettings(by=("gender",), age_ranges=("18-25", "26-48", "49-80"))
    assert settings.metrics == ("acc", "acc_legacy")


def test_the_children_of_vocalsound_change_only_what_they_say() -> None:
    parent = load_task("vocalsound").settings
    chat, mini = load_task("vocalsound_chat"), load_task("vocalsound_mini")
    assert chat.settings == parent.model_copy(update={"prompt_format": "chat"})
    assert mini.settings == parent.model_copy(
        update={
            "local_dataset_path": assets_dir() / "vocalsound_mini",
            "expected_samples": 120,
        }
    )
    parent_file, child_file = CONFIG / "task/vocalsound.yaml", CONFIG / "task/vocalsound_chat.yaml"
    assert chat.files == (
        (child_file, hashlib.sha256(child_file.read_bytes()).hexdigest()),
        (parent_file, hashlib.sha256(parent_file.read_bytes()).hexdigest()),
    )


def test_the_shipped_models_load_as_written() -> None:
    large, tiny = load_model("qwen2_audio").settings, load_model("qwen2_audio_tiny").settings
    assert (large.model_path, large.data_type, large.batch_size) == (None, "bf16", 8)
    assert large.mm_model.warm_up_audio_path == ()
    assert tiny.model_path == assets_dir() / "qwen2_audio_tiny"
    assert (tiny.backend, tiny.data_type, tiny.attention) == ("transformers", "fp32", "sdpa")


@pytest.mark.parametrize("path", sorted(CONFIG.glob("*/*.yaml")), ids=lambda path: path.stem)
def test_every_shipped_file_loads(path: Path) -> None:
    load = load_task if path.parent.name == "task" else load_model
    assert load(path.stem).name == path.stem
    assert path.stem in known_names("task" if path.parent.name == "task" else "model")


def test_loading_leaves_the_environment_alone() -> None:
    before = dict(os.environ)
    load_task("vocalsound_mini", ["local_dataset_path=~/clips"])
    assert dict(os.environ) == before


def test_what_is_loaded_is_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        load_task("vocalsound").name = "other"  # type: ignore[misc]


def test_mappings_merge_and_the_rest_replaces(write: Writer) -> None:
    write("grand.yaml", TASK + "label: {source: table, table: t.csv}\nslices: {by: [a, b]}\n")
    write("parent.yaml", "extends: grand.yaml\nlabel: {table: u.csv}\nmax_new_tokens: 3\n")
    write("child.yaml", "extends: parent.yaml\nslices: {by: [c]}\nmax_new_tokens: 4\n")
    loaded = load_task("child.yaml")
    assert loaded.settings.label == LabelSettings(source="table", table="u.csv")
    assert loaded.settings.slices.by == ("c",)
    assert loaded.settings.max_new_tokens == 4
    assert [path.name for path, _ in loaded.files] == ["child.yaml", "parent.yaml", "grand.yaml"]


def test_a_parent_is_found_by_name_and_beside_the_child(write: Writer, tmp_path: Path) -> None:
    write("mine/task/first.yaml", TASK)
    write("mine/task/second.yaml", "extends: first\nmax_new_tokens: 2\n")
    write("mine/task/third.yaml", "extends: ./second.yaml\nversion: '3'\n")
    settings = load_task("third", config_dir=tmp_path / "mine").settings
    assert (settings.version, settings.max_new_tokens) == ("3", 2)


def test_a_parent_may_be_a_shipped_file(write: Writer) -> None:
    write("mine.yaml", "extends: qwen2_audio\nbatch_size: 2\n")
    assert load_model("mine.yaml").settings.batch_size == 2


def test_an_error_points_at_the_file_that_holds_the_key(write: Writer) -> None:
    write("parent.yaml", TASK + "max_new_tokens: many\n")
    write("child.yaml", "extends: parent.yaml\n\nversion: 2\n")
    assert _message(lambda: load_task("child.yaml")) == (
        "child.yaml:3:1: key 'version': expected text, found the number 2; put it in quotes\n"
        "parent.yaml:5:1: key 'max_new_tokens': expected a whole number, found the string 'many'; "
        "write a whole number"
    )


def test_a_replaced_list_is_not_looked_up_in_the_parent(write: Writer) -> None:
    write("parent.yaml", TASK + "slices:\n  by:\n    - a\n    - b\n")
    write("child.yaml", "extends: parent.yaml\nslices:\n  by: [c,\n    2]\n")
    assert _message(lambda: load_task("child.yaml")) == (
        "child.yaml:4:5: key 'slices.by[1]': expected text, found the number 2; put it in quotes"
    )


def test_a_mapping_in_child_and_parent_is_looked_up_in_the_child(write: Writer) -> None:
    write("parent.yaml", TASK + "lable: {source: table}\n")
    write("child.yaml", "extends: parent.yaml\nlable: {source: folder}\n")
    assert _message(lambda: load_task("child.yaml")) == (
        "child.yaml:2:1: key 'lable': unknown key; did you mean 'label'?"
    )


def test_parents_in_a_circle_are_refused(write: Writer) -> None:
    write("a.yaml", "extends: b.yaml\n")
    write("b.yaml", "version: '1'\nextends: a.yaml\n")
    assert _message(lambda: load_task("a.yaml")) == (
        "b.yaml:2:1: key 'extends': goes round in a circle: a → b → a; shorten the chain"
    )


def test_five_parents_are_read_and_six_refused(write: Writer) -> None:
    write("t0.yaml", TASK)
    for number in range(1, 7):
        write(f"t{number}.yaml", f"extends: t{number - 1}.yaml\n")
    assert len(load_task("t5.yaml").files) == 6
    assert _message(lambda: load_task("t6.yaml")) == (
        "t1.yaml:1:1: key 'extends': has more than 5 parents: "
        "t6 → t5 → t4 → t3 → t2 → t1 → t0; shorten the chain"
    )


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("vocalsond", "unknown task 'vocalsond'; did you mean 'vocalsound'? Tasks: "),
        ("gone.yaml", "gone.yaml: no such file; tasks known by name: "),
        (
            "[a, b]",
            "expected the name of a settings file, found a list; write one name, or delete the key",
        ),
        ("", "expected the name of a settings file, found nothing; write one name"),
    ],
)
def test_a_parent_that_cannot_be_found_is_named(write: Writer, value: str, message: str) -> None:
    write("t.yaml", f"version: '1'\nextends: {value}\n")
    found = _message(lambda: load_task("t.yaml"))
    assert found.startswith("t.yaml:2:1: key 'extends': " + message)


def test_a_file_that_cannot_be_read_is_one_line(write: Writer, tmp_path: Path) -> None:
    (tmp_path / "folder.yaml").mkdir()
    (tmp_path / "latin.yaml").write_bytes(b"version: \xe9\n")
    write("large.yaml", TASK + "#" * MAX_BYTES)
    link = tmp_path / "mine" / "task" / "dangling.yaml"
    link.parent.mkdir(parents=True)
    link.symlink_to(tmp_path / "nowhere")
    write("t.yaml", TASK)
    assert _message(lambda: load_task("folder.yaml")) == (
        "folder.yaml: not a file; name a .yaml file"
    )
    assert _message(lambda: load_task("latin.yaml")) == (
        "latin.yaml:1:10: byte 0xe9 is not UTF-8; save the file as UTF-8"
    )
    assert _message(lambda: load_task("large.yaml")) == (
        "large.yaml: larger than 1 MiB; is this really a settings file?"
    )
    assert _message(lambda: load_task("dangling", config_dir=tmp_path / "mine")) == (
        f"{link}: cannot be read: No such file or directory"
    )
    assert _message(lambda: load_task("gone.yaml"), UsageError).startswith(
        "gone.yaml: no such file; tasks known by name: "
    )
