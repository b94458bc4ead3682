"""What `bash scripts/mm_run.sh vocalsound_mini qwen2_audio_tiny` leaves behind."""

import csv
import json
import re
from collections import Counter

import pandas
import pytest

RUN_ID = r"\d{6}-[0-9a-f]{6}"


def test_it_ends_valid_and_says_so_first(whole_run):
    assert whole_run.code == 0, whole_run.err
    assert whole_run.out.splitlines()[0] == "VALID"


def test_files_lie_where_the_contract_says(whole_run):
    names = (
        str(path.relative_to(whole_run.folder))
        for path in whole_run.folder.rglob("*")
        if path.is_file() and path.suffix != ".jsonl"
    )
    files = sorted(re.sub(RUN_ID, "RUN", re.sub(r"\d{4}-\d\d-\d\d", "DATE", n)) for n in names)
    root = "outputs/DATE/modeltest/qwen2_audio_tiny/precision_result"
    tail = "CPU/precision_test/vocalsound_mini/fp32/qwen2_audio_tiny"
    stem = f"{root}/results/{tail}/vocalsound_mini_transformers_batch8_tp1_RUN"
    assert files == sorted(
        [
            "outputs/index.csv",
            f"{stem}_result.csv",
            f"{stem}_confusion.csv",
            f"{stem}_samples.csv",
            f"{stem}_slices.csv",
            f"{root}/debug/{tail}/output_RUN.txt",
            f"{root}/runs/RUN/manifest.json",
            f"{root}/runs/RUN/run.log",
            f"{root}/runs/RUN/report.html",
        ]
    )


@pytest.mark.parametrize("kind", ["result", "samples", "confusion", "slices"])
def test_every_csv_is_read_without_options(whole_run, kind):
    table = pandas.read_csv(whole_run.result_file(kind))
    assert len(table) > 0
    assert set(table["validity"]) == {"VALID"}


def test_the_accuracy_can_be_recomputed_from_the_samples(whole_run):
    samples = pandas.read_csv(whole_run.result_file("samples"))
    results = pandas.read_csv(whole_run.result_file("result"))
    assert len(samples) == 120
    recomputed = {
        "all": samples["correct"].mean(),
        **{f"class={k}": v for k, v in samples.groupby("truth")["correct"].mean().items()},
    }
    reported = results[results["metric"] == "acc"].set_index("subset")["value"]
    for subset, value in recomputed.items():
        assert reported[subset] == value
    assert (samples["correct"] == (samples["truth"] == samples["answer"])).all()


def test_the_subsets_add_up(whole_run):
    results = pandas.read_csv(whole_run.result_file("result"))
    totals = results[results["metric"] == "acc"].set_index("subset")["total"]
    for kind in ("class=", "gender=", "age="):
        assert totals[totals.index.str.startswith(kind)].sum() == totals["all"] == 120


def test_native_languages_are_slices_where_the_task_names_them(modeltest, mini_clips, tmp_path):
    by = "task.slices.by=[gender,native_language]"
    done = modeltest(tmp_path, "eval", "vocalsound_mini", "null", "--device", "cpu", "--set", by)
    assert done.code == 0, done.err
    entries = json.loads((mini_clips[0].parents[1] / "meta/te_meta.json").read_text("utf-8"))
    languages = {speaker: language for speaker, _, _, _, language, _ in entries}
    clips = Counter(languages[clip.name.split("_")[0]] for clip in mini_clips)
    results = pandas.read_csv(done.result_file("result"))
    totals = results[results["metric"] == "acc"].set_index("subset")["total"]
    named = totals[totals.index.str.startswith("native_language=")]
    assert named.to_dict() == {f"native_language={name}": num for name, num in clips.items()}
    slices = pandas.read_csv(done.result_file("slices"))
    assert set(slices["key"]) == {"gender", "native_language", "age"}


def test_the_confusion_matrix_agrees_with_the_samples(whole_run):
    samples = pandas.read_csv(whole_run.result_file("samples"))
    with whole_run.result_file("confusion").open(newline="", encoding="utf-8") as stream:
        for row in csv.DictReader(stream):
            of_class = samples[samples["truth"] == row["truth"]]
            assert int(row["total"]) == len(of_class)
            assert int(row[row["truth"]]) == of_class["correct"].sum()


def test_the_replies_are_those_of_a_plain_transformers_loop(whole_run, golden_replies):
    samples = pandas.read_csv(whole_run.result_file("samples"))
    assert dict(zip(samples["sample_id"], samples["output"], strict=True)) == golden_replies["raw"]


def test_the_embedded_model_makes_errors_to_look_at(whole_run):
    results = pandas.read_csv(whole_run.result_file("result"))
    acc = results[results["metric"] == "acc"].set_index("subset")["value"]
    assert 0.85 <= acc["all"] <= 0.98
    assert all(acc[name] > 0.60 for name in acc.index if name.startswith("class="))


def test_the_manifest_names_what_decided_the_run(whole_run):
    manifest = json.loads((whole_run.run_folder / "manifest.json").read_text())
    identity = manifest["identity"]["backend"]
    assert identity["generation"]["repetition_penalty"] == 1.0
    assert identity["generation"]["do_sample"] is False
    assert len(identity["generation"]["eos_token_id"]) == 2
    assert manifest["prompt"]["rendered"].endswith("ASSISTANT:")
    files = identity["model"]["files"]
    assert manifest["prompt"]["template_files"] == {
        name: files[name]["sha256"] for name in ("chat_template.json", "tokenizer_config.json")
    }
    assert manifest["identity"]["stop_pattern"] == ""
    assert manifest["packages"]["transformers"]


def test_the_output_text_has_three_items_per_sample(whole_run):
    [path] = whole_run.folder.glob("outputs/**/output_*.txt")
    verdict, *lines = path.read_text(encoding="utf-8").splitlines()
    assert verdict == "VALID"
    assert len(lines) == 120 * 4
    assert re.fullmatch(r"=== 1 f\d{4}_0_cough", lines[0])
    assert re.fullmatch(r"output: [A-F]: .+", lines[1])
    assert lines[2].startswith("input: <|audio_bos|><|AUDIO|><|audio_eos|>In this audio")
    assert float(lines[3].removeprefix("e2e_time: ")) > 0


def test_the_index_points_at_the_run(whole_run):
    [row] = pandas.read_csv(whole_run.folder / "outputs/index.csv").to_dict("records")
    assert row["validity"] == "VALID"
    assert (whole_run.folder / "outputs" / row["path"] / "manifest.json").is_file()


def test_progress_is_plain_without_a_terminal(whole_run):
    assert "\r" not in whole_run.err
    assert "\x1b" not in whole_run.err + whole_run.out


def test_list_runs_shows_it(whole_run, modeltest):
    done = modeltest(whole_run.folder, "list", "runs")
    assert done.code == 0
    assert "vocalsound_mini" in done.out
    assert "VALID" in done.out


def test_option_logits_are_logged_and_scored_apart(whole_run):
    results = pandas.read_csv(whole_run.result_file("result"))
    rows = results[results["metric"] == "acc_option_logits"].set_index("subset")
    assert set(rows.index) == set(results[results["metric"] == "acc"]["subset"])
    assert 0.85 <= rows["value"]["all"] <= 0.98
    assert "acc_option_logits" not in whole_run.out
    [segment] = (whole_run.run_folder / "log").iterdir()
    records = [json.loads(line[9:]) for line in segment.read_text().splitlines()]
    sample = next(record for record in records if record["type"] == "sample")
    assert len(sample["response"]["option_logits"]) == 6
    assert all(len(repr(abs(logit))) <= 8 for logit in sample["response"]["option_logits"])


def test_stopping_at_the_answer_gives_the_same_answers_in_shorter_replies(
    whole_run, modeltest, tmp_path
):
    done = modeltest(
        tmp_path, "eval", "vocalsound_mini", "qwen2_audio_tiny", "--stop-at-answer"
    )  # fmt: skip
    assert done.code == 0, done.err
    assert done.out.splitlines()[0] == "VALID: replies end at the answer (--stop-at-answer)"
    plain, short = (pandas.read_csv(run.result_file("samples")) for run in (whole_run, done))
    assert list(short["sample_id"]) == list(plain["sample_id"])
    assert short["answer"].equals(plain["answer"])
    assert short["output_tokens"].sum() < plain["output_tokens"].sum()
    manifest = json.loads((done.run_folder / "manifest.json").read_text())
    assert "Throat" in manifest["identity"]["stop_pattern"]
