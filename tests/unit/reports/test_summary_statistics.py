"""Which interval a run's figures get, and the differences between its slices."""

import io

import pandas
import pytest
from statsmodels.stats.proportion import proportion_confint

from modeltest.metrics.cluster_bootstrap import cluster_interval, cluster_standard_error
from modeltest.reports.csv_files import result_csv, slices_csv
from modeltest.reports.summary import summarise
from modeltest.reports.tally import Tally

NUM_SPEAKERS, TRUTHS = 24, ("laughter", "cough", "sneeze")
SLICES_HEADER = (
    "run,validity,reasons,model,task,task_version,key,value,other,difference,ci_low,ci_high,"
    "ci_method,p_value,p_holm,total,other_total,dtype,device,device_name,created"
)


def is_right(speaker, truth):
    """Every fourth speaker is right in none, of the others every fifth not in one."""
    return speaker % 4 != 0 and not (speaker % 5 == 0 and truth == "cough")


def speak(manifest, samples, speaker_of=lambda speaker, truth: f"s{speaker}"):
    """Replaces the run's samples by one clip of each class for each speaker."""
    [template] = samples[:1]
    samples.clear()
    for speaker in range(NUM_SPEAKERS):
        for truth in TRUTHS:
            answer = truth if is_right(speaker, truth) else None
            score = {
                "answer": answer, "correct": answer == truth,
                "legacy_answer": None, "legacy_correct": False,
            }  # fmt: skip
            ages = ("18-25", "26-48", "49-80")
            samples.append(
                template
                | {"truth": truth, "index": len(samples), "score": score}
                | {"metadata": {"speaker": speaker_of(speaker, truth)}}
                | {
                    "subsets": [
                        f"class={truth}",
                        "gender=" + ("female" if speaker < 12 else "male"),
                        "age=" + ages[speaker % 3],
                    ]
                }
            )
    manifest["data"] |= {"num_samples": len(samples), "num_available": len(samples)}


def found(run):
    return {(each.subset, each.metric): each for each in summarise(run).aggregates}


CORRECT = [is_right(s, truth) for s in range(NUM_SPEAKERS) for truth in TRUTHS]
SPEAKERS = [f"{s}" for s in range(NUM_SPEAKERS) for _ in TRUTHS]


def test_shares_have_the_interval_of_the_speakers(make_run):
    figures = found(make_run(speak))
    acc = figures["all", "acc"]
    assert acc.value == sum(CORRECT) / 72
    assert acc.ci_method == "cluster-bootstrap(speaker)"
    values = [float(each) for each in CORRECT]
    assert (acc.ci_low, acc.ci_high) == cluster_interval(values, SPEAKERS)
    assert acc.stderr == cluster_standard_error(values, SPEAKERS)
    wilson_low, wilson_high = proportion_confint(sum(CORRECT), 72, method="wilson")
    assert acc.ci_high - acc.ci_low > 1.3 * (wilson_high - wilson_low)
    assert figures["gender=male", "unparsed_rate"].ci_method == "cluster-bootstrap(speaker)"
    assert figures["all", "macro_f1"].ci_method == "cluster-bootstrap(speaker)"


def test_with_one_clip_of_each_speaker_it_is_wilsons(make_run):
    figures = found(make_run(speak))
    row = figures["class=cough", "acc"]  # every speaker coughs once
    right = sum(is_right(s, "cough") for s in range(NUM_SPEAKERS))
    expected = proportion_confint(right, NUM_SPEAKERS, method="wilson")
    assert (row.value, row.ci_method) == (right / NUM_SPEAKERS, "wilson")
    assert (row.ci_low, row.ci_high) == pytest.approx(expected)
    assert figures["class=cough", "recall"].ci_low == row.ci_low


def test_where_no_speaker_is_known_it_is_wilsons(make_run):
    figures = found(make_run(lambda *run: speak(*run, speaker_of=lambda *_: "")))
    assert {figures["all", metric].ci_method for metric in ("acc", "error_rate")} == {"wilson"}
    assert figures["all", "macro_f1"].ci_method == "bootstrap"
    assert figures["gender=female", "acc"].ci_method == "wilson"


def test_a_share_of_0_has_wilsons_interval_and_not_one_of_no_width(make_run):
    row = found(make_run(speak))["all", "error_rate"]
    assert (row.value, row.ci_low, row.ci_method) == (0, 0, "wilson")
    assert row.ci_high == pytest.approx(proportion_confint(0, 72, method="wilson")[1])


def test_the_slices_table(make_run):
    run = make_run(speak)
    summary = summarise(run)
    content = slices_csv(run, summary)
    assert content.decode().partition("\r\n")[0] == SLICES_HEADER
    table = pandas.read_csv(io.BytesIO(content))
    assert list(zip(table["key"], table["value"], table["other"], strict=True)) == [
        ("gender", "female", "male"),
        ("age", "18-25", "rest"),
        ("age", "26-48", "rest"),
        ("age", "49-80", "rest"),
    ]
    assert set(table["validity"]) == {summary.verdict.validity}
    accuracy = found(run)
    gender = table.iloc[0]
    difference = accuracy["gender=female", "acc"].value - accuracy["gender=male", "acc"].value
    assert gender["difference"] == pytest.approx(difference)
    assert gender["ci_method"] == "permutation-t(speaker)"
    assert gender["ci_low"] < difference < gender["ci_high"]
    assert (gender["total"], gender["other_total"]) == (36, 36)
    # eight speakers of each age group are too few
    assert table[["ci_low", "p_value", "p_holm"]].isna().all(axis=1).tolist() == [
        False, True, True, True,
    ]  # fmt: skip
    assert gender["p_holm"] == gender["p_value"]


def test_what_is_shown_of_every_subset_and_of_the_classes(make_run):
    summary = summarise(make_run(speak))
    every = {(each.subset, each.metric) for each in summary.rates}
    metrics = {metric for _, metric in every}
    assert metrics == {"acc", "acc_legacy", "unparsed_rate", "error_rate"}
    assert every == {(subset, metric) for subset, _ in every for metric in metrics}
    shown = [(each.subset, each.metric) for each in summary.class_figures]
    assert shown[:3] == [
        ("all", "macro_f1"),
        ("all", "balanced_acc"),
        ("class=laughter", "precision"),
    ]
    assert len(shown) == 2 + 3 * len(TRUTHS)


def test_a_transcription_has_neither_classes_nor_slices(make_run):
    def change(manifest, samples):
        manifest["labels"] = []
        for sample in samples:
            sample["subsets"] = [each for each in sample["subsets"] if "gender" in each]

    run = make_run(change)
    summary = summarise(run)
    assert summary.slice_differences == ()
    assert summary.class_figures == []
    assert b"macro_f1" not in result_csv(run, summary)


def test_a_sample_costs_few_bytes():
    tally = Tally(has_labels=True)
    record = {
        "truth": "cough", "metadata": {"speaker": "s1"}, "subsets": ["class=cough", "gender=male"],
        "clips": [{"heard_s": 1.0, "note": ""}], "response": {"error": ""},
        "score": {
            "answer": "cough", "correct": True, "legacy_answer": None, "legacy_correct": False,
        },
    }  # fmt: skip
    for place in range(1000):
        tally.add(place, record)
    arrays = [tally.outcome_of, tally.speaker_of, tally.heard_s, *tally.members.values()]
    assert sum(len(each) * each.itemsize for each in arrays) == 1000 * 5 * 8
    assert (len(tally.outcomes), len(tally.speakers)) == (1, 1)
