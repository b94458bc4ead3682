"""The crew's own rules, with actors that a test plays; the real ones are in end_to_end."""

import time
from concurrent.futures import Future
from types import SimpleNamespace

import pytest

from modeltest.errors import DeviceError
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

    def options(self, **_):
        return self

    def remote(self, *arguments):
        result = Future()
        self.calls.append((arguments, result))
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
        actor = SimpleNamespace(listen=Method(), send=Method(), leave=Method())
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

    def append(self, record):
        self.records.append(record)

    def sync(self):
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
    assert len(ray.actors[0].leave.calls) == 1
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
