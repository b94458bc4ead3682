"""What stops a run from being continued before anything is computed."""

from pathlib import Path

import pytest

from modeltest.errors import DataError
from modeltest.runlog.run_log import RunContent
from modeltest.runlog.sweep_log import SweepContent
from modeltest.runner.resume import refuse_unfit_log

FOLDER = Path("/out/a run/174503-0a1b2c")


@pytest.fixture(params=["eval", "perf"])
def content(request):
    """Makes the content of a run of each command."""

    def make(**parts):
        if request.param == "eval":
            return RunContent(FOLDER, {}, (), **parts)
        return SweepContent(FOLDER, {}, **parts)

    return make


def test_a_whole_log_is_continued_and_so_is_a_torn_one(content):
    refuse_unfit_log(content())
    refuse_unfit_log(content(torn=("a.jsonl",)))


def test_inner_damage_is_refused_with_the_command_that_mends_it(content):
    damaged = content(problems=("segment a.jsonl is damaged inside",), damaged=("a.jsonl",))
    with pytest.raises(DataError) as caught:
        refuse_unfit_log(damaged)
    assert caught.value.exit_code == 2
    assert str(caught.value) == (
        "run 174503-0a1b2c cannot be resumed, segment a.jsonl of its log is damaged inside; rescue "
        "its whole records first: modeltest report '/out/a run/174503-0a1b2c' --repair"
    )


def test_what_no_repair_mends_is_refused_too(content):
    with pytest.raises(DataError) as caught:
        refuse_unfit_log(content(problems=("segment a\n.jsonl belongs to another run", "more")))
    assert str(caught.value) == (
        "run 174503-0a1b2c cannot be resumed, it would stay INVALID: segment a\\n.jsonl belongs to "
        "another run; take what is not its own out of its log, or begin a new run"
    )
