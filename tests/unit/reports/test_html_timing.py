"""The times of a run on its page, against figures worked out by hand or by numpy."""

import re

import numpy as np
import pytest

from modeltest.reports.page.timing import timing_plot


def timed(times, durations=None):
    def make(manifest, samples):
        first = samples[0]
        samples[:] = [
            {
                **first,
                "index": place,
                "clips": [{**first["clips"][0], "duration_s": duration}],
                "response": {**first["response"], "timing": {"e2e_s": time}},
                "score": {**first["score"], "correct": place % 2 == 0},
            }
            for place, (time, duration) in enumerate(
                zip(times, durations or [2.0] * len(times), strict=True)
            )
        ]
        manifest["data"].update(num_samples=len(times), num_available=len(times))

    return make


def heights(path):
    return [float(y) for _, y in re.findall(r"M([\d.]+) ([\d.]+)h0", path)]


def test_quantiles_are_numpys(make_run):
    times = np.random.default_rng(3).gamma(9, 0.1, 500)
    plot = timing_plot(make_run(timed(times.tolist())))
    for name in ("p50", "p90", "p99"):
        assert getattr(plot, name) == f"{np.percentile(times, int(name[1:])):.3g}"
    assert sum(bar["count"] for bar in plot.bars) == 500


def test_samples_stand_in_the_order_in_which_they_were_asked(make_run):
    # The longest clip first; of equal ones the first of the task.
    plot = timing_plot(make_run(timed([1.0, 2.0, 3.0, 4.0] * 3, [1.0, 4.0, 2.0, 4.0] * 3)))
    assert (plot.first_tenth, plot.last_tenth) == ("2", "1")


def test_drift_shows_in_the_tenths(make_run):
    times = [1.0] * 50 + [1.5] * 50
    plot = timing_plot(make_run(timed(times)))
    assert (plot.first_tenth, plot.last_tenth) == ("1", "1.5")


def test_right_and_other_samples_have_their_own_dots(make_run):
    plot = timing_plot(make_run(timed([1.0] * 9)))
    assert (len(heights(plot.sound_dots)), len(heights(plot.other_dots))) == (5, 4)


def test_a_larger_time_stands_higher(make_run):
    plot = timing_plot(make_run(timed([1.0, 1.0, 2.0, 1.0, 1.0, 1.0, 1.0, 1.0])))
    [low, high, *_] = heights(plot.sound_dots)
    assert high < low
    assert plot.bottom - high == pytest.approx(2 * (plot.bottom - low), abs=0.2)


def test_one_very_long_time_does_not_flatten_the_others(make_run):
    plot = timing_plot(make_run(timed([1.0] * 999 + [1000.0])))
    assert plot.num_above == 1
    assert float(plot.top) < 10


def test_of_few_or_no_times_there_is_no_picture(make_run, run):
    assert timing_plot(run) is None
    assert timing_plot(make_run(timed([1.0] * 7))) is None


def test_equal_times_and_zeros_make_a_picture(make_run):
    assert timing_plot(make_run(timed([0.0] * 20))).p50 == "0"
