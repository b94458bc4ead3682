"""The CSV files as the contract names their columns, with figures counted by hand."""

import dataclasses
import io
import math

import pandas
import pytest

from modeltest.metrics.confusion import confusion
from modeltest.records import Verdict
from modeltest.reports.csv_files import confusion_csv, csv_bytes, csv_parts, result_csv, samples_csv
from modeltest.reports.summary import Summary, summarise

RESULT_HEADER = (
    "run,validity,reasons,model,task,task_version,subset,metric,value,ci_low,ci_high,ci_method,"
    "stderr,total,correct,unparsed,errors,batch_size,tp,dp,dtype,device,device_name,attention,"
    "created"
)
SAMPLES_HEADER = (
    "sample_id,audio,truth,answer,correct,output,input_tokens,output_tokens,e2e_s,error,validity"
)
CONFUSION_HEADER = "truth,laughter,cough,sneeze,unparsed,error,total,validity"


def header(content):
    return content.decode("utf-8").partition("\r\n")[0]


def table(content):
    return pandas.read_csv(io.BytesIO(content))


@pytest.fixture
def results(run):
    return table(result_csv(run, summarise(run)))


def test_headers_are_those_of_the_contract(run):
    summary = summarise(run)
    assert header(result_csv(run, summary)) == RESULT_HEADER
    assert header(b"".join(samples_csv(run, summary))) == SAMPLES_HEADER
    assert header(confusion_csv(summary)) == CONFUSION_HEADER


def test_every_line_ends_as_rfc_4180_wants(run):
    summary = summarise(run)
    for content in (result_csv(run, summary), confusion_csv(summary)):
        assert content.endswith(b"\r\n")
        assert content.count(b"\n") == content.count(b"\r\n")


def test_subsets_and_metrics_stand_in_the_contracts_order(results):
    rates = ["acc", "acc_legacy", "unparsed_rate", "error_rate"]
    speed = ["load_s", "eval_s", "samples_per_s", "audio_seconds_per_s"]
    subsets = [
        "class=laughter", "class=cough", "class=sneeze", "gender=female", "gender=male",
    ]  # fmt: skip
    expected = [("all", metric) for metric in [*rates, "macro_f1", "balanced_acc", *speed]]
    for subset in subsets:
        of_class = ["precision", "recall", "f1"] if subset.startswith("class=") else []
        expected += [(subset, metric) for metric in rates + of_class]
    assert list(zip(results["subset"], results["metric"], strict=True)) == expected


@pytest.mark.parametrize(
    ("subset", "metric", "value", "correct", "total", "unparsed", "errors"),
    [
        ("all", "acc", 3 / 6, 3, 6, 1, 1),
        ("all", "acc_legacy", 2 / 6, 2, 6, 1, 1),
        ("all", "unparsed_rate", 1 / 6, 3, 6, 1, 1),
        ("all", "error_rate", 1 / 6, 3, 6, 1, 1),
        ("class=laughter", "acc", 1 / 2, 1, 2, 1, 0),
        ("class=cough", "acc", 1 / 2, 1, 2, 0, 0),
        ("class=sneeze", "error_rate", 1 / 2, 1, 2, 0, 1),
        ("gender=female", "acc", 1.0, 3, 3, 0, 0),
        ("gender=female", "acc_legacy", 1 / 3, 1, 3, 0, 0),
        ("gender=male", "acc", 0.0, 0, 3, 1, 1),
        ("class=laughter", "recall", 1 / 2, 1, 2, 1, 0),
        ("class=laughter", "precision", 1.0, 1, 2, 1, 0),
        ("class=sneeze", "precision", 1 / 2, 1, 2, 0, 1),
        ("class=sneeze", "f1", 2 / 4, 1, 2, 0, 1),
        ("class=cough", "f1", 2 / 3, 1, 2, 0, 0),
        ("all", "balanced_acc", 1 / 2, 3, 6, 1, 1),
        ("all", "macro_f1", (2 / 3 + 2 / 3 + 1 / 2) / 3, 3, 6, 1, 1),
    ],
)
def test_shares(results, subset, metric, value, correct, total, unparsed, errors):
    [row] = results[(results["subset"] == subset) & (results["metric"] == metric)].to_dict(
        "records"
    )
    assert row["value"] == pytest.approx(value, rel=1e-15)
    counts = (row["correct"], row["total"], row["unparsed"], row["errors"])
    assert counts == (correct, total, unparsed, errors)


def test_the_interval_is_wilsons(results):
    # 3 of 6 by hand: centre 1/2; z = 1.959964, half width
    # z/(1 + z²/6) · √(1/24 + z²/144) = 1.194923 · 0.261425 = 0.312384
    row = results.iloc[0]
    assert row["ci_method"] == "wilson"
    assert row["ci_low"] == pytest.approx(0.187616, abs=1e-6)
    assert row["ci_high"] == pytest.approx(0.812384, abs=1e-6)
    assert row["stderr"] == pytest.approx(math.sqrt(0.25 / 6))


def test_speeds(results):
    # Six clips of 2 s, five of them heard (one failed); evaluation phases of 3 s and 1 s; the
    # warm-up counts nowhere.
    speed = results[results["subset"] == "all"].set_index("metric")["value"]
    assert speed["load_s"] == 2.5
    assert speed["eval_s"] == 4.0
    assert speed["samples_per_s"] == 1.5
    assert speed["audio_seconds_per_s"] == 2.5


def test_what_ran_stands_in_every_row(results):
    expected = {
        "run": "174503-0a1b2c", "validity": "INVALID", "model": "m", "task": "t",
        "task_version": 1.0, "batch_size": 8, "tp": 1, "dp": 1, "dtype": "bf16", "device": "NPU",
        "device_name": "Ascend 910B4", "attention": "sdpa", "created": "2025-03-09T17:45:03+08:00",
    }  # fmt: skip
    for column, value in expected.items():
        assert set(results[column]) == {value}
    [reasons] = set(results["reasons"])
    assert reasons.split("; ")[0] == "1 of 6 samples failed"


def test_what_was_not_measured_is_empty_and_never_zero(make_run):
    """A class without samples, as with --limit."""
    run = make_run(lambda manifest, _samples: manifest["labels"].append("sigh"))
    results = table(result_csv(run, summarise(run)))
    rows = results[results["subset"] == "class=sigh"]
    assert set(rows["total"]) == {0}
    assert rows[["value", "ci_low", "ci_high", "stderr"]].isna().all(axis=None)


def test_samples(run):
    rows = table(b"".join(samples_csv(run, summarise(run))))
    assert list(rows["sample_id"]) == [
        "f1_0_cough", "f1_0_laughter", "m2_0_cough", "m2_0_laughter", "m2_0_sneeze", "f1_0_sneeze",
    ]  # fmt: skip
    assert rows["audio"][0] == "clips/f1_0_cough.flac"
    assert list(rows["correct"]) == [True, True, False, False, False, True]
    assert rows["output"][2] == 'E: "Sneeze"'
    assert rows["output"][3] == "A person\nor A: two"
    assert rows["output"][5] == "打喷嚏"
    assert rows["error"][4] == "ValueError: boom"
    failed = rows.iloc[4][["answer", "output", "input_tokens", "output_tokens", "e2e_s"]]
    assert failed.isna().all()
    assert rows["answer"].isna().tolist() == [False, False, False, True, True, False]
    assert rows["input_tokens"][1] == 91
    assert set(rows["validity"]) == {"INVALID"}


def test_values_keep_every_digit(run):
    assert b",0.30000000000000004," in b"".join(samples_csv(run, summarise(run)))
    assert b",0.3333333333333333," in result_csv(run, summarise(run))


def test_the_accuracy_is_that_of_the_samples(run, results):
    samples = table(b"".join(samples_csv(run, summarise(run))))
    acc = results[results["metric"] == "acc"].set_index("subset")["value"]
    assert samples["correct"].mean() == acc["all"]
    for truth, share in samples.groupby("truth")["correct"].mean().items():
        assert acc[f"class={truth}"] == share


def test_confusion(run):
    rows = table(confusion_csv(summarise(run))).set_index("truth")
    assert rows.loc["laughter"].tolist() == [1, 0, 0, 1, 0, 2, "INVALID"]
    assert rows.loc["cough"].tolist() == [0, 1, 1, 0, 0, 2, "INVALID"]
    assert rows.loc["sneeze"].tolist() == [0, 0, 1, 0, 1, 2, "INVALID"]
    assert len(rows) == 3


def test_cells_by_type():
    row = {"a": None, "b": True, "c": 7, "d": -0.1, "e": "-0.1"}
    assert csv_bytes(tuple("abcde"), [row], header=False) == b",true,7,-0.1,'-0.1\r\n"


def test_a_label_cannot_become_a_formula_in_the_header():
    cells = confusion(["=1+1"], ["=1+1"], [False], ["=1+1"])
    content = confusion_csv(Summary(Verdict("VALID"), (), cells, 1, 1))
    assert content.decode().splitlines() == [
        "truth,'=1+1,unparsed,error,total,validity",
        "'=1+1,1,0,0,1,VALID",
    ]


def test_a_killed_process_leaves_no_rate(make_run):
    """Its samples are in the log and the time that they took is not."""
    run = make_run()
    phases = [phase for phase in run.phases if phase.get("num_samples") != 4]
    killed = dataclasses.replace(run, phases=tuple(phases))
    rows = table(result_csv(killed, summarise(killed))).set_index(["subset", "metric"])["value"]
    assert rows["all", "acc"] == 3 / 6
    assert rows["all", "load_s"] == 2.5
    for metric in ("eval_s", "samples_per_s", "audio_seconds_per_s"):
        assert math.isnan(rows["all", metric])


def test_a_long_table_comes_in_parts_of_the_same_bytes():
    rows = [{"a": index, "b": "x" * 90} for index in range(3000)]
    parts = list(csv_parts(("a", "b"), iter(rows)))
    assert len(parts) > 3
    assert max(map(len, parts)) < 70_000
    lines = b"".join(parts).split(b"\r\n")
    assert lines[0] == b"a,b"
    assert lines[2500] == b"2499," + b"x" * 90
    assert len(lines) == 3002
