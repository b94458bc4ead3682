"""`modeltest compare` of accuracy runs as a command: exit codes, options, one-line refusals."""

import pytest
from accuracy_runs import replies, write_run

from modeltest.cli.main import main

BIG = 600
OUTCOMES = {
    "PASS": ("+" * BIG, 0),
    "FAIL": ("-" * 60 + "+" * (BIG - 60), 3),
    "INCONCLUSIVE": ("-" * 8 + "+" * (BIG - 8), 4),
}


@pytest.fixture
def pair(tmp_path, monkeypatch):
    """Writes two runs below `outputs`; returns their ids."""
    monkeypatch.chdir(tmp_path)

    def make(second, change=lambda _: None):
        write_run(tmp_path / "outputs", replies("+" * BIG), "170000-aaaaaa")
        write_run(tmp_path / "outputs", replies(second), "180000-bbbbbb", change=change)
        return "170000-aaaaaa", "180000-bbbbbb"

    return make


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_the_verdict_is_the_first_word_and_the_exit_code(pair, capsys, outcome):
    second, code = OUTCOMES[outcome]
    assert main(["compare", *pair(second)]) == code
    out = capsys.readouterr().out
    assert out.startswith(f"{outcome}: ")
    assert "outputs/comparison/170000-aaaaaa-180000-bbbbbb/flips.csv" in out


def test_the_margin_is_in_points(pair, tmp_path):
    runs = pair(OUTCOMES["FAIL"][0])
    assert main(["compare", *runs, "--margin", "15"]) == 0
    assert main(["compare", *runs, "--margin", "0.5"]) == 3
    assert len(list((tmp_path / "outputs" / "comparison").iterdir())) == 2


def test_the_page_is_named_and_its_language_can_be_fixed(pair, capsys, tmp_path):
    assert main(["compare", *pair("+" * BIG), "--lang", "zh"]) == 0
    page = "outputs/comparison/170000-aaaaaa-180000-bbbbbb/compare.html"
    assert f"page     {page}\n" in capsys.readouterr().out
    assert '<html lang="zh-Hans" data-fixed>' in (tmp_path / page).read_text(encoding="utf-8")


@pytest.mark.parametrize("wrong", ["0", "-1", "100", "nan", "inf", "much"])
def test_margins_that_make_no_sense(pair, capsys, wrong):
    with pytest.raises(SystemExit) as caught:
        main(["compare", *pair("+" * BIG), f"--margin={wrong}"])
    assert caught.value.code == 2
    assert "argument --margin" in capsys.readouterr().err


@pytest.mark.parametrize("value", ["0", "5"])
def test_a_tolerance_is_for_speed(pair, capsys, value):
    assert main(["compare", *pair("+" * BIG), "--tolerance", value]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line == ("modeltest: --tolerance is for runs of performance; these are runs of accuracy")


def test_a_difference_is_exit_2_and_writes_nothing(pair, capsys, tmp_path):
    runs = pair("+" * BIG, lambda manifest: manifest["task"]["settings"].update(version="9"))
    assert main(["compare", *runs]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert "differ in task version: A has 1.0, B has 9" in line
    assert not (tmp_path / "outputs" / "comparison").exists()


def test_another_model_needs_the_option(pair, capsys):
    def change(manifest):
        manifest["identity"]["backend"]["model"]["files"]["config.json"] = {"sha256": "d" * 64}

    runs = pair("+" * BIG, change)
    assert main(["compare", *runs]) == 2
    assert "--other-model" in capsys.readouterr().err
    assert main(["compare", *runs, "--other-model"]) == 0


def test_two_runs_have_to_be_named(capsys):
    for given in ([], ["170000-aaaaaa"]):
        assert main(["compare", *given]) == 2
        assert "give two runs, RUN_A and RUN_B" in capsys.readouterr().err


def test_power_prints_the_table(capsys):
    assert main(["compare", "--power"]) == 0
    out = capsys.readouterr().out
    assert "786 / 970" in out  # as samples_needed has it for 0.5 % and 1 point
    assert max(map(len, out.splitlines())) <= 80
    assert main(["compare", "--power", "--margin", "2"]) == 0
    assert "310 / 367" in capsys.readouterr().out


@pytest.mark.parametrize("more", [["a"], ["--tolerance", "0"], ["--other-model"], ["--lang", "en"]])
def test_power_compares_nothing(capsys, more):
    assert main(["compare", "--power", *more]) == 2
    assert "--power compares no runs" in capsys.readouterr().err
