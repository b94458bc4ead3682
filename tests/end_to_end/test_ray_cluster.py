"""`--ray`: the same results as one process, on a cluster of two nodes that loses one."""

import os
import re
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from modeltest.runner.parallel.coordinator import SILENT_S

NUM_CLIPS = 1500
ALIKE = ["sample_id", "audio", "truth", "answer", "correct", "output", "error"]
NODE = {"num_cpus": 1, "num_gpus": 0, "object_store_memory": 80 << 20}


class TwoNodes:
    """A cluster of two nodes with a core each, on this machine."""

    def __init__(self, folder: str) -> None:
        from ray.cluster_utils import Cluster

        first = {**NODE, "temp_dir": f"{folder}/ray", "include_dashboard": False}
        self._cluster = Cluster(initialize_head=True, head_node_args=first)
        self.address = self._cluster.address
        self.folder = Path(folder)
        try:
            self._second = self._cluster.add_node(**NODE)
        except BaseException:
            self.close()
            raise

    def kill_one(self) -> None:
        """Kills a node as a power cut would: none of its processes can say a word."""
        [raylet] = self._second.all_processes["raylet"]
        for pid in with_descendants(raylet.process.pid):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def replace_it(self) -> None:
        self._cluster.remove_node(self._second, allow_graceful=False)
        self._second = self._cluster.add_node(**NODE)

    def close(self) -> None:
        self._cluster.shutdown()


def with_descendants(pid: int) -> list[int]:
    children: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            parent = int((path / "stat").read_text().rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(path.name))
    found = [pid]
    for one in found:
        found += children.get(one, [])
    return found


@pytest.fixture(scope="module")
def cluster() -> Iterator[TwoNodes]:
    # Sockets lie in there, and their paths must be short.
    folder = tempfile.mkdtemp(prefix="ray", dir="/tmp")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        # Ray's files and what a worker that is killed leaves.
        patch.setenv("TMPDIR", folder)
        patch.setenv("RAY_TMPDIR", folder)
        (Path(folder) / "ray").mkdir()
        try:
            nodes = TwoNodes(folder)
            try:
                yield nodes
            finally:
                nodes.close()
        finally:
            shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def task(noise_task) -> Path:
    return noise_task(NUM_CLIPS, 1600)


@pytest.fixture(scope="module")
def by_one_process(modeltest, task, tmp_path_factory) -> str:
    done = modeltest(tmp_path_factory.mktemp("one"), *arguments(task))
    assert done.code == 0, done.err
    return samples(done.folder)


def arguments(task: Path, *more: str) -> tuple[str, ...]:
    return ("eval", str(task), "null", "--device", "cpu", "--bs", "1", *more)


def samples(folder: Path) -> str:
    import pandas

    [path] = folder.glob("outputs/*/modeltest/*/*_result/results/**/*_samples.csv")
    return pandas.read_csv(path)[ALIKE].to_csv()


def replies_per_segment(folder: Path) -> list[int]:
    logs = folder.glob("outputs/*/modeltest/*/*_result/runs/*/log/*.jsonl")
    return [path.read_bytes().count(b'"type":"sample"') for path in logs]


def has_dealt_again(folder: Path) -> bool:
    logs = folder.glob("outputs/*/modeltest/*/*_result/runs/*/log/*.jsonl")
    return any(b'"type":"redealt"' in path.read_bytes() for path in logs)


def wait_until_both_reply(folder: Path) -> None:
    end_s = time.monotonic() + 60
    while sum(count >= 5 for count in replies_per_segment(folder)) < 2:
        assert time.monotonic() < end_s, "the workers do not reply"
        time.sleep(0.01)


def spools(cluster: TwoNodes) -> list[Path]:
    """The workers' own records, of both nodes."""
    return list(cluster.folder.glob("modeltest-*"))


def workers(cluster: TwoNodes) -> set[int]:
    """The worker processes of the cluster's nodes; other tests may have some of their own."""
    found, mark = set(), f"TMPDIR={cluster.folder}".encode()
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            is_worker = b"parallel.worker_child" in (path / "cmdline").read_bytes()
            if is_worker and mark in (path / "environ").read_bytes().split(b"\0"):
                found.add(int(path.name))
    return found


def await_no_workers(cluster: TwoNodes) -> None:
    end_s = time.monotonic() + 15
    while workers(cluster):
        assert time.monotonic() < end_s, "a worker outlives its run"
        time.sleep(0.05)


def test_two_nodes_give_the_answers_of_one_process(modeltest, whole_run, cluster, tmp_path):
    import pandas

    from modeltest.runlog.segment import read_segment

    done = modeltest(
        tmp_path, "eval", "vocalsound_mini", "qwen2_audio_tiny", "--device", "cpu",
        f"--ray={cluster.address}",
    )  # fmt: skip
    assert (done.code, done.out.splitlines()[0]) == (0, "VALID"), done.err
    for kind in ("samples", "confusion"):
        one, two = (
            pandas.read_csv(run.result_file(kind)).drop(
                columns=["e2e_s", "run", "created"], errors="ignore"
            )
            for run in (whole_run, done)
        )
        pandas.testing.assert_frame_equal(one, two)
    assert set(pandas.read_csv(done.result_file("result")).dp) == {2}
    records = [read_segment(path).records for path in (done.run_folder / "log").glob("*.jsonl")]
    counts = sorted(sum(record["type"] == "sample" for record in log) for log in records)
    assert (len(counts), counts[0], counts[1] + counts[2]) == (3, 0, 120)
    assert counts[1] > 20
    posts = [record for log in records for record in log if record["type"] == "worker"]
    assert sorted(post["number"] for post in posts) == [0, 1]
    assert all(post["host"]["name"] and post["packages"]["torch"] for post in posts)
    assert all(post["environment"]["OMP_NUM_THREADS"] == "1" for post in posts)
    # Nothing beside the results, and nothing of Ray on the terminal.
    assert [path.name for path in tmp_path.iterdir()] == ["outputs"]
    assert "raylet" not in done.err
    assert not spools(cluster)


def test_a_node_that_is_lost_costs_nothing_but_time(start, task, by_one_process, cluster, tmp_path):
    process = start(tmp_path, *arguments(task, f"--ray={cluster.address}", "--dp", "2"))
    wait_until_both_reply(tmp_path)
    cluster.kill_one()
    try:
        out, err = process.communicate(timeout=80)
        assert process.returncode == 0, err
        assert out.startswith("VALID")
        # What is noticed first depends on who talked to the node when it died.
        assert re.search(r"dealt again \(.*\bnode ", out.splitlines()[0])
        assert samples(tmp_path) == by_one_process
        await_no_workers(cluster)
    finally:
        cluster.replace_it()


def test_a_worker_that_stands_still_is_noticed(start, task, by_one_process, cluster, tmp_path):
    process = start(tmp_path, *arguments(task, f"--ray={cluster.address}", "--dp", "2"))
    wait_until_both_reply(tmp_path)
    os.kill(min(workers(cluster)), signal.SIGSTOP)
    end_s = time.monotonic() + 60
    while not has_dealt_again(tmp_path):
        assert time.monotonic() < end_s, "nobody notices"
        time.sleep(0.05)
    out, err = process.communicate(timeout=45)
    assert process.returncode == 0, err
    reason = re.escape(f"dealt again (no sign of life for {SILENT_S:g} s (node ")
    assert re.search(reason, out.splitlines()[0])
    assert samples(tmp_path) == by_one_process
    await_no_workers(cluster)  # the one that stands still least of all


def test_ctrl_c_ends_the_workers_and_the_run_can_be_resumed(
    start, modeltest, task, by_one_process, cluster, tmp_path
):
    address = f"--ray={cluster.address}"
    process = start(tmp_path, *arguments(task, address))
    wait_until_both_reply(tmp_path)
    before = spools(cluster)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=15)
    assert process.returncode == 130, err
    assert "--resume" in err
    await_no_workers(cluster)
    assert len(spools(cluster)) == len(before) - 2  # the driver's log has all of both
    assert sum(replies_per_segment(tmp_path)) < NUM_CLIPS
    resumed = modeltest(tmp_path, *arguments(task, address), "--resume", "last")
    assert (resumed.code, resumed.out.splitlines()[0]) == (0, "VALID"), resumed.err
    assert samples(tmp_path) == by_one_process


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--dp", "3"], "--dp 3: the cluster has 2 CPU; take --dp 2"),
        (["--ray=127.0.0.1:1"], "--ray 127.0.0.1:1: cannot be reached"),
        (["--ray=ray://127.0.0.1:1"], "not HOST:PORT of a Ray cluster's head"),
    ],
)
def test_what_cannot_be_had_is_one_line(modeltest, task, cluster, tmp_path, words, said):
    done = modeltest(tmp_path, *arguments(task, f"--ray={cluster.address}", *words))
    assert done.code == 2
    [line] = done.err.splitlines()
    assert said in line
    assert list(tmp_path.iterdir()) == []
