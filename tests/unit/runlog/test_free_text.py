"""Records of a task in which any text may be right."""

from pathlib import Path

import pytest

from modeltest.errors import DataError
from modeltest.runlog.fitting import TaskFit

SEGMENT = Path("log/x.jsonl")


def record(truth, answer, *subsets):
    score = {"answer": answer, "correct": False}
    return {"sample_id": "s", "truth": truth, "score": score, "subsets": list(subsets)}


@pytest.fixture
def fit():
    return TaskFit({"labels": [], "task": {"settings": {"slices": {"by": ["speaker"]}}}})


def test_truths_and_answers_may_be_any_text(fit):
    fit.check(record("What he said / no", "what he said"), SEGMENT)
    fit.check(record("", None, "speaker=f1", "age=18-25"), SEGMENT)


@pytest.mark.parametrize("subset", ["class=cough", "gender=female", "speaker"])
def test_slices_are_still_those_of_the_task(fit, subset):
    with pytest.raises(DataError, match="labels or slices"):
        fit.check(record("x", "x", subset), SEGMENT)
