"""Worker processes of this host: real ones, which answer as the null backend does."""

import os
import signal
import subprocess
from collections import Counter
from contextlib import closing
from dataclasses import asdict
from pathlib import Path

import pytest

from modeltest.devices.cpu import CpuDevice
from modeltest.devices.factory import Choice
from modeltest.runlog.run_log import open_segment
from modeltest.runlog.segment import SegmentReader, encode_line
from modeltest.runner import child
from modeltest.runner.batches import Work
from modeltest.runner.parallel import evaluation
from modeltest.runner.parallel.crew import Ended, Message
from modeltest.runner.parallel.local import LocalCrew
from modeltest.runner.parallel.worker import ANSWERED, READY, RECORD, Job
from modeltest.runner.plan import check_data
from modeltest.settings.load import Loaded
from modeltest.settings.schema import ModelSettings
from modeltest.tasks.factory import make_task

REASON = "no sign of life"


class Crew(LocalCrew):
    """One that a test looks at, and that changes what happens by `change`."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.ends = []
        self.change = lambda crew, event: [event]

    def wait(self, timeout_s):
        told = [new for event in super().wait(timeout_s) for new in self.change(self, event)]
        self.ends += [event for event in told if isinstance(event, Ended)]
        return told

    def pid(self, worker):
        return self._children[worker].pid


@pytest.fixture
def evaluate(settings, tmp_path, progress, monkeypatch):
    """Evaluates the five clips one by one with two processes; returns crew and records."""

    def run(change):
        made = []

        def crew(*arguments):
            made.append(Crew(*arguments))
            made[0].change = change
            return made[0]

        monkeypatch.setattr(evaluation, "LocalCrew", crew)
        data = check_data(Loaded("t", settings, ((Path("t.yaml"), ""),), (), {}), None, progress)
        work = Work(make_task("t", settings), data.samples, data.facts, 1, False, "identity")
        null = ModelSettings(backend="null").model_dump_json()
        job = Job("t", settings.model_dump_json(), null, Choice("cpu", ""), 0)
        (tmp_path / "manifest.json").touch()
        with open_segment(tmp_path) as log:
            parts = evaluation.ParallelEvaluation(
                work, job, [], CpuDevice(), log, progress, 2, tmp_path
            )
            evaluation.evaluate_on_this_host(parts)
        paths = tmp_path.glob("log/*.jsonl")
        return made[0], [record for path in paths for _, _, record in SegmentReader(path)]

    return run


def of_type(records, kind):
    return [record for record in records if record["type"] == kind]


def indices(records):
    return Counter(record["index"] for record in of_type(records, "sample"))


@pytest.fixture
def unkillable(monkeypatch):
    """Numbers of processes that a kill does not end, as one that waits in the kernel."""
    numbers = []
    kill = subprocess.Popen.kill

    def kill_others(process):
        if process.pid not in numbers:
            kill(process)

    monkeypatch.setattr(subprocess.Popen, "kill", kill_others)
    monkeypatch.setattr(child, "_KILLED_S", 0.3)
    yield numbers
    for number in numbers:
        os.kill(number, signal.SIGKILL)
        os.waitpid(number, 0)


def test_each_batch_is_acknowledged_by_its_number(evaluate):
    answered = []

    def change(crew, event):
        if isinstance(event, Message) and event.header.get("event") == ANSWERED:
            answered.append(event.header["batch"])
        return [event]

    _, records = evaluate(change)
    assert sorted(answered) == [0, 1, 2, 3, 4]
    assert indices(records) == dict.fromkeys(range(5), 1)


def test_answers_that_are_told_twice_lose_nothing(evaluate):
    def change(crew, event):
        is_answer = isinstance(event, Message) and event.header.get("event") == ANSWERED
        return [event, event] if is_answer else [event]

    _, records = evaluate(change)
    assert indices(records) == dict.fromkeys(range(5), 1)
    [phase] = [record for record in of_type(records, "phase") if record["name"] == "eval"]
    assert phase["num_samples"] == 5


def test_a_process_that_no_kill_ends_is_left_behind_and_the_run_goes_on(evaluate, unkillable):
    def change(crew, event):
        first = not unkillable and isinstance(event, Message) and event.worker == 0
        if first and event.header.get("event") == READY:
            unkillable.append(crew.pid(0))
            os.kill(crew.pid(0), signal.SIGSTOP)
            crew.kill(0, REASON)
        return [event]

    crew, records = evaluate(change)
    [number] = unkillable
    said = f"{REASON}; process {number} was killed and does not end; it is left behind"
    assert crew.ends[0] == Ended(0, said)
    assert {record["reason"] for record in of_type(records, "redealt")} == {said}
    assert indices(records) == dict.fromkeys(range(5), 1)
    assert os.waitpid(number, os.WNOHANG) == (0, 0)  # it is still there


def test_a_worker_without_the_runs_folder_names_the_manifest_that_it_was_told(settings, tmp_path):
    job = Job(
        "t", settings.model_dump_json(), ModelSettings(backend="null").model_dump_json(),
        Choice("cpu", ""), 0,
    )  # fmt: skip
    asked = {
        "job": asdict(job), "rank": 0, "run_folder": str(tmp_path / "spool"), "num_clips": 0,
        "tells_records": True, "manifest_sha256": "ab" * 32,
    }  # fmt: skip
    told = []
    with closing(LocalCrew(1, lambda _: [(asked, b"")], {})) as crew:
        crew.start(0)
        while not any(isinstance(event, Ended) or event.header.get("event") == READY
                      for event in told):  # fmt: skip
            told += crew.wait(5.0)
    [path] = (tmp_path / "spool" / "log").iterdir()
    first, *logged = [record for _, _, record in SegmentReader(path)]
    assert first == {"type": "head", "manifest_sha256": "ab" * 32}
    records = [event.payload for event in told if event.header.get("event") == RECORD]
    assert records == list(map(encode_line, logged[: len(records)]))
    assert records, "the head alone"


def test_the_end_of_a_run_waits_for_no_process_longer_than_that(unkillable):
    with closing(LocalCrew(3, lambda _: [], {})) as crew:
        for worker in range(3):
            crew.start(worker)
            unkillable.append(crew._children[worker].pid)
            os.kill(unkillable[-1], signal.SIGSTOP)
    assert [os.waitpid(number, os.WNOHANG) for number in unkillable] == [(0, 0)] * 3


def test_a_kill_that_comes_behind_the_end_does_nothing():
    with closing(LocalCrew(1, lambda _: [], {})) as crew:
        crew.start(0)
        os.kill(crew._children[0].pid, signal.SIGKILL)
        events = []
        while not events:
            events = crew.wait(5.0)
        assert events == [Ended(0, "process ended by signal 9")]
        crew.kill(0, REASON)
        assert crew.wait(0) == []
