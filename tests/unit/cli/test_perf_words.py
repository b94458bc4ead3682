"""The words of `modeltest perf` and `modeltest chat`, mistakes included; no model is loaded."""

import pytest

from modeltest.cli.main import build_parser, main
from modeltest.cli.perf import batch_sizes, modes
from modeltest.errors import UsageError

NULL = ["perf", "null", "--device", "cpu"]


def test_batch_sizes_are_sorted():
    assert batch_sizes("8, 1,16") == (1, 8, 16)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("1,two", "--bs 1,two: not a whole number: 'two'"),
        ("", "--bs : not a whole number"),
        ("1,,2", "not a whole number"),
        ("0,1", "must be at least 1"),
        ("-4", "must be at least 1"),
        ("1,2,1", "--bs 1,2,1: 1 stands twice"),
        ("1.5", "not a whole number"),
    ],
)
def test_bad_batch_sizes(text, said):
    with pytest.raises(UsageError, match=said.replace(".", r"\.")):
        batch_sizes(text)


def test_modes_are_in_the_order_of_the_reports():
    assert modes("natural,fixed") == ("fixed", "natural")
    assert modes("natural") == ("natural",)
    with pytest.raises(UsageError, match="unknown mode 'fast'; known: fixed, natural"):
        modes("fast")
    with pytest.raises(UsageError, match="fixed stands twice"):
        modes("fixed,fixed")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--bs", "1,2,2"], "2 stands twice"),
        (["--bs", "0"], "at least 1"),
        (["--bs", "some"], "not a whole number: 'some'"),
        (["--modes", "slow"], "unknown mode 'slow'"),
        (["--limit", "3"], "--limit needs --task"),
        (["--audio", "/nowhere/clip.wav"], "clip.wav"),
        (["--task", "vocalsond"], "did you mean 'vocalsound'"),
        (["--resume", "last"], "no run 'last'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_is_one_line_and_exit_2(arguments, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main([*NULL, *arguments]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("modeltest: ")
    assert said in line
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "arguments",
    [
        ["perf", "--passes", "2"],
        ["perf", "--repeats", "0"],
        ["perf", "--min-seconds", "0"],
        ["perf", "--min-seconds", "nan"],
        ["perf", "--audio", "a.wav", "--task", "vocalsound"],
        ["chat", "null"],
        ["chat", "--audio", "a.wav"],
    ],
    ids=" ".join,
)
def test_wrong_words_show_the_usage(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert capsys.readouterr().err.startswith("usage: modeltest")


def test_defaults():
    options = build_parser().parse_args(["perf"])
    assert (options.model, options.batch_sizes, options.modes) == (
        None, "1,2,4,8,16", None,
    )  # fmt: skip
    assert (options.repeats, options.passes, options.max_output_length) == (5, 5, 64)
    assert (options.min_seconds, options.seed, options.isolate) == (None, 0, False)


@pytest.mark.parametrize(
    ("options", "amount"),
    [((), "10 s per point: 40 s and more"), (("--certified",), "600 s per point: 40 min and more")],
)
def test_the_plan_says_what_will_be_measured(options, amount, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main([*NULL, "--bs", "1,4", "--dry-run", *options]) == 0
    shown = capsys.readouterr()
    assert "batch sizes 1, 4; fixed and natural" in shown.err
    assert f"5 passes, at least 5 rounds and {amount}" in shown.err
    assert "the median of vocalsound_mini" in shown.err
    assert shown.out.startswith("prompt    {audio}In this audio")
    assert "batch size 4, natural" in shown.out
    assert list(tmp_path.iterdir()) == []


def test_of_a_service_the_plan_says_that_every_clip_is_asked_about(
    capsys, tmp_path, monkeypatch, clips
):
    monkeypatch.chdir(tmp_path)
    model = tmp_path / "served.yaml"
    model.write_text(
        "backend: openai\nservice: vllm\nbase_url: http://127.0.0.1:9\nmodel: m\n", "utf-8"
    )
    command = ["perf", str(model), "--bs", "1,2", "--audio", str(clips), "--dry-run"]
    assert main(command) == 0
    said = capsys.readouterr().err
    assert "3 s in all, in turn; one shuffled order for all points" in said
    assert "none is sent twice" in said
    assert "a batch of" not in said


def test_help_promises_no_accuracy_of_a_service(capsys):
    with pytest.raises(SystemExit):
        main(["perf", "--help"])
    shown = " ".join(capsys.readouterr().out.split())
    assert "accuracy included (not of a service" in shown


def test_a_folder_is_measured_clip_by_clip(capsys, tmp_path, monkeypatch, clips):
    monkeypatch.chdir(tmp_path)
    (clips / "README.md").write_text("no clip")
    assert main([*NULL, "--bs", "2,4", "--audio", str(clips), "--dry-run"]) == 0
    said = capsys.readouterr().err
    assert "f0001_0_cough.wav, 0.50 s, and 2 more, 3 s in all, in turn" in said
    assert "warning: 1 files passed over (no audio)" in said
    assert "warning: a batch of 2 holds only the first 2 of 3 clips" in said
