"""Two clips per sample, from the tables to the comparison, as a user types it."""

import csv
import hashlib
import re
import shutil

import jiwer
import pandas
import pytest
import yaml

NUM_PAIRS = 6
FIRST = ("Oh my God!", "What?", "C", "You said, B.", "a", "E f")
SECOND = ("No, no.", "He's lost it.", "Nothing", "Fine", "D", "Well")


def write_tables(folder, clips, references=True):
    """A data folder as the original tool has it: clips, and tables in a folder of their own."""
    tables = folder / "multi_audio_data"
    tables.mkdir(parents=True)
    for side, chosen, texts in (
        ("first", clips[:NUM_PAIRS], FIRST),
        ("second", clips[-6:], SECOND),
    ):
        with (tables / f"data_{side}.csv").open("w", newline="", encoding="utf-8") as file:
            rows = csv.writer(file)
            rows.writerow(["audio", "text"] if references else ["audio"])
            for clip, text in zip(chosen, texts, strict=True):
                shutil.copy(clip, folder / clip.name)
                rows.writerow([clip.name, text] if references else [clip.name])
    return folder


@pytest.fixture(scope="module")
def task(mini_clips, tmp_path_factory):
    """A task file beside data with references, one beside data without."""
    folder = tmp_path_factory.mktemp("meld")
    write_tables(folder / "data", mini_clips)
    write_tables(folder / "bare", mini_clips, references=False)
    for name in ("data", "bare"):
        content = {"extends": "meld_pairs", "local_dataset_path": str(folder / name)}
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(content))
    return folder


@pytest.fixture(scope="module")
def null_run(modeltest, task, tmp_path_factory):
    done = modeltest(tmp_path_factory.mktemp("null"), "eval", str(task / "data.yaml"), "null",
                     "--bs", "4", "--device", "cpu")  # fmt: skip
    assert done.code == 0, done.err
    return done


def null_reply(clip):
    return "ABCDEF"[int(hashlib.sha256(clip.read_bytes()).hexdigest(), 16) % 6]


def result_files(folder):
    return {
        path.relative_to(folder): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and "log" not in path.parts and path.suffix != ".log"
    }


def test_the_tables_of_a_run(null_run, mini_clips):
    few = "not checked: whether replies collapsed (6 replies, 12 needed)"
    assert null_run.out.startswith(f"VALID: {few}\n")
    samples = pandas.read_csv(null_run.result_file("samples"))
    assert list(samples["sample_id"]) == [f"pair-{n:06d}" for n in range(1, NUM_PAIRS + 1)]
    assert list(samples["output"]) == [null_reply(clip) for clip in mini_clips[:NUM_PAIRS]]
    assert samples["audio"][0] == f"{mini_clips[0].name}|{mini_clips[-6].name}"
    assert samples["truth"][3] == "You said, B. / Fine"
    pairs = pandas.read_csv(null_run.result_file("pairs"))
    assert list(pairs.columns) == ["first_audio", "second_audio", "answer", "validity"]
    assert list(pairs["second_audio"]) == [clip.name for clip in mini_clips[-6:]]
    assert not list(null_run.folder.rglob("*_confusion.csv"))


def test_the_word_error_rate_is_that_of_the_samples_table(null_run):
    samples = pandas.read_csv(null_run.result_file("samples"))
    result = pandas.read_csv(null_run.result_file("result")).set_index("metric")
    plain = [[re.sub(r"[^\w\s]", "", text.lower()) for text in samples[column]]
             for column in ("truth", "output")]  # fmt: skip
    assert result["value"]["wer"] == pytest.approx(jiwer.wer(*plain))
    assert result["ci_low"]["wer"] < result["value"]["wer"] < result["ci_high"]["wer"]
    assert result["value"]["answered_rate"] == 1.0
    assert not {"acc", "acc_legacy"} & set(result.index)
    index = pandas.read_csv(null_run.folder / "outputs" / "index.csv")
    assert (index["metric"][0], index["value"][0]) == ("wer", result["value"]["wer"])


def test_reports_are_rebuilt_byte_for_byte(modeltest, null_run):
    before = result_files(null_run.folder)
    again = modeltest(null_run.folder, "report", "last")
    assert (again.code, again.out) == (0, null_run.out)
    assert result_files(null_run.folder) == before
    listed = modeltest(null_run.folder, "list", "runs")
    assert re.search(r"VALID +6/6 +wer \d+\.\d % .+ data +null +CPU ", listed.out)


def test_a_cut_run_is_resumed(modeltest, null_run, task, tmp_path):
    shutil.copytree(null_run.folder, tmp_path, dirs_exist_ok=True)
    [run] = tmp_path.glob("outputs/*/modeltest/*/precision_result/runs/*")
    [segment] = (run / "log").glob("*.jsonl")
    lines = segment.read_bytes().splitlines(keepends=True)
    asked = [number for number, line in enumerate(lines) if b'"type":"sample"' in line]
    assert len(asked) == NUM_PAIRS
    segment.write_bytes(b"".join(lines[: asked[2]]))
    assert modeltest(tmp_path, "report", "last").code == 4
    resumed = modeltest(tmp_path, "eval", str(task / "data.yaml"), "null", "--bs", "4",
                        "--device", "cpu", "--resume", "last")  # fmt: skip
    assert resumed.code == 0, resumed.err
    tables = []
    for done in (null_run, resumed):
        frame = pandas.read_csv(done.result_file("samples"))
        tables.append(frame.drop(columns="e2e_s"))
    assert tables[0].equals(tables[1])


def test_without_references_and_compared(modeltest, null_run, task, tmp_path):
    first = modeltest(tmp_path, "eval", str(task / "bare.yaml"), "null", "--device", "cpu")
    assert first.code == 0, first.err
    assert "no column 'text' in" in first.out.splitlines()[0]
    assert set(pandas.read_csv(first.result_file("samples"))["correct"].isna()) == {True}
    same = modeltest(tmp_path, "compare", "last", "last")
    assert same.code == 0, same.err
    assert same.out.startswith(f"accuracy_gap 0 over {NUM_PAIRS} pairs (agreement")
    other = modeltest(tmp_path, "compare", "last", str(null_run.run_folder))
    assert other.code == 2
    assert "cannot be compared, they differ in data" in other.err


def test_a_real_model_hears_both_clips(modeltest, null_run, task, tmp_path):
    options = ("--bs", "4", "--device", "cpu", "--dtype", "fp32", "--set", "task.max_new_tokens=8")
    done = modeltest(tmp_path, "eval", str(task / "data.yaml"), "qwen2_audio_tiny", *options)
    assert done.code == 0, done.err
    samples = pandas.read_csv(done.result_file("samples"))
    assert samples["error"].isna().all()
    [text] = done.folder.glob("outputs/**/output_*.txt")
    assert text.read_text(encoding="utf-8").count("<|AUDIO|>") == 2 * NUM_PAIRS
    before = result_files(tmp_path)
    assert modeltest(tmp_path, "report", "last").code == 0
    assert result_files(tmp_path) == before


def test_other_commands_know_such_a_task(modeltest, task, tmp_path):
    plan = modeltest(tmp_path, "eval", str(task / "data.yaml"), "null", "--dry-run")
    assert plan.out.count("\nclip      ") == 2
    assert "truth Oh my God! / No, no." in plan.out
    speed = modeltest(tmp_path, "perf", "null", "--task", str(task / "data.yaml"))
    assert speed.code == 2
    assert "data asks about 2 at a time" in speed.err


def test_tables_that_do_not_pair_up_are_one_line(modeltest, mini_clips, task, tmp_path):
    data = write_tables(tmp_path / "data", mini_clips)
    second = data / "multi_audio_data" / "data_second.csv"
    second.write_bytes(b"".join(second.read_bytes().splitlines(keepends=True)[:-1]))
    done = modeltest(tmp_path, "eval", str(task / "data.yaml"), "qwen2_audio_tiny",
                     "--set", f"task.local_dataset_path={data}")  # fmt: skip
    assert done.code == 2
    assert "has 5 rows" in done.err
    assert "row 7 has no partner" in done.err
    assert "Traceback" not in done.err
