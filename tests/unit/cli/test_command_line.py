"""The words that users' scripts are made of."""

import argparse
import errno
import os
import subprocess
import sys

import pytest

from modeltest.cli import listing
from modeltest.cli.main import build_parser, main

MODEL_OPTIONS = {"--device", "--dtype", "--attention", "--engine", "--set", "--config-dir"}
# A new option is a promise: add it here on purpose.
OPTIONS = {
    "eval": MODEL_OPTIONS
    | {"--bs", "--limit", "--seed", "--output-dir", "--dry-run", "--resume", "--fail-on-error"}
    | {"--certified", "--stop-at-answer", "--dp", "--tp", "--ray"},
    "perf": MODEL_OPTIONS
    | {"--bs", "--modes", "--audio", "--task", "--limit", "--max-input-length"}
    | {"--max-output-length", "--repeats", "--min-seconds", "--passes", "--certified"}
    | {"--isolate", "--seed", "--output-dir", "--resume", "--dry-run"},
    "chat": MODEL_OPTIONS
    | {"--audio", "--text", "--each", "--max-input-length", "--max-output-length", "--seed"},
    "serve": MODEL_OPTIONS
    | {"--host", "--port", "--bs", "--batch-wait-ms", "--allow-media", "--api-key-env"}
    | {"--max-requests", "--max-input-length", "--max-output-length", "--seed"},
    "compare": {"--output-dir", "--tolerance", "--margin", "--other-model", "--power", "--lang"},
    "parity": MODEL_OPTIONS
    | {"--bs", "--reference", "--batch-invariance", "--record", "--task", "--limit", "--layers"}
    | {"--output-dir"},
    "report": {"--output-dir", "--repair", "--md", "--lang", "--embed-audio"},
    "rescore": {"--output-dir", "--rule"},
    "list": {"--output-dir", "--config-dir"},
    "check": {"--device", "--npu-selfcheck", "--set", "--config-dir"},
}


def subparsers():
    [action] = [a for a in build_parser()._actions if isinstance(a, argparse._SubParsersAction)]
    return action.choices


def test_commands_and_their_options_are_frozen():
    found = {
        name: {text for action in parser._actions for text in action.option_strings}
        for name, parser in subparsers().items()
    }
    assert found == {name: options | {"-h", "--help"} for name, options in OPTIONS.items()}


def test_options_of_the_program_itself_are_frozen():
    found = {text for action in build_parser()._actions for text in action.option_strings}
    assert found == {"-h", "--help", "--version"}


def test_every_option_has_a_help_text():
    for parser in subparsers().values():
        assert all(action.help for action in parser._actions)


def test_options_have_one_name(capsys):
    with pytest.raises(SystemExit):
        build_parser().parse_args(["eval", "task", "model", "--dev", "cpu"])
    assert "--dev" in capsys.readouterr().err


def test_help_shows_the_defaults_that_tell_something():
    for parser in subparsers().values():
        shown = parser.format_help()
        assert not any(f"(default: {no})" in shown for no in ("None", "False", "[]"))
    assert "(default: 64)" in " ".join(subparsers()["perf"].format_help().split())


def test_choices_are_those_of_the_contract():
    for arguments in (
        ["--device", "auto"], ["--device", "npu"], ["--device", "cuda"], ["--device", "cpu"],
        ["--dtype", "bf16"], ["--dtype", "fp16"], ["--dtype", "fp32"], ["--attention", "sdpa"],
        ["--attention", "eager"], ["--attention", "flash_attention_2"],
    ):  # fmt: skip
        options = build_parser().parse_args(["eval", "t", "m", *arguments])
        assert getattr(options, arguments[0][2:]) == arguments[1]


def test_defaults_of_eval():
    options = build_parser().parse_args(["eval", "t", "m"])
    assert (options.task, options.model, options.device) == ("t", "m", "auto")
    assert (options.bs, options.dtype, options.limit, options.seed) == (None, None, None, 0)
    assert str(options.output_dir) == "outputs"
    assert options.overrides == []


@pytest.mark.parametrize(
    "arguments",
    [
        ["eval"],
        ["eval", "t"],
        ["frobnicate"],
        ["list", "devices"],
        ["eval", "t", "m", "--bs", "0"],
        ["eval", "t", "m", "--bs", "two"],
        ["eval", "t", "m", "--limit", "0"],
        ["eval", "t", "m", "--seed", "-1"],
        ["eval", "t", "m", "--device", "tpu"],
        ["eval", "t", "m", "--frobnicate"],
    ],
    ids=" ".join,
)
def test_wrong_words_are_exit_2_with_the_usage(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("usage: modeltest")


TINY = ["eval", "vocalsound_mini", "qwen2_audio_tiny"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["eval", "vocalsond", "qwen2_audio_tiny"], "did you mean 'vocalsound'"),
        (["eval", "vocalsound_mini", "qwen2_tiny"], "unknown model 'qwen2_tiny'"),
        (["eval", "vocalsound_mini", "qwen2_audio"], "model_path is not set"),
        (["eval", "vocalsound_mini", "mine.yaml"], "mine.yaml: no such file"),
        ([*TINY, "--set", "promt=x"], "did you mean 'prompt'"),
        ([*TINY, "--set", "prompt"], "prompt"),
        ([*TINY, "--set", "model.batch_size=many"], "batch_size"),
        ([*TINY, "--config-dir", "/nowhere/at all"], "--config-dir /nowhere/at all: no such"),
        (["list", "models", "--config-dir", "/nowhere"], "--config-dir /nowhere: no such folder"),
    ],
    ids=lambda value: " ".join(value[1:]) if isinstance(value, list) else "",
)
def test_a_users_mistake_is_one_line_and_exit_2(arguments, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    shown = capsys.readouterr()
    [line] = shown.err.splitlines()
    assert line.startswith("modeltest: ")
    assert said in line
    assert shown.out == ""
    assert list(tmp_path.iterdir()) == []


def test_the_unset_model_path_names_file_and_line(capsys, project):
    assert main(["eval", "vocalsound_mini", "qwen2_audio"]) == 2
    file = project / "config" / "model" / "qwen2_audio.yaml"
    lines = file.read_text(encoding="utf-8").splitlines()
    [number] = [n for n, line in enumerate(lines, 1) if line.startswith("model_path:")]
    assert f"qwen2_audio.yaml:{number}:1: model_path is not set" in capsys.readouterr().err


def test_no_command_shows_the_help(capsys):
    assert main([]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("usage: modeltest")
    assert all(name in shown for name in OPTIONS)


@pytest.mark.parametrize("arguments", [[], ["--help"], *([name, "--help"] for name in OPTIONS)])
def test_help_costs_under_a_third_of_a_second(arguments):
    """Of processor time, start-up of Python included; the best of three on a busy machine."""
    seconds = []
    for _ in range(3):
        child = subprocess.Popen(
            [sys.executable, "-m", "modeltest", *arguments],
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        shown = child.stdout.read()
        child.stdout.close()
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        assert child.returncode == 0
        assert "usage: modeltest" in shown
        seconds.append(usage.ru_utime + usage.ru_stime)
        if seconds[-1] < 0.3:
            break
    assert min(seconds) < 0.3


@pytest.mark.parametrize(
    ("given", "bound"),
    [("29%", 29), ("0.7%", 0), ("57%", 57), ("100%", 100), ("33.3%", 33), ("5", 5), ("0", 0)],
)
def test_a_bound_in_percent_is_exact(given, bound):
    """29 % as a float is 0.28999…, of 100 samples 28."""
    options = build_parser().parse_args([*TINY, "--fail-on-error", given])
    kept = options.fail_on_error
    assert (kept if isinstance(kept, int) else int(kept * 100)) == bound


@pytest.mark.parametrize(
    "number", [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG, errno.EROFS]
)
def test_what_the_disk_refuses_is_one_line_and_exit_5(number, capsys, monkeypatch):
    def refuse(_options):
        raise OSError(number, os.strerror(number), "a file")

    monkeypatch.setattr(listing, "execute", refuse)
    assert main(["list"]) == 5
    [line] = capsys.readouterr().err.splitlines()
    assert os.strerror(number) in line
    assert line.endswith("and try again")


def test_what_a_repair_did_is_no_part_of_the_output(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr("modeltest.runlog.find.find_run", lambda *_: tmp_path)
    monkeypatch.setattr("modeltest.runlog.repair.repair", lambda _: ["a.jsonl: 3 records rescued"])
    monkeypatch.setattr("modeltest.cli.outcome.show_outcome", lambda *_: print("VALID") or 0)
    assert main(["report", "last", "--repair"]) == 0
    shown = capsys.readouterr()
    assert shown.out == "VALID\n"
    assert shown.err == "repaired  a.jsonl: 3 records rescued\n"
