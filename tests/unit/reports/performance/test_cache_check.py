"""When repeated clips count as answered from memory, and when noise is only noise."""

import random

import pytest

from modeltest.reports.performance.cache_check import check_cache


def a_round(kind, pass_number, place, seconds):
    return {
        "kind": kind,
        "pass": pass_number,
        "start_s": 1000.0 * pass_number + place,
        "batches": [{"e2e_s": seconds}],
    }


def sweep(distinct_s, copies_s=lambda _pass, _place: 0.1, num_passes=5, order="dcccc"):
    """Rounds of each pass in this order, c a copy, d distinct clips."""
    return [
        a_round(
            "distinct" if letter == "d" else "copies",
            number,
            place,
            (distinct_s if letter == "d" else copies_s)(number, place),
        )
        for number in range(num_passes)
        for place, letter in enumerate(order)
    ]


def test_a_cache_is_proven_by_the_whole_interval():
    check = check_cache(sweep(lambda number, _: 0.13 + 0.001 * number))
    assert check.gain == pytest.approx(0.32)
    assert check.interval[0] > 0.29
    assert check.reason() == (
        "repeated clips are 32 % faster than distinct ones (95 % interval +30.0 % to +34.0 %, "
        "5 pairs), limit 10 %: a cache is at work"
    )


def test_one_slow_round_is_no_proof():
    check = check_cache(sweep(lambda number, _: 1.0 if number == 2 else 0.1))
    assert check.reason() == ""
    assert check.note().startswith("cache check: undecided")


def test_a_gain_within_the_limit_says_nothing():
    check = check_cache(sweep(lambda _number, _place: 0.105))
    assert (check.reason(), check.note()) == ("", "")


def test_a_machine_that_slows_down_slows_both_kinds():
    def drifting(number, place):
        return 0.1 * (1 + 0.5 * number + 0.02 * place)

    check = check_cache(sweep(drifting, drifting, order="cdc"))
    assert check.gain == pytest.approx(0.0, abs=1e-9)
    assert (check.reason(), check.note()) == ("", "")


def test_pairs_are_neighbours_of_the_same_pass():
    # The copies behind the distinct round are slow; those far away and of other passes fast.
    rounds = sweep(
        lambda _number, _place: 0.2,
        lambda number, place: 0.2 if place == 1 else 0.1,
    )
    check = check_cache(rounds)
    assert (check.gain, check.num_pairs) == (pytest.approx(0.0), 5)


def test_noise_raises_no_alarm():
    alarms = 0
    for seed in range(100):
        draw = random.Random(seed)

        def noisy(_number, _place, draw=draw):
            return 0.1 * draw.lognormvariate(0.0, 0.3)

        alarms += bool(check_cache(sweep(noisy, noisy)).reason())
    assert alarms <= 2


def test_rounds_of_microseconds_tell_nothing():
    check = check_cache(sweep(lambda _number, _place: 2e-5, lambda _number, _place: 1e-5))
    assert check.gain == pytest.approx(1.0)
    assert check.reason() == ""
    assert check.note() == "cache check: rounds below 1 ms tell nothing"


def test_a_single_pass_tells_nothing():
    check = check_cache(sweep(lambda _number, _place: 0.2, num_passes=1))
    assert (check.interval, check.reason()) == (None, "")
    assert check.note() == "cache check: a single pass tells nothing"
    assert check.figures() == "1 pairs"


@pytest.mark.parametrize("order", ["cccc", "d"])
def test_without_a_pair_there_is_no_check(order):
    assert check_cache(sweep(lambda _number, _place: 0.1, order=order)) is None


def test_a_round_whose_requests_all_failed_is_left_out():
    rounds = [*sweep(lambda _n, _p: 0.1), a_round("distinct", 0, 9, None)]
    assert check_cache(rounds).num_pairs == 5
