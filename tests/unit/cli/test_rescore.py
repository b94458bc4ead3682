"""`modeltest rescore` on a stored run that was written down by hand."""

import csv
from pathlib import Path

import pytest

from modeltest.cli.main import build_parser, main
from modeltest.runlog.keys import data_sha256, record_row, reply_key
from modeltest.runlog.manifest import write_manifest
from modeltest.runlog.run_log import open_segment
from modeltest.settings.load import load_task
from modeltest.tasks.rules import RULES

RUN = "174503-0a1b2c"
# Truth, reply, and the answer that the task's rule logged.
REPLIES = (
    ("cough", "C: Cough", "cough"),
    ("cough", "A cough.", "cough"),
    ("sneeze", "Sneeze", "sneeze"),
    ("laughter", "=HYPERLINK(1) \x1b[31m笑声", "laughter"),
    ("sigh", "no idea", None),
    ("sniff", "Sniff or throat", "sniff"),
)
# By hand: which of the six replies each rule finds right, and how many it cannot read.
RIGHT = {
    "letter_or_name": ([0, 1, 2, 3, 5], 1),
    # "A cough." has an A; "=HYPERLINK" has an E; "Sniff or throat" is read as F.
    "original": ([0, 2, 5], 1),
    # "A cough." is A, laughter; the others begin with S, =, n, S.
    "aisbench": ([0], 4),
    # "Sniff" stands before "throat" in its order.
    "lmms": ([0, 1, 2, 5], 2),
    "ultraeval": ([2, 5], 4),
    "official": ([2], 5),
    # The article of "A cough." is dropped; "c cough" begins with no name.
    "helm": ([1, 2, 5], 3),
}


def record(number, truth, reply, answer, error=""):
    score = {"answer": answer, "correct": answer == truth, "legacy_answer": None}
    return {
        "type": "sample",
        "index": number,
        "sample_id": f"f0001_{number}_{truth}",
        "truth": truth,
        "metadata": {},
        "subsets": [f"class={truth}"],
        "clips": [{
            "name": f"f0001_{number}_{truth}.wav", "sha256": f"{number}", "duration_s": 1.0,
            "heard_s": 1.0, "note": "",
        }],
        "response": {
            "text": reply, "input_text": "?", "input_tokens": 9, "output_tokens": 3,
            "finish_reason": "stop", "timing": {"e2e_s": 0.5}, "error": error,
        },
        "score": {**score, "legacy_correct": False},
    }  # fmt: skip


def manifest(task, settings, records, **data):
    return {
        "schema_version": 2,
        "command": "eval",
        "place": {
            "date": "2025-03-09", "run_id": RUN, "model": "m", "task": task,
            "backend": "transformers", "device_label": "CPU", "dtype": "fp32", "batch_size": 8,
            "tp": 1,
        },
        "task": {"name": task, "overrides": [], "settings": settings},
        "model": {"name": "m", "overrides": [], "settings": {"attention": "sdpa"}},
        "labels": [choice["label"] for choice in settings["choices"]],
        "prompt": {"format": "raw", "rendered": "?"},
        "identity_sha256": "identity",
        "data": {
            "folder": "/data/clips", "layout": "folder", "num_samples": len(records),
            "num_available": len(records), "warnings": [],
            "sha256": data_sha256(b"".join(map(record_row, records))), **data,
        },
        "device": {"kind": "cpu", "name": "a device"},
        "dp": 1,
        "started": "2025-03-09T17:45:03+08:00",
        "packages": {"torch": None, "transformers": None},
        "tool": {"version": "0.1.0", "commit": None, "dirty": None},
    }  # fmt: skip


@pytest.fixture
def stored(tmp_path):
    """Writes a run; returns the folder of its CSV files."""

    def write(task="vocalsound", replies=REPLIES, change=lambda _: None, errors=(), **data):
        settings = load_task(task).settings.model_dump(mode="json")
        records = [
            record(number, *reply, error="boom" if number in errors else "")
            for number, reply in enumerate(replies)
        ]
        if not settings["choices"]:
            records = [{**each, "subsets": []} for each in records]
        content = manifest(task, settings, records, **data)
        change(content)
        root = tmp_path / "outputs/2025-03-09/modeltest/m/precision_result"
        folder = root / "runs" / RUN
        folder.mkdir(parents=True)
        write_manifest(folder, content)
        with open_segment(folder) as segment:
            for each in records:
                segment.append({**each, "key": reply_key(record_row(each), "identity")})
        return root / "results/CPU/precision_test" / task / "fp32/m"

    return write


@pytest.fixture
def rescored(capsys, tmp_path):
    """Calls `modeltest rescore last`; returns exit code, output lines and errors."""

    def call(*arguments):
        code = main(["rescore", "last", "--output-dir", str(tmp_path / "outputs"), *arguments])
        shown = capsys.readouterr()
        return code, shown.out.splitlines(), shown.err

    return call


def table(folder: Path, kind: str) -> list[dict[str, str]]:
    [path] = folder.glob(f"*_{RUN}_{kind}.csv")
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def row_of(lines, rule):
    [cells] = [line.split() for line in lines if line.split()[:1] == [rule] and "–" in line]
    return [cell for cell in cells[1:] if cell not in {"*", "–"}]


def test_every_rules_figures_are_those_worked_out_by_hand(stored, rescored):
    folder = stored()
    code, lines, _ = rescored()
    assert code == 0
    assert lines[0] == "VALID: 1 of 6 replies unparsed"
    rows = {row["rule"]: row for row in table(folder, "rescore")}
    assert set(rows) == set(RULES) == set(RIGHT)
    ours = set(RIGHT["letter_or_name"][0])
    for rule, (right, unparsed) in RIGHT.items():
        row = rows[rule]
        assert (float(row["acc"]), int(row["correct"])) == (len(right) / 6, len(right)), rule
        assert (int(row["unparsed"]), row["total"], row["errors"]) == (unparsed, "6", "0"), rule
        assert int(row["won"]) == len(set(right) - ours), rule
        assert int(row["lost"]) == len(ours - set(right)), rule
        shown = row_of(lines, rule)
        assert shown[0] == f"{100 * len(right) / 6:.2f}"
        assert shown[3] == str(unparsed)
        assert shown[5:] == [row["won"], row["lost"]]
    assert rows["letter_or_name"]["is_task_rule"] == "true"
    assert rows["lmms"]["is_task_rule"] == "false"
    # Wilson's interval of 5 in 6, by statsmodels' proportion_confint.
    interval = [float(rows["letter_or_name"][end]) for end in ("ci_low", "ci_high")]
    assert interval == pytest.approx([0.436497, 0.969947], abs=1e-6)
    assert rows["letter_or_name"]["ci_method"] == "wilson"


def test_answers_per_sample_and_how_many_differ_between_two_rules(stored, rescored):
    folder = stored()
    rescored()
    samples = table(folder, "rescore_samples")
    assert list(samples[0]) == ["sample_id", "truth", "reply", *RULES, "error", "validity"]
    assert [row["lmms"] for row in samples] == ["cough", "cough", "sneeze", "", "", "sniff"]
    assert [row["helm"] for row in samples] == ["", "cough", "sneeze", "", "", "sniff"]
    assert samples[1]["aisbench"] == "laughter"
    assert samples[3]["reply"].startswith("'=HYPERLINK")
    rows = {row["rule"]: row for row in table(folder, "rescore")}
    assert rows["lmms"]["differs_from_helm"] == rows["helm"]["differs_from_lmms"] == "1"
    assert rows["helm"]["differs_from_helm"] == "0"
    assert rows["lmms"]["differs_from_letter_or_name"] == "1"


def test_one_rule_with_the_replies_that_it_reads_otherwise(stored, rescored):
    stored()
    code, lines, _ = rescored("--rule", "aisbench")
    assert code == 0
    assert [line.split()[0] for line in lines[4:6]] == ["letter_or_name", "aisbench"]
    text = "\n".join(lines)
    assert "4 replies that aisbench reads otherwise" in text
    assert "f0001_1_cough" in text
    assert "official" not in text
    assert "\x1b" not in text
    assert "=HYPERLINK(1) \\x1b[31m笑声" in text


def test_the_tables_fit_a_terminal_and_a_long_reply_is_cut(stored, rescored):
    stored(replies=[("cough", "咳嗽" + "了\n" * 5_000, "cough")] * 25)
    _, lines, _ = rescored()
    [paths] = [place for place, line in enumerate(lines) if line.startswith("rules ")]
    assert max(map(len, lines[:paths])) <= 80
    _, lines, _ = rescored("--rule", "lmms")
    [head] = [place for place, line in enumerate(lines) if "reads otherwise" in line]
    assert lines[head] == "25 replies that lmms reads otherwise, the first 20"
    shown = lines[head + 3 : head + 23]
    assert all(line.endswith("…") and len(line) < 120 for line in shown)
    assert lines[head + 23] == ""


def test_a_rule_that_reads_all_as_ours_says_so(stored, rescored):
    stored(replies=(("cough", "C: Cough", "cough"),))
    _, lines, _ = rescored("--rule", "lmms")
    assert "lmms reads every reply as letter_or_name does" in lines


def test_an_unknown_rule_is_refused_before_anything_is_read(rescored):
    code, lines, err = rescored("--rule", "lmm\x1b[1ms")
    assert (code, lines) == (2, [])
    assert err == (
        "modeltest: --rule lmm\\x1b[1ms: unknown rule; known: letter_or_name, original, aisbench, "
        "lmms, ultraeval, official, helm\n"
    )


def test_the_help_names_every_rule():
    [commands] = [a for a in build_parser()._actions if hasattr(a, "choices") and a.choices]
    [option] = [a for a in commands.choices["rescore"]._actions if a.dest == "rule"]
    assert all(rule in option.help for rule in RULES)


def test_the_runs_own_reports_stay_as_they_are(stored, rescored, tmp_path, capsys):
    folder = stored()

    def contents():
        assert main(["report", "last", "--output-dir", str(tmp_path / "outputs")]) == 0
        files = [path for path in (tmp_path / "outputs").rglob("*") if path.is_file()]
        return {path: path.read_bytes() for path in files if "rescore" not in path.name}

    before = contents()
    rescored()
    first = [path.read_bytes() for path in sorted(folder.glob("*rescore*"))]
    assert contents() == before
    capsys.readouterr()
    rescored("--rule", "helm")
    assert [path.read_bytes() for path in sorted(folder.glob("*rescore*"))] == first
    assert len(first) == 2


def test_the_original_tools_own_counting_is_shown_beside_ours(stored, rescored):
    """Below a folder with a dot it finds no label: then what it cannot read is right."""
    folder = stored(folder="/data/v1.0")
    _, lines, _ = rescored()
    rows = {row["rule"]: row for row in table(folder, "rescore")}
    assert float(rows["original"]["acc"]) == 3 / 6
    assert float(rows["original"]["acc_own_counting"]) == 1 / 6
    assert {row["acc_own_counting"] for name, row in rows.items() if name != "original"} == {""}
    assert any(line.startswith("original: 16.67 % as MindIE-LLM's modeltest") for line in lines)


@pytest.mark.parametrize("layout", ["folder", "release tree (audio_16k)"])
def test_where_it_finds_its_labels_the_original_tool_counts_as_we_do(stored, rescored, layout):
    folder = stored(layout=layout)
    _, lines, _ = rescored()
    [row] = [row for row in table(folder, "rescore") if row["rule"] == "original"]
    assert row["acc_own_counting"] == row["acc"]
    assert not any("itself counts" in line for line in lines)


def test_rows_of_a_table_have_no_path_for_the_original_tool(stored, rescored):
    folder = stored(layout="saved dataset")
    rescored()
    assert {row["acc_own_counting"] for row in table(folder, "rescore")} == {""}


def test_a_failed_sample_is_right_by_no_rule_and_makes_the_run_invalid(stored, rescored):
    replies = (("cough", "", None), ("sneeze", "Sneeze", "sneeze"))
    folder = stored(replies=replies, errors=(0,), folder="/data/v1.0")
    code, lines, _ = rescored()
    assert code == 3
    assert lines[0] == "INVALID: 1 of 2 samples failed"
    for row in table(folder, "rescore"):
        assert (row["validity"], row["errors"], row["total"]) == ("INVALID", "1", "2")
        assert int(row["correct"]) + int(row["unparsed"]) == 1
        assert row["acc_own_counting"] in {"", "0.0"}


def test_an_unfinished_run_is_rescored_as_far_as_it_is(stored, rescored):
    stored(num_samples=9, num_available=9)
    code, lines, _ = rescored()
    assert code == 4
    assert lines[0].startswith("INCOMPLETE: 6 of 9 samples evaluated")


def test_a_run_without_a_sample_has_no_accuracy(stored, rescored):
    folder = stored(replies=(), num_samples=1, num_available=1)
    code, lines, _ = rescored()
    assert code == 4
    assert {row["acc"] for row in table(folder, "rescore")} == {""}
    assert lines[4].split()[:4] == ["letter_or_name", "*", "-", "-"]


def test_answers_of_another_version_of_the_rule_are_noted(stored, rescored):
    stored(replies=(("cough", "C: Cough", None), ("sigh", "Sigh", "sigh")))
    _, lines, _ = rescored()
    assert "warning: 1 answers of the run were read by another version of letter_or_name" in lines


def test_published_figures_stand_beside_with_their_source(stored, rescored):
    stored(task="vocalsound_lmms")
    code, lines, _ = rescored()
    assert code == 0
    text = "\n".join(lines)
    assert "lmms *" in text
    assert "93.60 %  Qwen2-Audio-7B-Instruct: lmms-eval 0.3 release notes (test split)" in text


def test_where_nothing_was_published_that_is_said(stored, rescored):
    stored()
    _, lines, _ = rescored()
    assert any(line.startswith("published for this prompt: no figure is known") for line in lines)


def test_older_manifests_have_no_rule_and_nothing_published(stored, rescored):
    def older(manifest):
        del manifest["task"]["settings"]["answer"], manifest["task"]["settings"]["published"]

    stored(change=older)
    code, lines, _ = rescored()
    assert code == 0
    assert any(line.startswith("letter_or_name *") for line in lines)


def test_a_transcription_run_is_refused_in_one_line(stored, rescored):
    stored(task="meld_pairs")
    code, lines, err = rescored()
    assert (code, lines) == (2, [])
    assert len(err.splitlines()) == 1
    assert "is a run of meld_pairs, a transcription task without options" in err


@pytest.mark.parametrize(
    ("key", "value", "what"),
    [
        ("choices", [], "its choices are not those of its labels"),
        ("choices", 3, "task.settings.choices of its manifest cannot be used"),
        ("choices", [{"letter": "A"}], "task.settings.choices of its manifest cannot be used"),
        ("published", {"value": 1}, "task.settings.published is {'value': 1}, not a list of"),
        ("published", [{"value": 93}], "task.settings.published is [{'value': 93}], not a list"),
    ],
)
def test_a_manifest_that_no_task_could_have_is_refused_in_one_line(
    stored, rescored, key, value, what
):
    stored(change=lambda manifest: manifest["task"]["settings"].update({key: value}))
    code, lines, err = rescored()
    assert (code, lines) == (2, [])
    assert len(err.splitlines()) == 1
    assert what in err


def test_a_performance_run_is_refused_in_one_line(tmp_path, capsys):
    folder = tmp_path / "2025-03-09/modeltest/m/performance_result/1"
    write_manifest(folder, {"schema_version": 2, "command": "perf"})
    assert main(["rescore", str(folder)]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert "is no run of modeltest eval" in line


def test_a_folder_that_is_a_link_is_not_written_through(stored, rescored, tmp_path):
    folder = stored()
    folder.parent.mkdir(parents=True)
    folder.symlink_to(tmp_path, target_is_directory=True)
    code, _, err = rescored()
    assert code == 2
    assert "symbolic link" in err
    assert not list(tmp_path.glob("*rescore*"))


def test_a_disk_that_refuses_is_one_line_and_exit_5(stored, rescored, monkeypatch):
    stored()

    def refuse(*_arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("modeltest.reports.rescore.write_atomically", refuse)
    code, lines, err = rescored()
    assert (code, lines) == (5, [])
    assert "No space left" in err
    assert len(err.splitlines()) == 1
