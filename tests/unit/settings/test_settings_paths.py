"""Where settings files are found, and the words for a name that is unknown."""

from __future__ import annotations

from pathlib import Path

import pytest

from modeltest.errors import UsageError
from modeltest.settings import paths
from modeltest.settings.paths import assets_dir, built_in_dir, find_file, known_names

ROOT = Path(__file__).parents[3]


def _folder(parent: Path, *files: str) -> Path:
    for file in files:
        path = parent / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    return parent


def test_a_checkout_has_its_settings_and_assets() -> None:
    assert built_in_dir() == ROOT / "config"
    assert assets_dir() == ROOT / "modeltest" / "assets"


def test_a_wheel_goes_before_a_checkout(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    package = tmp_path / "modeltest"
    monkeypatch.setattr(paths, "_PACKAGE", package)
    _folder(tmp_path, "config/model/a.yaml")
    assert built_in_dir() == tmp_path / "config"
    _folder(package, "_builtin_config/model/b.yaml")
    assert built_in_dir() == package / "_builtin_config"
    assert known_names("model") == ["b"]


def test_the_shipped_names_are_known() -> None:
    assert {"vocalsound", "vocalsound_chat", "vocalsound_mini"} <= set(known_names("task"))
    assert {"qwen2_audio", "qwen2_audio_tiny"} <= set(known_names("model"))


def test_an_earlier_folder_wins_and_names_appear_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    package = tmp_path / "modeltest"
    monkeypatch.setattr(paths, "_PACKAGE", package)
    shipped = _folder(tmp_path / "config", "model/m.yaml", "task/a.yaml", "task/b.yaml")
    asked = _folder(tmp_path / "asked", "task/c.yaml", "task/b.yaml", "task/.hidden.yaml")
    variable = _folder(tmp_path / "variable", "task/b.yaml", "task/a.yaml", "task/notes.txt")
    monkeypatch.setenv("MODELTEST_CONFIG_DIR", str(variable))
    assert known_names("task", asked) == ["a", "b", "c"]
    assert find_file("task", "b", asked) == asked / "task" / "b.yaml"
    assert find_file("task", "a", asked) == variable / "task" / "a.yaml"
    monkeypatch.setenv("MODELTEST_CONFIG_DIR", "")
    assert find_file("task", "a", asked) == shipped / "task" / "a.yaml"


def test_a_path_goes_before_every_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _folder(tmp_path, "vocalsound.yaml")
    monkeypatch.chdir(tmp_path)
    assert find_file("task", "vocalsound.yaml") == Path("vocalsound.yaml")
    assert find_file("task", str(tmp_path / "vocalsound.yaml")) == tmp_path / "vocalsound.yaml"


@pytest.mark.parametrize(
    ("kind", "name", "message"),
    [
        ("task", "bets", "unknown task 'bets'; did you mean 'beta'? Tasks: alpha, beta"),
        ("task", "al", "unknown task 'al'; did you mean 'alpha'? Tasks: alpha, beta"),
        ("task", "zzz", "unknown task 'zzz'; Tasks: alpha, beta"),
        ("task", "", "unknown task ''; Tasks: alpha, beta"),
        ("task", "../task/alpha", "unknown task '../task/alpha'; Tasks: alpha, beta"),
        ("model", "gama", "unknown model 'gama'; did you mean 'gamma'? Models: gamma"),
        ("task", "no/alpha.yaml", "no/alpha.yaml: no such file; tasks known by name: alpha, beta"),
    ],
)
def test_an_unknown_name_is_answered_with_those_that_exist(
    kind: paths.Kind, name: str, message: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(paths, "_PACKAGE", tmp_path / "modeltest")
    _folder(tmp_path / "config", "task/alpha.yaml", "task/beta.yaml", "model/gamma.yaml")
    with pytest.raises(UsageError) as caught:
        find_file(kind, name)
    assert str(caught.value).startswith(message)


def test_a_settings_folder_that_is_none_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    missing = tmp_path / "missing"
    with pytest.raises(UsageError) as caught:
        known_names("task", missing)
    assert str(caught.value) == f"--config-dir {missing}: no such folder"
    monkeypatch.setenv("MODELTEST_CONFIG_DIR", str(tmp_path))
    with pytest.raises(UsageError) as caught:
        known_names("task")
    assert str(caught.value) == (
        f"MODELTEST_CONFIG_DIR={tmp_path}: has neither a task/ nor a model/ folder; "
        "settings files go in one of them"
    )
