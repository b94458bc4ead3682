"""Variables and `~` expand in path values, and only there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from modeltest.errors import SettingsError
from modeltest.settings.load import load_model, load_task
from modeltest.settings.paths import assets_dir

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


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("${CLIPS}/test", Path("/data/clips/test")),
        ("${CLIPS}${EMPTY}", Path("/data/clips")),
        ("${UNSET:-/fallback}/x", Path("/fallback/x")),
        ("${EMPTY:-/fallback}", Path("/fallback")),
        ("${CLIPS:-/fallback}", Path("/data/clips")),
        ("${UNSET:-}", None),
        ("${EMPTY}", None),
        ("''", None),
        ("", None),
        ("~/clips", Path("/home/someone/clips")),
        ("relative/clips", Path("relative/clips")),
        ("$CLIPS/x", Path("$CLIPS/x")),
        ("${MODELTEST_ASSETS}/c", assets_dir() / "c"),
        ("${MODELTEST_ASSETS:-/elsewhere}/c", assets_dir() / "c"),
    ],
)
def test_variables_expand_in_paths(
    written: str, expected: Path | None, write: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLIPS", "/data/clips")
    monkeypatch.setenv("EMPTY", "")
    monkeypatch.delenv("UNSET", raising=False)
    monkeypatch.setenv("HOME", "/home/someone")
    monkeypatch.setenv("MODELTEST_ASSETS", "/elsewhere")
    write("t.yaml", TASK + f"local_dataset_path: {written}\n")
    assert load_task("t.yaml").settings.local_dataset_path == expected
    by_override = load_task("vocalsound_mini", [f"task.local_dataset_path={written}"])
    assert by_override.settings.local_dataset_path == expected


@pytest.mark.parametrize(
    ("written", "message"),
    [
        (
            "${UNSET}/x",
            "the environment variable UNSET is not set; set it, or write ${UNSET:-default}",
        ),
        (
            "${UNSET",
            "'${UNSET' holds a ${ that is no variable; write ${VAR} or ${VAR:-default}",
        ),
        ("${A:-${B}}", "'${A:-${B}}' holds a ${ that is no variable; "),
        ("${1}", "'${1}' holds a ${ that is no variable; "),
        ('"a\\0b"', "a path cannot hold a NUL character; delete it"),
        ("~no-such-user-here/x", "no home folder is known for '~no-such-user-here/x'; "),
    ],
)
def test_a_path_that_does_not_expand_is_refused(
    written: str, message: str, write: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("UNSET", raising=False)
    write("m.yaml", f"mm_model:\n  warm_up_audio_path:\n    - ok.wav\n    - {written}\n")
    assert _message(lambda: load_model("m.yaml")).startswith(
        f"m.yaml:4:7: key 'mm_model.warm_up_audio_path[1]': {message}"
    )
    assert _message(lambda: load_model("qwen2_audio", [f"model_path={written}"])).startswith(
        f"--set model_path={written}: key 'model_path': {message}"
    )


def test_empty_items_leave_a_list_of_paths(write: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLIP", "/c.wav")
    text = "mm_model:\n  warm_up_audio_path:\n  - ${UNSET:-}\n  - ${CLIP}\n"
    write("m.yaml", text)
    loaded = load_model("m.yaml").settings.mm_model
    assert loaded.warm_up_audio_path == (Path("/c.wav"),)
    write("m.yaml", text + "  - 3\n  -\n")
    assert _message(lambda: load_model("m.yaml")) == (
        "m.yaml:5:5: key 'mm_model.warm_up_audio_path[1]': expected a path, found the number 3; "
        "put it in quotes\n"
        "m.yaml:6:4: key 'mm_model.warm_up_audio_path[2]': expected a path, found nothing; "
        "write a value or delete the key"
    )


def test_variables_stay_literal_outside_paths(write: Writer) -> None:
    write("t.yaml", TASK + "version: '${HOME}'\nlabel: {table: '${HOME}/x.csv'}\n")
    settings = load_task("t.yaml").settings
    assert (settings.version, settings.label.table) == ("${HOME}", "${HOME}/x.csv")
