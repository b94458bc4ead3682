"""`--resume` of a run with several workers or ranks, with other numbers of them."""

import sys
from argparse import Namespace
from types import SimpleNamespace

import pytest

from modeltest.backends.null import NullBackend
from modeltest.backends.transformers import tensor_parallel as group
from modeltest.cli import evaluate_plan
from modeltest.cli.main import main
from modeltest.devices.factory import Choice
from modeltest.errors import UsageError
from modeltest.runlog import manifest as manifest_module
from modeltest.runlog.find import find_run
from modeltest.runlog.manifest import place_from, read_manifest, write_manifest
from modeltest.runlog.run_log import read_run
from modeltest.runner.parallel import evaluation
from modeltest.runner.parallel.ray_crew import Cluster
from modeltest.runner.resume import differences

NPU = SimpleNamespace(is_host=False, label="NPU")
CPU = SimpleNamespace(is_host=True, label="CPU")


@pytest.fixture
def command(clips, tmp_path, monkeypatch, capsys):
    """Runs `modeltest eval` on three clips; returns exit code and standard error."""
    monkeypatch.chdir(tmp_path)
    clean = {"version": "0.1.0", "commit": None, "dirty": False}
    monkeypatch.setattr(manifest_module, "tool_facts", lambda: clean)
    task = tmp_path / "three.yaml"
    task.write_text(f"extends: vocalsound\nlocal_dataset_path: {clips}\nexpected_samples: 3\n")

    def run(*options):
        code = main(["eval", str(task), "null", "--device", "cpu", *options])
        return code, capsys.readouterr().err

    return run


@pytest.fixture
def begun(command, tmp_path):
    """A run that was begun with so many workers and has no reply yet."""

    def make(dp):
        code, err = command("--dp", "1")
        assert code == 0, err
        folder = find_run("last", tmp_path / "outputs")
        write_manifest(folder, {**read_manifest(folder), "dp": dp})
        for path in (folder / "log").iterdir():
            path.unlink()
        return folder

    return make


def test_a_run_goes_on_with_as_many_workers_as_it_was_begun_with(command, begun, monkeypatch):
    monkeypatch.setattr(evaluation, "usable_cores", lambda: 3)
    begun(3)
    code, err = command("--resume", "last", "--dry-run")
    assert code == 0, err
    assert "workers   3 on this host" in err.splitlines()


def test_another_number_may_be_asked_for(command, begun):
    folder = begun(64)
    code, err = command("--resume", "last", "--dp", "1")
    assert code == 0, err
    assert "workers" not in err
    assert len(read_run(folder).samples) == 3
    assert read_manifest(folder)["dp"] == 64  # what decided the run stays as it was written


def test_more_than_this_host_has_cores_is_one_line_that_says_what_to_do(
    command, begun, monkeypatch
):
    monkeypatch.setattr(evaluation, "usable_cores", lambda: 2)
    folder = begun(64)
    code, err = command("--resume", "last")
    assert code == 2
    [line] = [line for line in err.splitlines() if "--dp" in line]
    assert line.endswith(
        f"run {folder.name} was begun with --dp 64: this host has 2 cores for as many; take --dp 2"
    )


@pytest.fixture
def num_workers():
    """How many there are, where so many NPUs are visible, and whether a cluster has them."""

    def find(dp, recorded, visible, *, of_cluster=False, device=NPU):
        resumed = SimpleNamespace(dp=recorded, place=SimpleNamespace(run_id="120000-abcdef"))
        cluster = None
        if of_cluster:
            cluster = Cluster.__new__(Cluster)  # connected to nothing
            cluster.num_devices = lambda resource: visible
        return evaluate_plan._num_workers(
            Namespace(dp=dp),
            resumed if recorded else None,
            Choice("npu", "", visible),
            device,
            cluster,
        )

    return find


@pytest.mark.parametrize("of_cluster", [False, True])
@pytest.mark.parametrize(
    ("dp", "recorded", "visible", "num"), [(None, 4, 4, 4), (None, 4, 8, 4), (2, 4, 2, 2)]
)
def test_the_recorded_number_if_it_can_be_had_or_what_was_asked_for(
    num_workers, dp, recorded, visible, num, of_cluster
):
    assert num_workers(dp, recorded, visible, of_cluster=of_cluster) == num


def test_without_a_run_to_resume(num_workers):
    assert num_workers(None, None, 8) == 1
    assert num_workers(None, None, 8, of_cluster=True) == 8
    assert num_workers(64, None, 1, device=CPU) == 64  # a CPU is shared by whoever says so


@pytest.mark.parametrize(
    ("of_cluster", "why"),
    [
        (False, "needs as many devices, and 2 NPU can be used; take --dp 2, or make more visible"),
        (True, "the cluster has 2 NPU; take --dp 2"),
    ],
)
@pytest.mark.parametrize(
    ("dp", "begins"), [(None, "run 120000-abcdef was begun with --dp 4: "), (4, "--dp 4: ")]
)
def test_a_number_that_cannot_be_had(num_workers, of_cluster, why, dp, begins):
    with pytest.raises(UsageError) as caught:
        num_workers(dp, 4, 2, of_cluster=of_cluster)
    assert str(caught.value) == begins + why


def test_workers_are_no_difference_between_runs_and_ranks_are(begun):
    folder = begun(4)
    manifest = read_manifest(folder)
    assert list(differences(manifest, {**manifest, "dp": 2})) == []
    assert "dp" not in manifest["identity"]
    assert place_from(manifest, folder).tp == 1
    of_ranks = {**manifest, "place": {**manifest["place"], "tp": 2}}
    assert list(differences(manifest, of_ranks)) == ["place.tp was 1, is 2"]


@pytest.fixture
def as_rank_0(monkeypatch):
    """Of two ranks; the null backend, which cannot be split, does as if."""
    for name, value in {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(group, "share_kind", lambda *_: None)
    monkeypatch.setattr(
        evaluate_plan, "make_backend", lambda settings, seed, device, _: NullBackend(device)
    )


def test_a_run_of_one_process_is_not_continued_by_ranks(command, begun, as_rank_0):
    folder = begun(1)
    code, err = command("--resume", "last", "--tp", "2")
    assert code == 2
    assert err.splitlines()[-1].endswith("it is another run: place.tp was 1, is 2")
    assert not read_run(folder).samples


def begun_by_ranks(folder, tp):
    manifest = read_manifest(folder)
    write_manifest(folder, {**manifest, "place": {**manifest["place"], "tp": tp}})


@pytest.mark.parametrize("options", [["--tp", "1"], ["--dp", "2"]])
def test_a_run_of_ranks_is_not_continued_by_whole_models(command, begun, options):
    folder = begun(1)
    begun_by_ranks(folder, 2)
    code, err = command("--resume", "last", *options)
    assert code == 2
    assert err.splitlines()[-1].endswith("it is another run: place.tp was 2, is 1")
    assert not read_run(folder).samples


def test_a_run_of_ranks_is_continued_by_as_many(command, begun, as_rank_0, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["modeltest"])
    folder = begun(1)
    begun_by_ranks(folder, 2)
    code, err = command("--resume", "last")
    assert code == 0, err
    assert "ranks     2, over which the model is split" in err.splitlines()
    assert len(read_run(folder).samples) == 3
