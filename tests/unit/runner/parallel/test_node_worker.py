"""A worker's end of the line: what it says is kept until it is had, and unfit nodes refuse."""

import errno
from dataclasses import asdict
from pathlib import Path

import pytest

from modeltest.runlog.segment import encode_line
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


def write_segment(node, *lines):
    """What the process writes into its segment."""
    folder = Path(node._crew.sent[0][0][0]["run_folder"]) / "log"
    folder.mkdir()
    (folder / "node-1-1.jsonl").write_bytes(b"".join(lines))


def lines(*seconds):
    return [encode_line({"type": "phase", "name": "load", "seconds": s}) for s in seconds]


def tells(line):
    return Message(0, {"event": "record"}, line)


def test_records_stay_until_the_driver_has_all_of_them(node, tmp_path):
    first, second = lines(1.0, 2.0)
    write_segment(node, first, second)
    node._crew.news = [[tells(first), tells(second), Ended(0, "")]]
    assert len(node.listen(0)["messages"]) == 2
    node.leave(1)
    assert len(list(tmp_path.rglob("*.jsonl"))) == 1
    node.leave(2)
    assert list(tmp_path.iterdir()) == []


def test_records_of_a_process_that_has_not_ended_stay(node, tmp_path):
    write_segment(node, *lines(1.0))
    node.leave(0)
    assert len(list(tmp_path.rglob("*.jsonl"))) == 1


def test_a_process_that_is_stopped_tells_what_it_said_before(node):
    node._crew.news = [says("a")]
    node.stop()
    assert node._crew.killed == [0]
    assert texts(node.listen(0)) == ["a"]


def test_a_record_that_was_written_and_not_said_is_told_behind_the_others(node):
    first, second, third = lines(1.0, 2.0, 3.0)
    write_segment(node, first, second, third[:-7])  # killed as it wrote the third
    node._crew.news = [[tells(first)], [Ended(0, "process ended by signal 9")]]
    node.listen(0)
    heard = node.listen(1)
    assert heard["messages"] == [({"event": "record"}, second)]
    assert heard["ended"] == "process ended by signal 9"


def test_the_head_of_its_segment_is_no_record_to_be_told(node):
    first, second = lines(1.0, 2.0)
    write_segment(node, encode_line({"type": "head", "manifest_sha256": "ab"}), first, second)
    node._crew.news = [[tells(first)], [Ended(0, "process ended by signal 9")]]
    node.listen(0)
    assert node.listen(1)["messages"] == [({"event": "record"}, second)]


def test_a_segment_that_cannot_be_read_again_stays(node, tmp_path):
    write_segment(node, *lines(1.0))
    [path] = tmp_path.rglob("*.jsonl")
    path.rename(path.with_name("aside"))
    path.mkdir()  # in its place
    node._crew.news = [[Ended(0, "")]]
    assert node.listen(0)["ended"] == ""
    node.leave(0)
    assert (path.parent / "aside").is_file()


def test_an_error_of_the_process_says_on_which_node(node, monkeypatch):
    errors = [{"error": "no space", "kind": "StorageError"}] * 2
    errors[1] = {"error": f"node {node._node}: not the driver's model", "kind": "DeviceError"}
    node._crew.news = [[Message(0, header) for header in errors]]
    said = [header for header, _ in node.listen(0)["messages"]]
    assert said[0] == {"error": f"node {node._node}: no space", "kind": "StorageError"}
    assert said[1] == errors[1]


def test_a_full_disk_before_the_process_starts_is_one_line(monkeypatch):
    def refuse(**_):
        raise OSError(errno.ENOSPC, "No space left on device", "/tmp/x")

    monkeypatch.setattr(node_worker, "LocalCrew", ScriptedProcess)
    monkeypatch.setattr(node_worker.socket, "gethostname", lambda: "node-7")
    monkeypatch.setattr(node_worker.tempfile, "mkdtemp", refuse)
    heard = NodeWorker(post(), GREETING).listen(0)
    [(header, _)] = heard["messages"]
    assert header["kind"] == "StorageError"
    assert header["error"].startswith("node node-7: ")
    assert "No space left on device" in header["error"]
    assert heard["ended"]


@pytest.mark.parametrize(
    ("changes", "kind", "said"),
    [
        ({"source_sha256": "0" * 64}, "UsageError", "has another modeltest than the driver"),
        ({"clip": "/nowhere/a.wav"}, "DataError", "/nowhere/a.wav: no such file; the data must"),
        (
            {"model": ModelSettings(model_path="/nowhere/weights").model_dump_json()},
            "ModelError",
            "/nowhere/weights",
        ),
    ],
)
def test_an_unfit_node_says_in_one_line_what_it_lacks(changes, kind, said, tmp_path, monkeypatch):
    monkeypatch.setattr(node_worker.tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(node_worker.socket, "gethostname", lambda: "node-7")
    node = NodeWorker(post(**changes), GREETING)
    heard = node.listen(0)
    [(header, _)] = heard["messages"]
    assert header["kind"] == kind
    assert header["error"].startswith("node node-7: ")
    assert said in header["error"]
    assert "\n" not in header["error"]
    assert heard["ended"]
    node.send([({}, b"")])
    node.leave(1)
    assert list(tmp_path.iterdir()) == []
