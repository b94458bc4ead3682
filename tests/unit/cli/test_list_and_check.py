import pytest

from modeltest.cli import machine_rows
from modeltest.cli.main import main


def listed(capsys, *arguments):
    assert main(["list", *arguments]) == 0
    shown = capsys.readouterr()
    assert shown.err == ""
    return shown.out.splitlines()


@pytest.mark.parametrize(
    ("what", "names"),
    [
        ("models", {"qwen2_audio", "qwen2_audio_tiny"}),
        ("tasks", {"vocalsound", "vocalsound_mini"}),
    ],
)
def test_shipped_names_are_listed_with_descriptions(capsys, what, names):
    described = dict(line.split(maxsplit=1) for line in listed(capsys, what))
    assert names <= described.keys()
    assert all(len(text) > 10 for text in described.values())


def test_a_description_is_the_first_sentence_of_the_files_comment(capsys, tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "mine.yaml").write_text("# My model, which is\n# the best. Or not.\nbatch_size: 1\n")
    (folder / "bare.yaml").write_text("batch_size: 1\n# no comment\n")
    (folder / "hostile.yaml").write_text("# red \x1b[31m\u202e\nbatch_size: 1\n")
    lines = listed(capsys, "models", "--config-dir", str(tmp_path))
    shown = {line.split()[0]: line.partition(" ")[2].strip() for line in lines}
    assert shown["mine"] == "My model, which is the best"
    assert shown["bare"] == ""
    assert shown["hostile"] == "red \\x1b[31m\\u202e"
    assert {"qwen2_audio", "qwen2_audio_tiny"} <= shown.keys()


def test_without_a_word_both_kinds_are_listed(capsys):
    lines = listed(capsys)
    assert lines[0] == "models:"
    assert "tasks:" in lines
    assert any(line.startswith("  vocalsound ") for line in lines)


def test_no_runs_is_no_mistake(capsys, tmp_path):
    assert main(["list", "runs", "--output-dir", str(tmp_path / "none")]) == 0
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "no runs below" in shown.err


def test_a_broken_run_does_not_hide_the_list(capsys, tmp_path):
    run = tmp_path / "2025-03-09" / "modeltest" / "m" / "precision_result" / "runs" / "1"
    run.mkdir(parents=True)
    (run / "manifest.json").write_text("{")
    assert main(["list", "runs", "--output-dir", str(tmp_path)]) == 0
    assert "warning: " in capsys.readouterr().err


@pytest.fixture(scope="module")
def answers():
    """What torch and the vendors' tools say here, asked once: it takes seconds."""
    return machine_rows._ask()


@pytest.fixture
def check(capsys, monkeypatch, answers):
    """Runs `check` and returns exit code, rows by what was looked at, and stderr."""
    monkeypatch.setattr(machine_rows, "_ask", lambda: answers)

    def run(*arguments):
        code = main(["check", "--device", "cpu", *arguments])
        shown = capsys.readouterr()
        rows = {}
        for line in shown.out.splitlines():
            if not line.startswith(" "):
                mark, what, detail = line.split(maxsplit=2)
                rows.setdefault(what, []).append((mark, detail))
        return code, rows, shown.err

    return run


def test_the_machine_alone(check):
    code, rows, err = check()
    assert code == 0
    wanted = {"python", "torch", "transformers", "device", "memory", "audio", "versions"}
    assert rows.keys() - {"driver"} == wanted
    [(tested, _)] = rows.pop("versions")
    assert tested in {"✓", "!"}, "whichever versions the tests are run with"
    assert {mark for row in rows.values() for mark, _ in row} == {"✓"}
    assert rows["device"] == [("✓", "cpu (asked for)")]
    assert err == ""


def test_visible_devices_are_shown(check, monkeypatch):
    monkeypatch.setenv("ASCEND_RT_VISIBLE_DEVICES", "2,3")
    _, rows, _ = check()
    assert rows["device"][0][1].endswith(", ASCEND_RT_VISIBLE_DEVICES=2,3")


def test_task_and_model_that_can_be_used(check, clips, checkpoint):
    (clips / "README.md").write_text("passed over")
    code, rows, _ = check(
        "vocalsound", "qwen2_audio",
        "--set", f"task.local_dataset_path={clips}", "--set", f"model.model_path={checkpoint}",
    )  # fmt: skip
    assert code == 0
    assert rows["task"][0][1].startswith("vocalsound: ")
    assert rows["data"][0] == ("✓", "3 samples, 3 s of audio, folder")
    assert rows["model"][0][1].startswith("qwen2_audio: ")
    assert rows["weights"] == [("✓", f"{checkpoint}, 1e-08 GB of safetensors")]


def test_another_number_of_clips_than_the_task_has_is_a_warning(check, clips):
    code, rows, _ = check("vocalsound", "--set", f"local_dataset_path={clips}")
    assert code == 0
    assert any(mark == "!" and "3591" in detail for mark, detail in rows["data"])


def test_clips_that_cannot_be_used_are_named_and_exit_2(check, clips, checkpoint):
    (clips / "f0009_0_cough.wav").write_text("no audio")
    (clips / "f0009_0_yawn.wav").write_bytes((clips / "f0001_0_cough.wav").read_bytes())
    code, rows, err = check(
        "vocalsound", "qwen2_audio",
        "--set", f"local_dataset_path={clips}", "--set", f"model_path={checkpoint}",
    )  # fmt: skip
    assert code == 2
    assert "checks failed" in err
    details = [detail for mark, detail in rows["task"] if mark == "✗"]
    for name in ("f0009_0_cough.wav", "f0009_0_yawn.wav"):
        assert any(name in detail for detail in details)
    assert rows["weights"][0][0] == "✓", "the other rows are still shown"


@pytest.mark.parametrize(
    ("arguments", "what", "said"),
    [
        (["vocalsound"], "task", "local_dataset_path"),
        (["vocalsond"], "task", "did you mean 'vocalsound'"),
        (["vocalsound_mini", "qwen2_audio"], "model", "model_path is not set"),
        (["vocalsound_mini", "qwen3"], "model", "unknown model 'qwen3'"),
    ],
)
def test_what_is_missing_is_a_row_and_exit_2(check, clips, arguments, what, said):
    extra = ["--set", f"task.local_dataset_path={clips}"] if arguments[0] != "vocalsound" else []
    code, rows, _ = check(*arguments, *extra)
    assert code == 2
    assert any(mark == "✗" and said in detail for mark, detail in rows[what])
    assert rows["python"][0][0] == "✓"
