"""A worker that has to leave while a thread of it waits for the next batch."""

import os
import threading
import time

from modeltest.runner.parallel.worker_child import Parent, dealt
from modeltest.runner.prefetch import prefetched


def test_waiting_for_the_next_batch_can_be_ended():
    requests, sending = os.pipe()
    reports = os.open(os.devnull, os.O_WRONLY)
    parent = Parent(requests, reports)
    batches = prefetched(dealt(parent), parent.stop_waiting)
    waiter = threading.Thread(target=next, args=(batches, None), daemon=True)
    waiter.start()
    time.sleep(0.2)
    assert waiter.is_alive()
    parent.stop_waiting()
    waiter.join(5)
    assert not waiter.is_alive()
    assert sending  # open until here: where it closes, the process ends
