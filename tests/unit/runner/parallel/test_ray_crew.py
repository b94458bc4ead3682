"""The crew's own rules, with actors that a test plays; the real ones are in end_to_end."""

import time
from concurrent.futures import Future
from types import SimpleNamespace

import pytest

from modeltest.errors import DataError, DeviceError, ModelError, StorageError, UsageError
from modeltest.runlog.segment import encode_line
from modeltest.runner.parallel import ray_crew
from modeltest.runner.parallel.crew import Ended, Message
from modeltest.runner.parallel.node_worker import Post
from modeltest.runner.parallel.ray_crew import RayCrew

BEAT = {"event": "beat"}
RECORD = {"type": "phase", "name": "load", "seconds": 1.0}


class Unavailable(Exception):
    pass


class Method:
    """Calls of one method of an actor: arguments and result each."""

    def __init__(self):
        self.calls = []
        self.when_called = lambda: None

    def options(self, **_):
        return self

    def remote(self, *arguments):
        result = Future()
        self.calls.append((arguments, result))
        self.when_called()
        return SimpleNamespace(future=lambda: result)


class Ray:
    """In place of the library."""

    exceptions = SimpleNamespace(ActorUnavailableError=Unavailable)

    def __init__(self):
        self.actors = []
        self.killed = []

    def remote(self, **_):
        return lambda cls: self

    def options(self, **asked):
        self._asked = asked
        return SimpleNamespace(remote=self._make)

    def _make(self, post, greeting):
        actor = SimpleNamespace(listen=Method(), send=Method(), stop=Method(), leave=Method())
        self.actors.append(actor)
        return actor

    def kill(self, actor, no_restart):
        self.killed.append(actor)

    def wait(self, refs, num_returns, timeout):
        return refs, []


class Segment:
    def __init__(self):
        self.records = []
        self.events = []
        self.is_full = False
        self.before = []

    def append(self, record):
        if error := self.before and self.before.pop(0):
            raise error
        self.records.append(record)

    def sync(self):
        if self.is_full:
            raise StorageError("the disk refused a record")
        self.events.append("sync")

    def close(self):
        self.events.append("close")


@pytest.fixture
def ray():
    return Ray()


@pytest.fixture
def segments():
    return {}


@pytest.fixture
def crew(ray, segments):
    post = Post("run", "sha", "{}", "", {}, [])
    return RayCrew(ray, 2, "NPU", post, list, lambda worker: segments.setdefault(worker, Segment()))


def heard(messages=(), first=0, ended=None):
    return {"node": "n1", "first": first, "messages": list(messages), "ended": ended}


def answer(actor, reply):
    actor.listen.calls[-1][1].set_result(reply)


def test_records_are_in_the_segment_before_what_follows_is_told(crew, ray, segments):
    crew.start(1)
    line = encode_line(RECORD)
    answer(ray.actors[0], heard([({"event": "record"}, line), ({"event": "answered"}, b"")]))
    events = crew.wait(0)
    assert [e.header for e in events if e.header != BEAT] == [{"event": "answered"}]
    assert segments[1].records == [RECORD]
    assert ray.actors[0].listen.calls[-1][0] == (2,)  # both are here


def test_a_damaged_record_is_refused(crew, ray):
    crew.start(0)
    answer(ray.actors[0], heard([({"event": "record"}, encode_line(RECORD)[:-9])]))
    with pytest.raises(DeviceError, match="worker 0 sent a record that is none"):
        crew.wait(0)


def test_a_call_that_did_not_get_through_is_made_again(crew, ray, monkeypatch):
    monkeypatch.setattr(ray_crew, "_AGAIN_S", 0.0)
    crew.start(0)
    answer(ray.actors[0], heard([({"event": "ready"}, b"")]))
    crew.wait(0)
    ray.actors[0].listen.calls[-1][1].set_exception(Unavailable())
    assert crew.wait(0) == []
    crew.wait(0)
    assert [arguments for arguments, _ in ray.actors[0].listen.calls] == [(0,), (1,), (1,)]


def test_a_lost_worker_has_ended_and_where(crew, ray):
    crew.start(0)
    answer(ray.actors[0], heard())
    crew.wait(0)
    ray.actors[0].listen.calls[-1][1].set_exception(RuntimeError("The actor died.\nwhy"))
    assert crew.wait(0) == [Ended(0, "node n1 or its worker's process was lost")]
    crew.send(0, [({}, b"")])
    assert ray.actors[0].send.calls == []


def test_a_worker_that_was_never_heard_says_why_in_rays_words(crew, ray):
    crew.start(0)
    why = "The actor died …\nModuleNotFoundError: No module named 'modeltest'\n"
    ray.actors[0].listen.calls[-1][1].set_exception(RuntimeError(why))
    ends = [event for event in crew.wait(0) if isinstance(event, Ended)]
    assert ends == [Ended(0, "ModuleNotFoundError: No module named 'modeltest'")]


def test_a_worker_that_finds_no_device_is_on_its_way_and_then_given_up(crew, ray, monkeypatch):
    crew.start(0)
    assert crew.wait(0) == [Message(0, BEAT)]
    later_s = time.monotonic() + ray_crew.START_S
    monkeypatch.setattr(ray_crew.time, "monotonic", lambda: later_s)
    assert crew.wait(0) == [Ended(0, "no node had a free NPU within 120 s")]
    assert ray.killed == ray.actors


def test_the_last_words_of_one_that_was_killed_are_not_heard(crew, ray):
    crew.start(0)
    crew.kill(0, "no sign of life for 30 s")
    answer(ray.actors[0], heard([({"event": "answered"}, b"")]))
    crew.start(0)
    events = crew.wait(0)
    assert Ended(0, "no sign of life for 30 s") in events
    assert not any(isinstance(e, Message) and e.header != BEAT for e in events)


def test_a_worker_leaves_when_its_records_are_on_the_disk(crew, ray, segments):
    crew.start(0)
    answer(ray.actors[0], heard([({"event": "record"}, encode_line(RECORD))], ended=""))
    assert crew.wait(0)[-1] == Ended(0, "")
    assert segments[0].events == ["sync"]
    assert [arguments for arguments, _ in ray.actors[0].leave.calls] == [(1,)]
    crew.close()
    assert segments[0].events == ["sync", "close"]


def test_a_worker_that_a_message_did_not_reach_is_ended(crew, ray):
    crew.start(0)
    answer(ray.actors[0], heard())
    crew.wait(0)
    crew.send(0, [({"batch": 3}, b"")])
    ray.actors[0].send.calls[-1][1].set_exception(Unavailable())
    assert crew.wait(0) == [Ended(0, "a message to it was lost (node n1)")]
    assert ray.killed == [ray.actors[0]]
    assert len(ray.actors[0].listen.calls) == 2  # and nobody listens twice


def test_only_the_first_reply_says_by_itself_that_a_worker_lives(crew, ray):
    crew.start(0)
    answer(ray.actors[0], heard())
    assert Message(0, BEAT) in crew.wait(0)
    answer(ray.actors[0], heard())
    assert crew.wait(0) == []  # its process said nothing


def fail(crew, actor, error):
    """Its process tells an error and ends."""
    header = {"error": f"node n1: {error}", "kind": type(error).__name__}
    answer(actor, heard([(header, b"")]))
    events = crew.wait(0)
    answer(actor, heard(first=1, ended="dismissed"))
    return [event for event in events + crew.wait(0) if event != Message(0, BEAT)]


@pytest.mark.parametrize("kind", [ModelError, StorageError, DataError, UsageError])
def test_an_error_of_one_node_is_the_end_of_that_worker_and_names_the_node(crew, ray, kind):
    crew.start(0)
    events = fail(crew, ray.actors[0], kind("/weights: no such folder"))
    assert events == [Ended(0, "node n1: /weights: no such folder")]
    assert len(ray.actors[0].stop.calls) == 1  # nobody waits for a process that hangs
    assert [arguments for arguments, _ in ray.actors[0].leave.calls] == [(1,)]


def test_a_failed_worker_whose_node_is_lost_ended_by_its_error(crew, ray):
    crew.start(0)
    header = {"error": "node n1: no space", "kind": "StorageError"}
    answer(ray.actors[0], heard([(header, b"")]))
    crew.wait(0)
    ray.actors[0].listen.calls[-1][1].set_exception(RuntimeError("The actor died."))
    assert crew.wait(0) == [Ended(0, "node n1: no space")]


def test_a_lost_device_is_told_at_once(crew, ray):
    crew.start(0)
    header = {"error": "node n1: the device is gone", "kind": "DeviceError"}
    answer(ray.actors[0], heard([(header, b"")]))
    assert Message(0, header) in crew.wait(0)
    crew.kill(0, header["error"])
    assert crew.wait(0) == [Ended(0, "node n1: the device is gone")]  # its node is said once


def test_what_all_workers_failed_by_is_known(crew, ray):
    for worker in (0, 1):
        assert crew.common_failure is None
        crew.start(worker)
        fail(crew, ray.actors[worker], ModelError(f"no weights {worker}"))
    assert isinstance(crew.common_failure, ModelError)
    assert str(crew.common_failure) == "node n1: no weights 1"
    crew.start(0)  # there is hope
    assert crew.common_failure is None


def test_after_an_answer_no_failure_is_that_of_all(crew, ray):
    crew.start(0)
    answer(ray.actors[0], heard([({"event": "answered"}, b"")]))
    crew.wait(0)
    answer(ray.actors[0], heard([({"error": "e", "kind": "StorageError"}, b"")], 1, "dismissed"))
    crew.wait(0)
    crew.start(1)
    fail(crew, ray.actors[1], StorageError("e"))
    assert crew.common_failure is None


def test_what_workers_have_said_is_written_before_they_leave(crew, ray, segments):
    crew.start(0)
    actor = ray.actors[0]
    answer(actor, heard())
    crew.wait(0)
    said = heard([({"event": "record"}, encode_line(RECORD))], ended="dismissed")
    actor.stop.when_called = lambda: answer(actor, said)
    actor.leave.when_called = lambda: segments[0].events.append("leave")
    crew.close()
    assert segments[0].records == [RECORD]
    assert segments[0].events == ["sync", "leave", "close"]
    assert [arguments for arguments, _ in actor.leave.calls] == [(1,)]


def test_a_signal_between_two_records_costs_neither(crew, ray, segments):
    crew.start(0)
    actor = ray.actors[0]
    other = {**RECORD, "seconds": 2.0}
    both = [({"event": "record"}, encode_line(record)) for record in (RECORD, other)]
    segments[0] = Segment()
    segments[0].before = [None, KeyboardInterrupt]
    answer(actor, heard(both))
    with pytest.raises(KeyboardInterrupt):
        crew.wait(0)
    actor.listen.when_called = lambda: answer(actor, heard(both, ended="dismissed"))
    crew.close()
    assert segments[0].records == [RECORD, other]
    assert [arguments for arguments, _ in actor.leave.calls] == [(2,)]


def test_records_stay_with_a_worker_that_is_out_of_reach(crew, ray, monkeypatch):
    monkeypatch.setattr(ray_crew, "_LEAVE_S", 0.05)
    crew.start(0)
    answer(ray.actors[0], heard())
    crew.wait(0)
    crew.close()
    assert len(ray.actors[0].stop.calls) == 1
    assert ray.actors[0].leave.calls == []
    assert ray.killed == [ray.actors[0]]


def test_records_stay_with_the_worker_when_the_disk_here_refuses_them(crew, ray, segments):
    crew.start(0)
    actor = ray.actors[0]
    answer(actor, heard([({"event": "record"}, encode_line(RECORD))]))
    crew.wait(0)
    segments[0].is_full = True
    actor.stop.when_called = lambda: answer(actor, heard(first=1, ended="dismissed"))
    with pytest.raises(StorageError):
        crew.close()
    assert actor.leave.calls == []


def test_an_actor_that_could_not_be_made_is_where_ray_says(crew, ray):
    crew.start(0)
    why = (
        "The actor died because of ray::NodeWorker.__init__() (pid=8, ip=10.0.0.2, x)\nOSError: no"
    )
    ray.actors[0].listen.calls[-1][1].set_exception(RuntimeError(why))
    assert Ended(0, "OSError: no (node 10.0.0.2)") in crew.wait(0)
