"""A worker's end of the line: what it says is kept until it is had, and unfit nodes refuse."""

from dataclasses import asdict

import pytest

from modeltest.runlog.source_facts import source_sha256
from modeltest.runner.parallel import node_worker
from modeltest.runner.parallel.crew import Ended, Message
from modeltest.runner.parallel.node_worker import NodeWorker, Post
from modeltest.settings.schema import ModelSettings

NULL = ModelSettings(backend="null").model_dump_json()
GREETING = [({"rank": 0}, b""), ({"audio": {}}, b"clip")]


class ScriptedProcess:
    """In place of the crew of one process; `news` is what it says, a list per wait."""

    def __init__(self, size, greeting, environment):
        assert size == 1
        self.environment = environment
        self.greeting = greeting
        self.sent = []
        self.news = []
        self.killed = []

    def start(self, worker):
        self.sent.append(list(self.greeting(worker)))

    def send(self, worker, frames):
        self.sent.append(list(frames))

    def wait(self, timeout_s):
        return self.news.pop(0) if self.news else []

    def kill(self, worker, reason):
        self.killed.append(worker)


def post(**changes):
    fit = Post("120000-abcdef", source_sha256(), NULL, "", {"TASK_QUEUE_ENABLE": "2"}, [])
    return {**asdict(fit), **changes}


@pytest.fixture
def node(monkeypatch, tmp_path):
    monkeypatch.setattr(node_worker, "LocalCrew", ScriptedProcess)
    monkeypatch.setattr(node_worker.tempfile, "tempdir", str(tmp_path))
    return NodeWorker(post(), GREETING)


def texts(heard):
    return [header["text"] for header, _ in heard["messages"]]


def says(*words):
    return [Message(0, {"event": "x", "text": word}, b"y") for word in words]


def test_the_process_gets_its_greeting_with_a_folder_on_this_node(node, tmp_path):
    [[(header, _), clip]] = node._crew.sent
    assert header["rank"] == 0
    assert [str(path) for path in tmp_path.iterdir()] == [header["run_folder"]]
    assert clip == GREETING[1]
    assert node._crew.environment == {"TASK_QUEUE_ENABLE": "2"}


def test_what_a_driver_has_not_got_is_told_again(node):
    node._crew.news = [says("a", "b"), says("c")]
    first = node.listen(0)
    assert (first["first"], texts(first), first["ended"]) == (0, ["a", "b"], None)
    assert texts(node.listen(0)) == ["a", "b"]  # that reply was lost
    second = node.listen(2)
    assert (second["first"], texts(second)) == (2, ["c"])
    assert texts(node.listen(3)) == []


def test_the_end_is_told_behind_what_was_said(node):
    node._crew.news = [[*says("a"), Ended(0, "process ended by signal 9")]]
    assert (texts(first := node.listen(0)), first["ended"]) == (["a"], "process ended by signal 9")
    assert (texts(again := node.listen(1)), again["ended"]) == ([], "process ended by signal 9")


def test_leaving_ends_the_process_and_removes_its_records(node, tmp_path):
    node.leave()
    assert node._crew.killed == [0]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"source_sha256": "0" * 64}, "has another modeltest than the driver"),
        ({"clip": "/nowhere/a.wav"}, "/nowhere/a.wav: no such file; the data must lie at the same"),
        (
            {"model": ModelSettings(model_path="/nowhere/weights").model_dump_json()},
            "/nowhere/weights",
        ),
    ],
)
def test_an_unfit_node_says_in_one_line_what_it_lacks(changes, said, tmp_path, monkeypatch):
    monkeypatch.setattr(node_worker.tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(node_worker.socket, "gethostname", lambda: "node-7")
    node = NodeWorker(post(**changes), GREETING)
    heard = node.listen(0)
    [(header, _)] = heard["messages"]
    assert header["kind"] == "DeviceError"  # costs this worker, not the run
    assert header["error"].startswith("node node-7: ")
    assert said in header["error"]
    assert "\n" not in header["error"]
    assert heard["ended"]
    node.send([({}, b"")])
    node.leave()
    assert list(tmp_path.iterdir()) == []
