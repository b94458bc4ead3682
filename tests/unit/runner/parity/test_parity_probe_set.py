"""Which samples a parity check asks about."""

import pytest

from modeltest.errors import DataError
from modeltest.records import Sample
from modeltest.runner.parity.probe_set import pick, spread_over_classes


def samples(**counts):
    return [
        Sample(f"{label}{number}", (), label)
        for label, count in counts.items()
        for number in range(count)
    ]


def ids(chosen):
    return [sample.sample_id for sample in chosen]


def test_classes_take_turns_and_are_spread_evenly():
    assert ids(spread_over_classes(samples(a=5, b=9), 6)) == ["a0", "b0", "a2", "b4", "a4", "b8"]


def test_a_small_class_leaves_its_share_to_the_others():
    assert ids(spread_over_classes(samples(a=1, b=5), 4)) == ["a0", "b0", "b2", "b4"]


def test_fewer_samples_than_classes():
    chosen = spread_over_classes(samples(a=3, b=3, c=3), 2)
    assert [sample.truth for sample in chosen] == ["a", "b"]


def test_more_are_asked_for_than_there_are():
    all_of_them = samples(a=2, b=1)
    assert sorted(ids(spread_over_classes(all_of_them, 99))) == ["a0", "a1", "b0"]


def test_without_labels_they_are_spread_over_all():
    unlabelled = [Sample(f"s{number}", (), "") for number in range(9)]
    assert ids(spread_over_classes(unlabelled, 3)) == ["s0", "s4", "s8"]


def test_recorded_samples_are_found_again_in_their_order():
    assert ids(pick(samples(a=3), ["a2", "a0"])) == ["a2", "a0"]
    with pytest.raises(DataError, match="recorded with sample b7, which the task's data does not"):
        pick(samples(a=3), ["b7"])
