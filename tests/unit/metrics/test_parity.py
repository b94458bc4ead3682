"""Differences, tolerances and where drift begins; expected values by hand or from scipy."""

import math
from dataclasses import replace

import numpy as np
import pytest
import scipy.special
import scipy.stats

from modeltest.metrics.parity.comparison import Flip, compare
from modeltest.metrics.parity.differences import difference, kl_divergence, root_mean_square
from modeltest.metrics.parity.tolerances import Tolerances
from modeltest.metrics.parity.traces import SampleTrace, StageValues, Trace, spread


def stage(*rows, num=None):
    values = np.array(rows, np.float32)
    return StageValues(values, len(values) if num is None else num)


def test_a_difference_by_hand():
    found = difference(stage([3, 0], [0, 4]), stage([3, 1], [0, 4]))
    assert found.max_abs == 1
    assert found.relative == pytest.approx(1 / 5)
    assert found.cosine == pytest.approx(25 / (5 * math.sqrt(26)))


def test_a_scaled_stage_has_the_same_direction():
    found = difference(stage([1, 2, 2]), stage([2, 4, 4]))
    assert (found.relative, found.cosine) == (pytest.approx(1), pytest.approx(1))


def test_other_lengths_and_widths_are_infinitely_far():
    assert difference(stage([1.0], num=3), stage([1.0], num=4)).relative == math.inf
    assert difference(stage([1.0]), stage([1.0, 2.0])).relative == math.inf


def test_zeros():
    assert difference(stage([0, 0]), stage([0, 0])).relative == 0
    assert difference(stage([0, 0]), stage([0, 1])).relative == math.inf
    assert difference(stage([0, 1]), stage([0, 0])).max_abs == 1


def test_what_is_not_a_number_is_in_no_tolerance():
    found = difference(stage([1, 2]), stage([1, math.nan]))
    assert not found.relative <= 1e9


def test_the_fuller_side_is_thinned_out_to_the_others_positions():
    whole = stage(*([float(i)] for i in range(101)))
    few = StageValues(whole.values[[0, 50, 100]], 101)
    assert difference(few, whole).max_abs == 0
    assert difference(whole, few).max_abs == 0


@pytest.mark.parametrize(
    ("num", "at_most", "kept"),
    [
        (3, 5, [0, 1, 2]),
        (5, 5, [0, 1, 2, 3, 4]),
        (9, 3, [0, 4, 8]),
        (10, 2, [0, 9]),
        (7, 1, [6]),
        (0, 4, []),
    ],
)
def test_spread(num, at_most, kept):
    assert spread(num, at_most) == kept


def test_kl_is_scipys():
    draw = np.random.default_rng(3)
    a, b = draw.normal(0, 5, 640), draw.normal(0, 5, 640)
    p, q = scipy.special.softmax(a), scipy.special.softmax(b)
    assert kl_divergence(a, b) == pytest.approx(scipy.stats.entropy(p, q), rel=1e-9)
    assert kl_divergence(a, a + 7) == pytest.approx(0, abs=1e-12)
    assert kl_divergence([1000.0, 0.0], [0.0, 1000.0]) == pytest.approx(1000)


def test_root_mean_square():
    assert root_mean_square([3, 4, 0, 0]) == pytest.approx(2.5)


@pytest.mark.parametrize(
    ("first", "second", "coarser", "allowed"),
    [
        ("fp32", "fp32", "fp32", 3e-5),
        ("fp32", "bf16", "bf16", 4 / 256),
        ("fp16", "fp32", "fp16", 4 / 2048),
        ("bf16", "fp16", "bf16", 4 / 256),
        ("fp32", "served", "bf16", 4 / 256),
    ],
)
def test_the_coarser_precision_decides(first, second, coarser, allowed):
    found = Tolerances.between(first, second)
    assert (found.data_type, found.one_stage) == (coarser, pytest.approx(allowed))
    assert Tolerances.between(second, first) == found


def test_the_tolerances_stand_on_torchs_own_round_off():
    torch = pytest.importorskip("torch")
    for name, dtype in (("fp32", "float32"), ("fp16", "float16"), ("bf16", "bfloat16")):
        # Half the gap between 1 and the next number.
        unit = torch.finfo(getattr(torch, dtype)).eps / 2
        allowed = Tolerances.between(name, name).one_stage
        assert allowed >= 3 * unit
        # Less than three decimal places: what a fault that matters does is above it.
        assert allowed < 0.02


def test_errors_of_stages_add_in_squares():
    tolerances = Tolerances.between("fp32", "fp32")
    assert tolerances.behind(1) == pytest.approx(3e-5)
    assert tolerances.behind(9) == pytest.approx(9e-5)
    assert tolerances.tie(4, 10.0) == pytest.approx(4 * 6e-5 * 10)


NAMES = ("log_mel", "encoder.output", "projector", "logits")


def sample(**changes):
    values = {name: stage([1.0, 2.0, 2.0]) for name in NAMES}
    made = SampleTrace(
        "s0", "A", "a", input_tokens=3, input_ids=(1, 2, 3), output_ids=(5, 9),
        margins=(1.0, 2.0), option_logits=(1.0, 0.0), stages=values,
        alone={name: values[name] for name in NAMES[1:]},
    )  # fmt: skip
    return replace(made, **changes)


def changed(stages, name, by):
    return {**stages, name: stage(*(stages[name].values * (1 + by)).tolist())}


def judge(b, a=None, dtype="fp32"):
    return compare(Trace((a or sample(),), "fp32"), Trace((b,), dtype))


def test_the_same_is_a_pass():
    found = judge(sample())
    assert found.outcome == "PASS"
    assert found.begins_in is None
    assert [each.name for each in found.stages] == ["tokens", *NAMES, "text"]
    assert found.samples[0].kl_options == pytest.approx(0, abs=1e-12)


def test_the_choices_are_compared_by_themselves():
    [found] = judge(sample(option_logits=(1.0, 3.0))).samples
    assert found.options_max_abs == 3
    p, q = scipy.special.softmax([1.0, 0.0]), scipy.special.softmax([1.0, 3.0])
    assert found.kl_options == pytest.approx(scipy.stats.entropy(p, q))
    [none] = judge(sample(option_logits=()), sample(option_logits=())).samples
    assert (none.options_max_abs, none.kl_options) == (None, None)


def test_drift_begins_in_the_first_stage_outside():
    stages = sample().stages
    for name in NAMES[1:]:
        stages = changed(stages, name, 0.01)
    b = sample(stages=stages, alone=changed(sample().alone, "encoder.output", 0.01))
    found = judge(b)
    assert found.begins_in.name == "encoder.output"
    assert [each.name for each in found.at_fault] == ["encoder.output"]
    assert judge(b, dtype="bf16").outcome == "PASS"


def test_small_differences_that_add_up_are_no_stages_fault():
    found = judge(sample(stages=changed(sample().stages, "logits", 0.01)))
    assert found.begins_in.name == "logits"
    assert found.at_fault == ()


def test_a_stage_is_found_by_itself_although_drift_hides_it():
    alone = changed(sample().alone, "projector", 3.5e-5)
    stages = changed(sample().stages, "projector", 3.5e-5)
    found = judge(sample(alone=alone, stages=stages))  # √2 · 3e-5 are allowed behind two stages
    assert found.begins_in.name == "projector"
    assert found.begins_in.chained.is_within
    assert not found.begins_in.alone.is_within


def test_other_tokens_come_before_everything():
    b = sample(input_ids=(1, 3, 2), stages=changed(sample().stages, "log_mel", 1))
    assert judge(b).begins_in.name == "tokens"


def test_a_flip_within_rounding_is_told_but_passes():
    logits = stage([10.0, 10.0, 10.0])
    stages = {**sample().stages, "logits": logits}
    # Behind 3 stages of fp32: 4 · √3 · 3e-5 · 10 = 2.08e-3.
    for margin, outcome in ((2.0e-3, "PASS"), (2.2e-3, "FAIL")):
        a = sample(stages=stages, margins=(margin, 1.0))
        b = sample(stages=stages, text="B", answer="b", output_ids=(6, 9))
        found = judge(b, a)
        assert found.outcome == outcome
        [each] = found.samples
        assert each.flip.step == 0
        assert each.first_token_flipped
        assert each.answer_flipped
        assert each.flip.tie == pytest.approx(2.0785e-3, rel=1e-3)


def test_replies_part_where_their_tokens_do():
    found = judge(sample(text="AB", output_ids=(5, 8)))
    assert found.samples[0].flip == Flip(1, 2.0, pytest.approx(4 * 3e-5 * math.sqrt(3) * 3**0.5))
    assert found.begins_in.name == "text"
    shorter = judge(sample(text="", output_ids=(5,)))
    assert shorter.samples[0].flip.step == 1


def test_of_a_service_text_alone_is_compared():
    served = SampleTrace("s0", "A", "a", input_tokens=3)
    found = compare(Trace((sample(),), "fp32"), Trace((served,), "served"))
    assert found.outcome == "PASS"
    assert [each.name for each in found.stages if each.num_samples] == ["tokens", "text"]
    other = compare(Trace((sample(),), "fp32"), Trace((replace(served, text="B"),), "served"))
    # The smallest margin of the reply, 1.0, is above what bf16 explains, 4 · √3 · 4/256 · √3.
    assert other.samples[0].flip == Flip(None, 1.0, pytest.approx(12 * 4 / 256))
    assert other.outcome == "FAIL"
    counted = replace(served, input_tokens=4)
    assert compare(Trace((sample(),), "fp32"), Trace((counted,), "served")).begins_in.name == (
        "tokens"
    )


def test_a_failed_sample_is_a_fail():
    found = judge(SampleTrace("s0", "", error="out of memory"))
    assert found.outcome == "FAIL"
    assert found.failed == (("s0", "B", "out of memory"),)
    assert found.samples[0].flip is None
