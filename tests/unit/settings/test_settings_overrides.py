"""`--set KEY=VALUE`: where it goes, what it changes and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from modeltest.errors import SettingsError, UsageError
from modeltest.settings import overrides as overrides_module
from modeltest.settings.load import load_model, load_task, split_overrides
from modeltest.settings.schema import SliceSettings, TaskSettings


def _message(load: Callable[[], object], error: type[Exception] = SettingsError) -> str:
    with pytest.raises(error) as caught:
        load()
    return str(caught.value)


def test_overrides_are_applied_in_order_and_kept_as_given() -> None:
    given = [
        "task.max_new_tokens=5",
        "max_new_tokens=6",
        "task.slices.by=[speaker]",
        "label={source: folder}",
        "task.version='2'",
    ]
    loaded = load_task("vocalsound", given)
    assert loaded.overrides == tuple(given)
    assert loaded.settings.max_new_tokens == 6
    assert loaded.settings.slices == SliceSettings(
        by=("speaker",), age_ranges=("18-25", "26-48", "49-80")
    )
    assert loaded.settings.label.source == "folder"
    assert loaded.settings.label.rename == {"gender": {"f": "female", "m": "male"}}
    assert loaded.settings.version == "2"


def test_an_override_reaches_a_mapping_that_the_file_lacks() -> None:
    loaded = load_model("qwen2_audio_tiny", ["mm_model.warm_up_audio_path=[a.wav]"])
    assert loaded.settings.mm_model.warm_up_audio_path == (Path("a.wav"),)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            "task.max_new_tokens=eight",
            "key 'max_new_tokens': expected a whole number, found the string 'eight'; ",
        ),
        ("label.sorce=x", "key 'label.sorce': unknown key; did you mean 'source'?"),
        ("prompt.x=1", "key 'prompt': expected text, found a mapping; put it in quotes"),
        ("raw_prompt={audio}{prompt}", "not valid YAML: expected '<document start>', but found"),
        ("prompt=*x", "anchors (&) and aliases (*) are not read; "),
        ("task.promt=x", "key 'promt': unknown key; did you mean 'prompt'?"),
        ("extends=vocalsound", "key 'extends': unknown key; "),
    ],
)
def test_a_wrong_override_is_named_as_typed(given: str, message: str) -> None:
    found = _message(lambda: load_task("vocalsound", [given]))
    assert found.startswith(f"--set {given}: {message}")
    assert "\n" not in found


def test_a_long_override_is_shortened_to_one_line() -> None:
    given = "task.promt=" + "x\n" * 50
    found = _message(lambda: split_overrides([given]), UsageError)
    assert found == (
        "--set task.promt=" + "x\\n" * 16 + "…: unknown key 'promt'; did you mean 'prompt'?"
    )


def test_overrides_are_split_by_prefix_then_by_the_schema_that_knows_the_key() -> None:
    sets = ["batch_size=1", "task.prompt=x", "mm_model.y=[]", "model.data_type=fp16", "prompt=z"]
    assert split_overrides(sets) == (
        ["batch_size=1", "mm_model.y=[]", "model.data_type=fp16"],
        ["task.prompt=x", "prompt=z"],
    )
    assert split_overrides([]) == ([], [])


FORM = "expected KEY=VALUE, such as model.batch_size=4"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("task.promt=x", "unknown key 'promt'; did you mean 'prompt'?"),
        ("batchsize=4", "unknown key 'batchsize'; did you mean 'batch_size'?"),
        (
            "model.zzz=4",
            "unknown key 'zzz'; valid keys: backend, model_path, data_type, attention, "
            "engine, batch_size, mm_model",
        ),
        ("task.batch_size=4", "unknown key 'batch_size'; "),
        ("prompt", FORM),
        ("=x", FORM),
        ("task=x", FORM),
        ("task.=x", FORM),
        ("label..source=x", FORM),
    ],
)
def test_an_override_without_a_known_key_is_refused(given: str, message: str) -> None:
    found = _message(lambda: split_overrides([given]), UsageError)
    assert found.startswith(f"--set {given}: {message}")


def test_a_key_that_both_schemas_know_needs_its_prefix(monkeypatch: pytest.MonkeyPatch) -> None:
    both = {"model": TaskSettings, "task": TaskSettings}
    monkeypatch.setattr(overrides_module, "SCHEMAS", both)
    assert _message(lambda: split_overrides(["version=1"]), UsageError) == (
        "--set version=1: both the model and the task know 'version'; "
        "write model.version or task.version"
    )
    assert split_overrides(["task.version=1"]) == ([], ["task.version=1"])


def test_a_list_from_an_override_is_not_looked_up_in_the_file() -> None:
    assert _message(lambda: load_task("vocalsound", ["slices.by=[2]"])) == (
        "--set slices.by=[2]: key 'slices.by[0]': expected text, found the number 2; "
        "put it in quotes"
    )
