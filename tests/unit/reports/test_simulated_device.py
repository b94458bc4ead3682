"""A run on a simulated device is INVALID, and every report says why."""

import csv
import io

import pytest

from modeltest.reports.csv_files import confusion_csv, index_row, result_csv, samples_csv
from modeltest.reports.html import report_html
from modeltest.reports.summary import summarise
from modeltest.reports.text import output_text

REASON = "simulated device: Simulated NPU"


def simulated(manifest, samples):
    manifest["device"] = {"kind": "npu", "name": "Simulated NPU", "simulated": True}
    for sample in samples:  # nothing else is wrong
        sample["response"]["error"] = ""


def rows(content):
    return list(csv.DictReader(io.StringIO(content.decode(), newline="")))


def test_every_report_is_marked(make_run):
    run = make_run(simulated)
    summary = summarise(run)
    assert summary.verdict.validity == "INVALID"
    assert summary.verdict.reasons[0] == REASON
    result = rows(result_csv(run, summary))
    assert {row["validity"] for row in result} == {"INVALID"}
    assert all(row["reasons"].startswith(REASON) for row in result)
    for table in (rows(b"".join(samples_csv(run, summary))), rows(confusion_csv(summary))):
        assert {row["validity"] for row in table} == {"INVALID"}
    assert index_row(run, summary, "x")["reasons"].startswith(REASON)
    assert next(iter(output_text(run, summary))).decode().startswith(f"INVALID: {REASON}")
    assert REASON in report_html(run, summary).decode()


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda manifest, _: manifest["data"].update(num_available=60), "INVALID"),
        (lambda manifest, _: manifest["tool"].update(dirty=True), "INVALID"),
        (lambda manifest, _: manifest.update(certified=True), "INVALID"),
        (lambda _, samples: samples.pop(), "INCOMPLETE"),
    ],
)
def test_it_is_the_first_reason_whatever_else_is_said(make_run, change, word):
    def both(manifest, samples):
        simulated(manifest, samples)
        change(manifest, samples)

    verdict = summarise(make_run(both)).verdict
    assert (verdict.validity, verdict.reasons[0]) == (word, REASON)


@pytest.mark.parametrize("mark", [{"simulated": False}, {}])
def test_a_real_device_is_not_marked(make_run, mark):
    def change(manifest, samples):
        simulated(manifest, samples)
        manifest["device"] = {"kind": "npu", "name": "Ascend910B4", **mark}

    verdict = summarise(make_run(change)).verdict
    assert verdict.validity == "VALID"
    assert not any("simulated" in reason for reason in verdict.reasons)
