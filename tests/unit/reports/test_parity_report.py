"""A parity check on the terminal and as CSV: hostile replies, many layers, 80 columns."""

import csv
import io

import numpy as np
import pytest

from modeltest.metrics.parity.comparison import compare
from modeltest.metrics.parity.traces import SampleTrace, StageValues, Trace
from modeltest.reports.parity import (
    SAMPLE_COLUMNS,
    STAGE_COLUMNS,
    comparison_facts,
    index_row,
    parity_text,
    samples_csv,
    stages_csv,
    verdict_words,
)

NAMES = (
    "log_mel", "encoder.input", *(f"encoder.layer.{i}" for i in range(32)), "encoder.output",
    "projector", "lm.input", *(f"lm.layer.{i}" for i in range(32)), "logits",
)  # fmt: skip
HOSTILE = "=1+1\x1b[2J\n\u202eB"


@pytest.fixture(autouse=True)
def no_colour(monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")


def trace(scaled=(), **changes):
    stages = {
        name: StageValues(np.full((1, 4), 1.5 if name in scaled else 1, np.float32), 1)
        for name in NAMES
    }
    alone = {name: stages[name] for name in NAMES[1:]}
    made = {"text": "A", "output_ids": (1,), "input_ids": (1, 2), "margins": (9.0,), **changes}
    return Trace((SampleTrace("s0", stages=stages, alone=alone, **made),), "fp32")


def rows(content):
    return list(csv.DictReader(io.StringIO(content.decode(), newline="")))


def test_layers_that_are_within_share_a_row():
    text = parity_text(compare(trace(), trace()))
    lines = text.splitlines()
    assert lines[0] == "PASS: 1 samples, all 72 stages within their tolerances"
    assert next(line for line in lines if line.startswith("encoder.layer")).split()[0] == (
        "encoder.layer.0-31"
    )
    assert max(map(len, lines)) <= 80


def test_a_layer_outside_has_a_row_of_its_own():
    comparison = compare(trace(), trace(scaled=("lm.layer.7", "lm.layer.8")))
    lines = parity_text(comparison).splitlines()
    named = [line.split()[0] for line in lines if line.startswith("lm.layer")]
    assert named == ["lm.layer.0-6", "lm.layer.7", "lm.layer.8", "lm.layer.9-31"]
    assert verdict_words(comparison) == lines[0]
    assert lines[0] == (
        "FAIL: drift begins in lm.layer.7: relative difference 5.0e-01 from the reference's "
        "input, allowed 3.0e-05"
    )
    assert "outside its tolerance even from the reference's input: lm.layer.7, lm.layer.8" in lines
    assert max(map(len, lines[1:])) <= 80


def test_a_terminal_gets_lines_that_fit_it():
    comparison = compare(trace(), trace(scaled=("lm.layer.7",)))
    text = parity_text(comparison, ["results: " + "folder/" * 3 + " more" * 30], 80)
    assert max(map(len, text.splitlines())) <= 80
    assert text.startswith("FAIL: drift begins in lm.layer.7: ")


def test_what_a_model_says_steers_nothing():
    comparison = compare(trace(), trace(text=HOSTILE, output_ids=(2,)))
    text = parity_text(comparison, [HOSTILE])
    assert "\x1b" not in text
    assert "\u202e" not in text
    [row] = rows(samples_csv("r", comparison))
    assert row["output_b"].startswith("'=1+1")
    assert (row["parts_at_token"], row["explained"]) == ("0", "false")


def test_columns_and_full_precision():
    comparison = compare(trace(), trace(scaled=("projector",)))
    found = rows(stages_csv("r", comparison))
    assert tuple(found[0]) == STAGE_COLUMNS
    assert [row["stage"] for row in found] == ["tokens", *NAMES, "text"]
    [bad] = [row for row in found if row["within"] == "false"]
    assert (bad["stage"], bad["begins_here"], bad["relative"]) == ("projector", "true", "0.5")
    assert float(bad["tolerance"]) == pytest.approx(3e-5 * 35**0.5)
    assert found[1]["alone_relative"] == ""  # nothing comes before the features
    assert tuple(rows(samples_csv("r", comparison))[0]) == SAMPLE_COLUMNS


def test_failed_samples_are_named_first():
    failed = Trace((SampleTrace("s0", "", error="out\nof memory"),), "fp32")
    comparison = compare(trace(), failed)
    assert verdict_words(comparison).startswith(r"FAIL: side B did not answer s0 (out\nof memory)")
    assert comparison_facts(comparison)["num_failed"] == 1


def test_the_facts_count_stages_as_the_index_does():
    facts = comparison_facts(compare(trace(), trace(scaled=("projector", "logits"))))
    assert (facts["num_stages"], facts["num_outside"]) == (len(NAMES) + 2, 2)


def test_the_index_has_the_outcome():
    row = index_row("r", compare(trace(), trace(scaled=("logits",))), {"model": "m"})
    assert (row["validity"], row["value"], row["total"]) == ("FAIL", 1, 1)
    assert row["reasons"].startswith("drift begins in logits")
