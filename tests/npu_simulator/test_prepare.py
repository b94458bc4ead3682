"""What is built is built once, and a failure says what went wrong and leaves nothing."""

import runpy
from pathlib import Path

import pytest


@pytest.fixture
def prepare() -> dict:
    return runpy.run_path(str(Path(__file__).with_name("prepare.py")))


def test_a_folder_is_filled_once(prepare, tmp_path):
    filled = []

    def fill(folder: Path) -> None:
        filled.append(folder)
        (folder / "part").write_text("x")

    for _ in range(2):
        folder = prepare["_once"](tmp_path / "cache" / "thing", fill)
        assert [path.name for path in folder.iterdir()] == ["part"]
    assert len(filled) == 1
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["thing"]


def test_whoever_is_faster_is_taken(prepare, tmp_path):
    folder = tmp_path / "thing"

    def fill(attempt: Path) -> None:
        (attempt / "slow").touch()
        folder.mkdir()
        (folder / "fast").touch()

    assert prepare["_once"](folder, fill) == folder.resolve()
    assert [path.name for path in tmp_path.rglob("*")] == ["thing", "fast"]


@pytest.mark.parametrize(
    ("kind", "variable"), [("behaviour", "CXX"), ("contract", "CC")], ids=["C++", "C"]
)
def test_without_a_compiler_it_says_so_and_leaves_nothing(
    prepare, tmp_path, monkeypatch, kind, variable
):
    monkeypatch.setenv(variable, "no-such-compiler")
    with pytest.raises(RuntimeError, match=r"^no-such-compiler cannot be started: No such file"):
        prepare[f"{kind}_environment"](tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_what_a_tool_said_is_told(prepare):
    with pytest.raises(RuntimeError, match=r"^sh -c .* failed:\nno network$"):
        prepare["_run"](["sh", "-c", "echo no network >&2; exit 1"])
