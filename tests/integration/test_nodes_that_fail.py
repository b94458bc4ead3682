"""`--ray` where a node cannot do the work: real worker processes, and threads in Ray's place."""

import queue
import tempfile
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from types import SimpleNamespace

import pytest

from modeltest.cli.main import main
from modeltest.errors import ModelError
from modeltest.runlog import manifest
from modeltest.runner.parallel import node_worker, ray_crew

NODES = ("first", "second")
ALIKE = ["sample_id", "audio", "truth", "answer", "correct", "output", "error"]
COMMAND = ["eval", "vocalsound_mini", "null", "--limit", "12", "--bs", "1", "--device", "cpu"]


class Method:
    """A method of an actor, called in a thread of its own."""

    def __init__(self, function):
        self._function = function
        self._thread = ThreadPoolExecutor(1)

    def options(self, **_):
        return self

    def remote(self, *arguments):
        result: Future = self._thread.submit(self._function, *arguments)
        return SimpleNamespace(future=lambda: result)


class Threads:
    """In place of Ray: two nodes with a device each.

    Attributes:
        starting: The node that an actor is just made on.
    """

    exceptions = SimpleNamespace(ActorUnavailableError=InterruptedError)
    _private = SimpleNamespace(worker=SimpleNamespace())

    def __init__(self):
        self.starting = "the driver's"
        self._free: queue.LifoQueue[str] = queue.LifoQueue()
        for node in reversed(NODES):
            self._free.put(node)

    def init(self, **_): ...

    def shutdown(self): ...

    def nodes(self):
        return [{"Alive": True} for _ in NODES]

    def cluster_resources(self):
        return {"CPU": float(len(NODES))}

    def remote(self, **_):
        return lambda made: SimpleNamespace(
            options=lambda **_: SimpleNamespace(remote=lambda *given: self._make(made, *given))
        )

    def _make(self, made, *given):
        self.starting = node = self._free.get(timeout=10)
        actor = made(*given)

        def leave(num_received):
            actor.leave(num_received)
            self._free.put(node)

        methods = {name: Method(getattr(actor, name)) for name in ("listen", "send", "stop")}
        return SimpleNamespace(**methods, leave=Method(leave))

    def wait(self, calls, num_returns, timeout):
        wait([call.future() for call in calls], timeout)

    def kill(self, actor, no_restart):
        actor.stop.remote()


@pytest.fixture
def nodes(monkeypatch, tmp_path) -> Threads:
    threads = Threads()
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # to be put back: a node's worker removes it
    monkeypatch.setattr(ray_crew, "_import_ray", lambda: threads)
    monkeypatch.setattr(node_worker.socket, "gethostname", lambda: threads.starting)
    # Local changes are INVALID, and are none of this test's business.
    installed = dict.fromkeys(("commit", "dirty", "unchecked"))
    monkeypatch.setattr(manifest, "tool_facts", lambda: {"version": "0", **installed})
    return threads


@pytest.fixture
def full(monkeypatch, tmp_path, nodes) -> list[str]:
    """Nodes, to be named by the test, where no segment can be made."""
    found: list[str] = []
    make = tempfile.mkdtemp
    spools = tmp_path / "of all nodes"
    spools.mkdir()

    def make_folder(*arguments, prefix=None, **more):
        if not (prefix or "").startswith("modeltest-"):
            return make(*arguments, prefix=prefix, **more)
        folder = make(prefix=prefix, dir=spools)
        if nodes.starting in found:
            (Path(folder) / "log").write_text("a file in the folder's place")
        return folder

    monkeypatch.setattr(tempfile, "mkdtemp", make_folder)
    return found


def samples(folder: Path) -> str:
    import pandas

    [path] = folder.glob("*/modeltest/*/*_result/results/**/*_samples.csv")
    return pandas.read_csv(path)[ALIKE].to_csv()


def test_one_nodes_full_disk_costs_its_worker_only(nodes, full, tmp_path, capsys):
    full.append("first")
    assert main([*COMMAND, "--output-dir", "one"]) == 0
    assert main([*COMMAND, "--output-dir", "two", "--ray"]) == 0, capsys.readouterr().err
    assert samples(tmp_path / "two") == samples(tmp_path / "one")
    [log] = tmp_path.glob("two/*/modeltest/*/*_result/runs/*/run.log")
    told = [line for line in log.read_text().splitlines() if "worker 0: node first: " in line]
    assert told
    assert all("cannot be made" in line for line in told)
    assert list((tmp_path / "of all nodes").iterdir()) == []


def test_full_disks_on_all_nodes_are_the_commands_error_and_named(nodes, full, capsys):
    full += NODES
    assert main([*COMMAND, "--ray"]) == 5
    [line] = [line for line in capsys.readouterr().err.splitlines() if "no worker is left" in line]
    assert "no worker is left: node " in line
    assert "cannot be made" in line


@pytest.mark.parametrize(("without", "code"), [(["first"], 0), (NODES, 2)])
def test_missing_weights_cost_a_worker_and_the_run_only_if_all_miss_them(
    nodes, full, monkeypatch, capsys, without, code
):
    def check(settings, where):
        if nodes.starting in without:
            raise ModelError("/weights: no such folder")

    monkeypatch.setattr(node_worker, "check_model", check)
    assert main([*COMMAND, "--ray"]) == code
    said = capsys.readouterr().err
    assert ("/weights: no such folder" in said.splitlines()[-1]) is (code == 2)
    assert ("no worker is left: node " in said) is (code == 2)
