"""Dealing to workers that answer, end, fall silent or refuse, as a scripted crew plays them."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest

from modeltest.errors import DeviceError, StorageError
from modeltest.records import AudioFacts, AudioSource, Sample, Score
from modeltest.runlog.keys import sample_key
from modeltest.runlog.run_log import phase_record
from modeltest.runner.batches import Work
from modeltest.runner.logged_replies import LoggedReplies
from modeltest.runner.parallel.coordinator import Coordinator
from modeltest.runner.parallel.crew import Ended, Message

READY = {
    "event": "ready",
    "load": phase_record("load", 2.0),
    "warm_up": phase_record("warm_up", 0.5),
    "device": {"name": "a device"},
    "machine": {"host": {"name": "a host"}},
}
BEAT = {"event": "beat"}


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


class Task:
    def score(self, sample, response):
        return Score(None, False, None, False)

    def subsets(self, sample):
        return ()


@dataclass
class ScriptedCrew:
    """Workers that answer each batch after a second, unless `acts` says otherwise.

    Attributes:
        acts: What worker W does instead with the batch of number B: `(W, B)` → act, once each.
        deadly: Number of a batch that ends whoever holds it, in work or made ready beside it.
        dealt: Numbers of the batches that each worker got, in order.
        held: Which batches a worker held together, each time it got one.
    """

    clock: Clock
    size: int = 2
    acts: dict[tuple[int, int], list[str]] = field(default_factory=dict)
    deadly: int | None = None
    starts: list[str] = field(default_factory=list)
    dealt: dict[int, list[int]] = field(default_factory=dict)
    held: list[list[int]] = field(default_factory=list)
    started: list[int] = field(default_factory=list)
    killed: dict[int, str] = field(default_factory=dict)
    log: list[dict] = field(default_factory=list)
    _waiting: dict[int, list[int]] = field(default_factory=dict)
    _news: list[Message | Ended] = field(default_factory=list)

    def start(self, worker):
        self.started.append(worker)
        self._waiting[worker] = []
        act = self.starts.pop(0) if self.starts else "ready"
        self._news.append(
            Message(worker, READY) if act == "ready" else Ended(worker, "it does not start")
        )

    def send(self, worker, frames):
        header, *members = [frame for frame, _ in frames]
        assert header["num_members"] == len(members)
        if not members:
            self._news += [
                Message(worker, {"event": "end", "peak_memory_bytes": 100 + worker}),
                Ended(worker, ""),
            ]
            return
        self.dealt.setdefault(worker, []).append(header["batch"])
        self._waiting[worker].append(header["batch"])
        self.held.append([*self._waiting[worker]])

    def wait(self, timeout_s):
        self.clock.now_s += 1
        news, self._news = self._news, []
        for worker, batches in self._waiting.items():
            if not any(event.worker == worker for event in news):
                news += self._play(worker, batches) if batches else [Message(worker, BEAT)]
        return news

    def _play(self, worker, batches) -> Iterator[Message | Ended]:
        acts = self.acts.get((worker, batches[0]))
        act = acts.pop(0) if acts else "answer"
        act = "end" if self.deadly in batches else act
        if act in {"answer", "answer twice"}:
            answered = {"event": "answered", "batch": batches.pop(0), "num_failed": 0}
            yield Message(worker, answered)
            if act == "answer twice":
                yield Message(worker, answered)
        elif act == "stale answer":  # to a batch that another worker holds
            yield Message(worker, {"event": "answered", "batch": 1, "num_failed": 9})
        elif act == "end":
            batches.clear()
            yield Ended(worker, "process ended by signal 9")
        elif act == "silence":
            acts.append("silence")
        elif act == "beat":
            acts.append("beat")
            yield Message(worker, BEAT)
        else:  # its process does not end by itself
            batches.clear()
            yield Message(worker, {"error": "it broke", "kind": act})

    def kill(self, worker, reason):
        self.killed[worker] = reason
        self._waiting[worker].clear()
        self._news.append(Ended(worker, reason))

    def close(self): ...

    def append(self, record):
        self.log.append(record)

    def logged(self, kind):
        return [record for record in self.log if record["type"] == kind]


def clips(num):
    facts = [(AudioFacts(f"{i}", 10, 9.0 - i, 16_000, 1, "WAV"),) for i in range(num)]
    sources = (AudioSource(f"s{i}.wav", path=f"s{i}.wav") for i in range(num))
    samples = [Sample(f"s{i}", (source,), "cough") for i, source in enumerate(sources)]
    return samples, facts


@pytest.fixture
def coordinate(progress) -> Callable[..., ScriptedCrew]:
    """Evaluates samples, the first of 9 s, the next of 8 s …, one per batch."""

    def run(crew: ScriptedCrew, num_samples=6, ahead=0, **settings):
        samples, facts = clips(num_samples)
        work = Work(Task(), samples, facts, 1, False, "identity", **settings)
        coordinator = Coordinator(
            work, crew, crew, progress,
            read_logged=lambda: LoggedReplies(crew.logged("sample")), ahead=ahead,
            clock=crew.clock,
        )  # fmt: skip
        crew.peak_bytes = coordinator.run()
        return crew

    return run


def test_each_batch_is_dealt_once_the_costliest_first(coordinate):
    crew = coordinate(ScriptedCrew(Clock()))
    assert sorted(crew.dealt[0] + crew.dealt[1]) == [0, 1, 2, 3, 4, 5]
    assert (crew.dealt[0][0], crew.dealt[1][0]) == (0, 1)
    assert all(dealt == sorted(dealt) for dealt in crew.dealt.values())
    assert crew.peak_bytes == 101  # the higher one of 100 and 101
    phases = {record["name"]: record for record in crew.logged("phase")}
    assert phases["load"]["seconds"] == 2.0
    assert phases["eval"]["num_samples"] == 6
    # One second until both are ready, then three rounds of two.
    assert phases["eval"]["seconds"] == pytest.approx(3.0, abs=2.0)
    assert len(crew.logged("phase")) == 3


def test_a_worker_may_hold_a_batch_beside_the_one_in_work(coordinate):
    crew = coordinate(ScriptedCrew(Clock(), size=2), num_samples=6, ahead=1)
    # Both are ready at once: one each, then one beside it.
    assert {worker: dealt[:2] for worker, dealt in crew.dealt.items()} == {0: [0, 2], 1: [1, 3]}


def test_no_worker_is_idle_while_a_batch_waits_behind_another(coordinate):
    crew = coordinate(ScriptedCrew(Clock(), size=4), num_samples=4, ahead=1)
    assert crew.dealt == {0: [0], 1: [1], 2: [2], 3: [3]}


def test_probes_are_dealt_behind_all_samples_and_timed_by_themselves(coordinate):
    probes = [("silenced", 0), ("silenced", 3), ("alone", 3)]
    crew = coordinate(ScriptedCrew(Clock(), size=2), num_samples=4, probes=probes)
    dealt = sorted(crew.dealt[0] + crew.dealt[1])
    assert dealt == [0, 1, 2, 3, 4, 5, 6]  # three more, under numbers of their own
    phases = {record["name"]: record for record in crew.logged("phase")}
    assert phases["eval"]["num_samples"] == 4
    assert phases["probes"]["seconds"] == pytest.approx(2.0, abs=1.0)
    assert list(phases) == ["load", "warm_up", "eval", "probes"]


def test_a_run_that_lacks_its_probes_only_deals_these(coordinate):
    samples, facts = clips(6)
    keys = (sample_key(each, of_it, "identity") for each, of_it in zip(samples, facts, strict=True))
    logged = LoggedReplies({"key": key, "response": {"error": "", "text": "C"}} for key in keys)
    crew = coordinate(ScriptedCrew(Clock(), size=2), probes=[("alone", 3)], logged=logged)
    assert [*crew.dealt.values()] == [[6]]
    assert [record["name"] for record in crew.logged("phase")] == ["load", "warm_up", "probes"]


def test_a_probe_whose_worker_ends_each_time_is_a_failed_probe_and_no_sample(coordinate):
    crew = coordinate(ScriptedCrew(Clock(), deadly=2), num_samples=2, probes=[("alone", 1)])
    [probe] = crew.logged("probe")
    assert (probe["kind"], probe["index"], probe["text"]) == ("alone", 1, "")
    assert probe["error"] == "its worker ended 3 times: process ended by signal 9"
    assert crew.logged("sample") == []


def test_an_evaluation_that_was_stopped_has_no_probes(coordinate):
    crew = ScriptedCrew(Clock(), deadly=0)
    coordinate(crew, num_samples=6, probes=[("alone", 5)], max_failed=0)
    assert crew.logged("stop") != []
    assert 6 not in crew.dealt[0] + crew.dealt[1]


def test_what_a_worker_had_is_dealt_again_when_it_ends(coordinate):
    crew = coordinate(ScriptedCrew(Clock(), acts={(1, 1): ["end"]}))
    assert crew.started == [0, 1, 1]
    assert Counter(crew.dealt[0] + crew.dealt[1])[1] == 2
    assert {*crew.dealt[0], *crew.dealt[1]} == set(range(6))
    [again] = crew.logged("redealt")
    assert again == {
        "type": "redealt", "indices": [1], "times_lost": 1,
        "reason": "process ended by signal 9",
    }  # fmt: skip
    assert crew.logged("phase")[-1]["num_samples"] == 6
    assert crew.logged("sample") == []


def test_the_end_of_a_worker_is_told_unless_its_work_is_done(coordinate, caplog):
    coordinate(ScriptedCrew(Clock()))
    assert caplog.messages == []
    coordinate(ScriptedCrew(Clock(), acts={(1, 1): ["end"]}))
    assert caplog.messages == ["worker 1: process ended by signal 9"]


def test_a_batch_that_ends_its_worker_three_times_fails_and_the_run_goes_on(coordinate):
    acts = {(worker, 0): ["end", "end", "end"] for worker in (0, 1)}
    crew = coordinate(ScriptedCrew(Clock(), acts=acts))
    [record] = crew.logged("sample")
    assert record["sample_id"] == "s0"
    assert record["response"]["error"] == "its worker ended 3 times: process ended by signal 9"
    assert [again["times_lost"] for again in crew.logged("redealt")] == [1, 2]
    assert Counter(crew.dealt[0] + crew.dealt[1]) == {0: 3, 1: 1, 2: 1, 3: 1, 4: 1, 5: 1}
    assert crew.logged("phase")[-1]["num_samples"] == 6


@pytest.mark.parametrize("size", [1, 2])
@pytest.mark.parametrize("deadly", range(6))
def test_the_batch_that_ends_its_workers_is_blamed_and_no_other(coordinate, size, deadly):
    crew = coordinate(ScriptedCrew(Clock(), size=size, deadly=deadly), ahead=1)
    assert [record["sample_id"] for record in crew.logged("sample")] == [f"s{deadly}"]
    dealt = Counter(number for numbers in crew.dealt.values() for number in numbers)
    assert dealt[deadly] == 3
    assert max(count for number, count in dealt.items() if number != deadly) <= 2
    assert crew.logged("phase")[-1]["num_samples"] == 6


def test_what_was_lost_once_is_dealt_alone(coordinate):
    crew = coordinate(ScriptedCrew(Clock(), size=1, acts={(0, 0): ["end"] * 2}), 5, ahead=1)
    assert [(r["indices"], r["times_lost"]) for r in crew.logged("redealt")] == [
        ([0], 1), ([1], 1), ([0], 2),
    ]  # fmt: skip
    # Batch 2 is not dealt beside 1, nor 1 beside 0; those that were never lost go in pairs.
    assert crew.held == [[0], [0, 1], [0], [0], [1], [2], [2, 3], [3, 4]]
    assert crew.logged("sample") == []


def test_nothing_lost_is_dealt_beside_another_batch(coordinate):
    acts = {(1, 1): ["end"]}
    crew = coordinate(ScriptedCrew(Clock(), acts=acts), 8, ahead=1)
    lost = {index for record in crew.logged("redealt") for index in record["indices"]}
    assert lost == {1, 3}
    again = [held for held in crew.held if lost & {*held}][-2:]
    assert sorted(again) == [[1], [3]]


def test_an_answer_that_comes_twice_does_not_count_for_the_next_batch(coordinate):
    acts = {(0, 0): ["answer twice"], (0, 1): ["end"]}
    crew = coordinate(ScriptedCrew(Clock(), size=1, acts=acts), 3, ahead=1)
    assert Counter(crew.dealt[0]) == {0: 1, 1: 2, 2: 2}  # both were lost with the worker
    assert [record["indices"] for record in crew.logged("redealt")] == [[1], [2]]
    assert crew.logged("phase")[-1]["num_samples"] == 3


def test_an_answer_to_a_batch_that_another_worker_holds_counts_for_none(coordinate):
    acts = {(0, 0): ["stale answer", "end"], (1, 1): ["beat", "answer"]}
    crew = coordinate(ScriptedCrew(Clock(), acts=acts), 2, max_failed=0)
    assert Counter(crew.dealt[0] + crew.dealt[1]) == {0: 2, 1: 1}
    assert crew.logged("stop") == []  # the nine failures that it told of are not this batch's
    assert crew.logged("phase")[-1]["num_samples"] == 2


def test_a_silent_worker_is_ended_within_a_minute(coordinate):
    clock = Clock()
    crew = coordinate(ScriptedCrew(clock, acts={(0, 0): ["silence"]}))
    assert crew.killed == {0: "no sign of life for 30 s"}
    assert clock.now_s < 1060
    assert crew.started == [0, 1, 0]
    assert {*crew.dealt[0], *crew.dealt[1]} == set(range(6))


def test_a_batch_that_never_ends_is_given_up_although_its_worker_lives(coordinate):
    clock = Clock()
    crew = coordinate(ScriptedCrew(clock, acts={(1, 3): ["beat"]}))
    # The others took a second each: a minute is the least that is allowed.
    assert crew.killed == {1: "one batch took over 60 s"}
    assert clock.now_s < 1080


def test_workers_that_do_not_start_are_given_up(coordinate):
    crew = ScriptedCrew(Clock(), size=1, starts=["end"] * 3)
    with pytest.raises(DeviceError, match="no worker is left: it does not start"):
        coordinate(crew)
    assert crew.started == [0, 0, 0]
    assert [record["reason"] for record in crew.logged("given_up")] == ["it does not start"]


def test_a_worker_without_its_device_leaves_the_rest_to_the_others(coordinate):
    crew = coordinate(ScriptedCrew(Clock(), acts={(0, 0): ["DeviceError"]}))
    assert crew.started == [0, 1]
    assert crew.dealt[1] == [1, 2, 0, 3, 4, 5]  # dealt again when its process has ended
    assert crew.killed == {0: "it broke"}
    assert crew.logged("given_up") == [{"type": "given_up", "worker": 0, "reason": "it broke"}]


def test_no_device_left_is_a_device_error_with_its_reason(coordinate):
    crew = ScriptedCrew(Clock(), acts={(0, 0): ["DeviceError"], (1, 1): ["DeviceError"]})
    with pytest.raises(DeviceError, match="no worker is left: it broke"):
        coordinate(crew)


def test_an_error_that_concerns_the_run_ends_it(coordinate):
    crew = ScriptedCrew(Clock(), acts={(0, 0): ["StorageError"]})
    with pytest.raises(StorageError, match="it broke"):
        coordinate(crew)
    assert crew.logged("phase")[-1]["name"] == "eval"


def test_too_many_failures_end_the_run(coordinate):
    acts = {(worker, 0): ["end"] * 3 for worker in (0, 1)}
    crew = coordinate(ScriptedCrew(Clock(), acts=acts), 40, max_failed=0)
    [stop] = crew.logged("stop")
    assert stop["reason"] == "stopped after 1 failed samples (--fail-on-error)"
    assert len(crew.dealt[0]) + len(crew.dealt[1]) < 40
