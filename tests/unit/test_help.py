"""docs/help.md says what `--help` says."""

import importlib.util
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def make_help():
    spec = importlib.util.spec_from_file_location("make_help", ROOT / "tools" / "make_help.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_not_stale(make_help):
    written, made = make_help.PATH.read_text(encoding="utf-8"), make_help.help_page()
    stale = "stale: python tools/make_help.py"
    # Other releases of argparse break lines elsewhere; the words are the same from 3.10 to 3.13.
    assert written.split() == made.split(), stale
    if sys.version_info[:2] == make_help.PYTHON:
        assert written == made, stale


def test_every_line_of_help_fits_80_columns(make_help):
    assert [line for line in make_help.help_page().splitlines() if len(line) > 80] == []


def test_the_width_of_this_terminal_does_not_matter(make_help, monkeypatch):
    made = make_help.help_page()
    monkeypatch.setenv("COLUMNS", "132")
    assert make_help.help_page() == made


def test_another_python_is_told_which_one_it_takes(make_help, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(make_help, "PATH", tmp_path / "help.md")
    monkeypatch.setattr(sys, "version_info", (3, 13, 0))
    assert make_help.main() == 2
    assert "3.11" in capsys.readouterr().out
    assert not make_help.PATH.exists()
