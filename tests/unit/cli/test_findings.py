"""`modeltest check` on a narrow terminal."""

import pytest

from modeltest.cli.findings import Finding, show
from modeltest.reports.terminal import cells


@pytest.fixture
def eighty(monkeypatch):
    monkeypatch.setattr("modeltest.reports.terminal.terminal_columns", lambda: 80)


def test_rows_are_folded_below_their_detail(eighty, capsys):
    findings = [
        Finding("task", "bad", "本地数据集路径没有设置，" * 8, "set it in the task's file " * 6),
        Finding("model", "ok", "short"),
    ]
    assert show(findings) == 2
    shown = capsys.readouterr()
    lines = shown.out.splitlines()
    assert max(map(cells, lines)) <= 80
    assert lines[0].startswith("✗ task          本地数据集")
    assert lines[-1] == "✓ model         short"
    assert {line[:16] for line in lines[1:-1]} == {" " * 16}
    assert "".join(line.strip() for line in lines).count("本地数据集路径没有设置，") == 8


def test_a_script_gets_one_line_each(capsys):
    show([Finding("task", "bad", "word " * 40, "advice " * 40)])
    assert len(capsys.readouterr().out.splitlines()) == 2
