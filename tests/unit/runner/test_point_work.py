"""Work of replies that end at different tokens."""

from types import SimpleNamespace

from modeltest.records import StageWork
from modeltest.runner.point_work import round_work


class Counting:
    """Useful work: one operation per row and token. Bytes: 100 per step for the weights, too."""

    def work(self, requests, output_tokens):
        steps = output_tokens - 1
        rows = len(requests)
        return {
            "prefill": StageWork(10.0 * rows, 20.0 * rows, 100.0),
            "decode": StageWork(
                float(rows * steps), float(2 * rows * steps), float(100 * steps + rows * steps)
            ),
        }


def replies(*lengths):
    return [SimpleNamespace(output_tokens=length) for length in lengths]


def work_of(*batches):
    asked = [[f"request {row}" for row in range(len(lengths))] for lengths in batches]
    return round_work(Counting(), asked, [replies(*lengths) for lengths in batches])


def test_equal_replies_are_the_backends_own_count():
    whole = Counting().work(["a", "b", "c"], 6)["decode"]
    assert work_of((6, 6, 6))["decode"] == {
        "useful_flops": whole.useful_flops,
        "executed_flops": whole.executed_flops,
        "num_bytes": whole.num_bytes,
    }


def test_useful_work_ends_with_each_reply_and_executed_work_with_the_longest():
    work = work_of((2, 6, 4, 4))
    # Steps 1, 5, 3 and 3; the weights are read in each of five steps.
    assert work["decode"] == {
        "useful_flops": 12.0,
        "executed_flops": 2.0 * 4 * 5,
        "num_bytes": 512.0,
    }
    assert work["prefill"] == {
        "useful_flops": 40.0,
        "executed_flops": 80.0,
        "num_bytes": 100.0,
    }


def test_batches_of_a_round_are_added():
    assert work_of((3,), (5,))["decode"]["useful_flops"] == 6.0


def test_a_failed_reply_is_counted_up_to_its_prefill():
    assert work_of((None, 3))["decode"]["useful_flops"] == 2.0


def test_a_backend_that_cannot_tell():
    silent = SimpleNamespace(work=lambda requests, output_tokens: {})
    assert round_work(silent, [["a", "b"]], [replies(2, 3)]) == {}
