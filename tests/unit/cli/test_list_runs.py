"""`modeltest list runs`: what a person reads, within the terminal's width."""

import json
import re

import pytest

from modeltest.cli import listing
from modeltest.cli.listing import ListedRun, runs_table
from modeltest.cli.main import main
from modeltest.reports.terminal import cells


def run(**changes):
    usual = {
        "started": "2025-03-09 17:45", "run_id": "174503-0a1b2c", "task": "vocalsound",
        "model": "qwen2_audio", "device": "NPU", "headline": "acc 92.5 % (91.5–93.4)",
        "state": "VALID", "done": "3591/3591", "to_continue": "",
        "folder": "outputs/2025-03-09/modeltest/qwen2_audio/precision_result/runs/174503-0a1b2c",
    }  # fmt: skip
    return ListedRun(**{**usual, **changes})


RUNS = [
    run(),
    run(task="咳嗽与打喷嚏的声音识别任务", model="千问音频", state="INCOMPLETE",
        folder="结果/2025-03-09/modeltest/千问音频/precision_result/很长很长的文件夹名字/runs/1"),
    run(task="perf", headline="178 tokens/s (177–179)", device="SERVICE", done="30/30"),
]  # fmt: skip


def test_a_wide_terminal_shows_a_line_per_run():
    lines = runs_table(RUNS, 220).splitlines()
    assert lines[0].split() == [
        "started", "run", "state", "done", "headline", "task", "model", "device", "folder",
    ]  # fmt: skip
    assert len(lines) == 2 + 3
    starts = [cells(line[: line.index(folder)]) for line, folder in zip(
        lines[2:], (each.folder for each in RUNS), strict=True)]  # fmt: skip
    assert len(set(starts)) == 1, "the folders stand below each other, behind Chinese, too"


def test_a_script_gets_a_line_per_run_whatever_its_length():
    assert len(runs_table(RUNS, None).splitlines()) == 2 + 3


@pytest.mark.parametrize("columns", [80, 60])
def test_a_narrow_terminal_is_not_overflowed_and_nothing_is_lost(columns):
    text = runs_table(RUNS, columns)
    assert max(map(cells, text.splitlines())) <= max(columns, 80)
    joined = re.sub(r"\n +", "", text)
    for each in RUNS:
        assert each.folder in joined
        assert each.task in joined
        assert f"{each.model} ·" in re.sub(r"\s+", " ", text)


def test_a_run_that_can_be_continued_says_how(capsys, monkeypatch, tmp_path):
    found = [run(run_id=f"17450{n}-0a1b2c", state="INCOMPLETE", to_continue=f"command {n}")
             for n in range(5)]  # fmt: skip
    monkeypatch.setattr(listing, "_runs", lambda _: iter([run(), *found]))
    assert main(["list", "runs", "--output-dir", str(tmp_path)]) == 0
    shown = capsys.readouterr()
    order = re.findall(r"17450(\d)-0a1b2c", shown.out)[::2]
    assert order == ["4", "3", "2", "1", "0", "3"], "newest first"
    assert shown.err.splitlines() == [
        "to continue 174504-0a1b2c: command 4",
        "to continue 174503-0a1b2c: command 3",
        "to continue 174502-0a1b2c: command 2",
        "and 2 more that can be continued",
    ]


@pytest.fixture
def begun(tmp_path, monkeypatch, capsys):
    """A run that was stopped, as `list` finds it."""
    from modeltest.backends.null import NullBackend

    def stop(*_args, **_options):
        raise KeyboardInterrupt

    monkeypatch.setattr("sys.argv", [
        "/x/bin/modeltest", "eval", "vocalsound_mini", "null", "--limit", "3",
        "--output-dir", "a b", "--resume", "older",
    ])  # fmt: skip
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(NullBackend, "generate", stop)
    arguments = ["vocalsound_mini", "null", "--limit", "3", "--output-dir", "a b"]
    with pytest.raises(KeyboardInterrupt):
        main(["eval", *arguments])
    capsys.readouterr()
    return tmp_path


def test_the_command_to_continue_is_the_one_that_began_it(begun, capsys):
    assert main(["list", "runs", "--output-dir", "a b"]) == 0
    shown = capsys.readouterr()
    [folder] = (begun / "a b").glob("*/modeltest/*/precision_result/runs/*")
    assert shown.err == (
        f"to continue {folder.name}: cd {begun} && modeltest eval vocalsound_mini null --limit 3 "
        f"--output-dir 'a b' --resume {folder.name}\n"
    )
    assert re.search(rf"{folder.name} +INCOMPLETE +0/3 +- +vocalsound_mini +null +CPU", shown.out)


def test_a_run_without_a_command_line_says_what_is_known(begun, capsys):
    from modeltest.runlog.manifest import read_manifest, write_manifest

    [folder] = (begun / "a b").glob("*/modeltest/*/precision_result/runs/*")
    manifest = read_manifest(folder)
    write_manifest(folder, {**manifest, "argv": ["pytest"]})
    for segment in (folder / "log").iterdir():
        segment.unlink()  # it names the manifest as it was
    assert json.loads((folder / "manifest.json").read_text())["argv"] == ["pytest"]
    main(["list", "runs", "--output-dir", "a b"])
    said = capsys.readouterr().err
    assert said.endswith(f"the command that began it, with --resume {folder.name}\n")


def test_a_run_that_is_worked_on_is_running(begun, capsys, monkeypatch):
    monkeypatch.setattr("modeltest.runlog.lock.is_locked", lambda _: True)
    main(["list", "runs", "--output-dir", "a b"])
    shown = capsys.readouterr()
    assert " running " in shown.out
    assert shown.err == ""


FACTS = {
    "verdict": "FAIL", "started": "2025-03-09T18:00:00+08:00", "num_samples": 12,
    "num_failed": 1, "num_stages": 16, "num_outside": 3,
    "b": {"model": "qwen2_audio_tiny", "device": "NPU"},
}  # fmt: skip


def leave_check(output_dir, facts, run_id="180000-0a1b2c"):
    folder = output_dir / "2025-03-09/modeltest/qwen2_audio_tiny/parity_result" / run_id
    folder.mkdir(parents=True)
    (folder / "parity.json").write_text(facts if isinstance(facts, str) else json.dumps(facts))
    return folder


def test_a_parity_check_is_listed_with_its_outcome(tmp_path, capsys):
    folder = leave_check(tmp_path, FACTS)
    assert main(["list", "runs", "--output-dir", str(tmp_path)]) == 0
    shown = capsys.readouterr()
    assert shown.err == ""
    assert re.split(r"  +", shown.out.splitlines()[2].strip()) == [
        "2025-03-09 18:00", "180000-0a1b2c", "FAIL", "11/12", "3 of 16 stages outside", "parity",
        "qwen2_audio_tiny", "NPU", str(folder),
    ]  # fmt: skip


def test_runs_of_all_commands_stand_in_the_order_of_time(begun, capsys):
    [folder] = (begun / "a b").glob("*/modeltest/*/precision_result/runs/*")
    leave_check(begun / "a b", FACTS, "000000-000000")  # long ago
    main(["list", "runs", "--output-dir", "a b"])
    rows = capsys.readouterr().out.splitlines()[2:]
    assert [row.split()[2] for row in rows] == [folder.name, "000000-000000"]


def test_a_check_of_before_stages_were_counted_is_listed(tmp_path, capsys):
    leave_check(tmp_path, {key: FACTS[key] for key in FACTS if not key.startswith("num_st")
                           and key != "num_outside"})  # fmt: skip
    main(["list", "runs", "--output-dir", str(tmp_path)])
    assert re.search(r"FAIL +11/12 +- +parity", capsys.readouterr().out)


@pytest.mark.parametrize(
    "facts",
    [
        "{", "[]", '"x"', '{"verdict": NaN}', "[" * 100_000,
        *({**FACTS, **part} for part in (
            {"verdict": "VALID"}, {"verdict": None}, {"b": None}, {"b": {"model": "m"}},
            {"b": {"model": 3, "device": "CPU"}}, {"started": None}, {"num_samples": -1},
            {"num_failed": "1"}, {"num_outside": 0.5}, {"num_stages": None},
        )),
    ],
    ids=lambda facts: str(facts)[:30],
)  # fmt: skip
def test_a_broken_check_is_a_warning_and_hides_nothing(tmp_path, capsys, facts):
    leave_check(tmp_path, FACTS)
    leave_check(tmp_path, facts, "190000-0a1b2c")
    assert main(["list", "runs", "--output-dir", str(tmp_path)]) == 0
    shown = capsys.readouterr()
    assert "180000-0a1b2c" in shown.out
    [warning] = shown.err.splitlines()
    assert warning.startswith("warning: ")
    assert "parity.json: not the facts of a parity check" in warning


def test_hostile_words_of_a_check_stay_on_their_line(tmp_path, capsys):
    leave_check(tmp_path, {**FACTS, "b": {"model": "m\x1b[2J\nVALID", "device": "\u202eC"}})
    main(["list", "runs", "--output-dir", str(tmp_path)])
    shown = capsys.readouterr().out
    assert len(shown.splitlines()) == 3
    assert "\x1b" not in shown
    assert "\u202e" not in shown


@pytest.mark.parametrize("by_path", [False, True])
def test_a_check_has_nothing_to_report_again(tmp_path, capsys, by_path):
    folder = leave_check(tmp_path, FACTS)
    name = str(folder) if by_path else folder.name
    assert main(["report", name, "--output-dir", str(tmp_path)]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert f"{name} is a check of `modeltest parity`, whose tables are in {folder}" in line


def test_the_last_run_is_one_that_has_reports(begun):
    from modeltest.runlog.find import find_run

    [folder] = (begun / "a b").glob("*/modeltest/*/precision_result/runs/*")
    later = folder.parents[5] / "9999-12-31/modeltest/m/parity_result/000000-000000"
    later.mkdir(parents=True)
    (later / "parity.json").write_text(json.dumps(FACTS))
    assert find_run("last", begun / "a b") == folder.resolve()
