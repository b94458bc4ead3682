"""Work ahead in a thread: order, bound, failures, and leaving early."""

import threading
import time

import pytest

from modeltest.runner import prefetch


def prefetched(make, items, stop):
    return prefetch.prefetched((make(item) for item in items), stop)


def names():
    return [thread.name for thread in threading.enumerate() if "prefetch" in thread.name]


def test_results_come_in_order_and_one_is_made_ahead():
    made = []
    results = prefetched(lambda item: made.append(item) or item * 10, range(5), lambda: None)
    assert next(results) == 0
    end_s = time.monotonic() + 5
    while made != [0, 1] and time.monotonic() < end_s:
        time.sleep(0.01)
    time.sleep(0.05)
    assert made == [0, 1]  # the third waits until the second is taken
    assert list(results) == [10, 20, 30, 40]
    assert names() == []


def test_nothing_to_do():
    assert list(prefetched(str, [], lambda: None)) == []


def test_a_failure_is_raised_in_its_place():
    def make(item):
        return 10 // item

    results = prefetched(make, [5, 0, 2], lambda: None)
    assert next(results) == 2
    with pytest.raises(ZeroDivisionError):
        next(results)


@pytest.mark.parametrize("leave", ["close", "interrupt"])
def test_leaving_early_stops_the_work_ahead(leave):
    released, stopped = threading.Event(), []

    def make(item):
        if item:
            released.wait(30)
        return item

    def stop():
        stopped.append(True)
        released.set()

    results = prefetched(make, range(3), stop)
    begin_s = time.monotonic()
    assert next(results) == 0
    if leave == "close":
        results.close()
    else:
        with pytest.raises(KeyboardInterrupt):
            results.throw(KeyboardInterrupt)
    assert time.monotonic() - begin_s < 5
    assert stopped == [True]
    assert names() == []
