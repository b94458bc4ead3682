"""Results go below the output folder, and never through a link that somebody put there."""

import os
import shutil
from datetime import datetime

import pytest

from modeltest.runlog.manifest import read_manifest, write_manifest

EVAL = ("eval", "vocalsound_mini", "null", "--limit", "2")
ROOT = "modeltest/null/precision_result"
TAIL = "CPU/precision_test/vocalsound_mini/fp32/null"


def today() -> str:
    return f"{datetime.now():%Y-%m-%d}"


@pytest.fixture
def elsewhere(tmp_path):
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (folder / "file").write_text("precious")
    return folder


@pytest.fixture(scope="module")
def finished(checkout, tmp_path_factory):
    """A whole run, made once; tests take copies."""
    import subprocess
    import sys

    folder = tmp_path_factory.mktemp("finished")
    subprocess.run(
        [sys.executable, "-m", "modeltest", *EVAL],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(checkout)},
        check=True,
        capture_output=True,
    )
    return folder / "outputs"


@pytest.fixture
def run(finished, tmp_path, run_folder):
    """A copy of the run, in the test's own output folder."""
    shutil.copytree(finished, tmp_path / "outputs")
    return run_folder()


def untouched(elsewhere):
    return [p.name for p in elsewhere.rglob("*")] == ["file"] and (
        elsewhere / "file"
    ).read_text() == "precious"


@pytest.mark.parametrize(
    "step",
    ["", "modeltest", "modeltest/null", ROOT, f"{ROOT}/runs", f"{ROOT}/results", f"{ROOT}/debug",
     f"{ROOT}/results/{TAIL}"],
)  # fmt: skip
def test_a_linked_folder_is_refused_before_anything_is_written(here, tmp_path, elsewhere, step):
    link = tmp_path / "outputs" / today() / step
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(elsewhere)
    message = here(*EVAL).one_line_error()
    assert "is a symbolic link" in message
    assert untouched(elsewhere)


def test_the_output_folder_itself_may_be_a_link(here, tmp_path, elsewhere):
    (tmp_path / "outputs").symlink_to(elsewhere)
    assert here(*EVAL).code in {0, 3}
    assert (elsewhere / "index.csv").is_file()


@pytest.mark.parametrize("name", ["log", "lock", "run.log"])
def test_a_resumed_run_does_not_write_through_links(command, elsewhere, run, name):
    target = run / name
    shutil.rmtree(target) if target.is_dir() else target.unlink(missing_ok=True)
    target.symlink_to(elsewhere if name == "log" else elsewhere / "file")
    done = command(*EVAL, "--resume", "last")
    assert done.code in {2, 5}, done.err
    assert "Traceback" not in done.err
    assert untouched(elsewhere)


def test_a_run_log_that_blocks_is_refused(command, run):
    (run / "run.log").unlink()
    os.mkfifo(run / "run.log")
    done = command(*EVAL, "--resume", "last", seconds=20)
    assert done.code == 5, done.err
    assert "run.log: cannot be written" in done.err


def test_links_in_place_of_reports_are_replaced_not_followed(here, tmp_path, elsewhere, run):
    files = [
        run / "report.html",
        *tmp_path.glob("outputs/**/*.csv"),
        *tmp_path.glob("outputs/**/*.txt"),
    ]
    files = [file for file in files if file.name != "index.csv"]
    assert len(files) == 5
    for file in files:
        file.unlink()
        file.symlink_to(elsewhere / "file")
    assert here("report", "last").code == 0
    assert untouched(elsewhere)
    assert not any(file.is_symlink() for file in files)


@pytest.mark.parametrize("folder", ["results", "debug"])
def test_reports_do_not_go_through_linked_folders(here, elsewhere, run, folder):
    target = run.parents[1] / folder
    shutil.rmtree(target)
    target.symlink_to(elsewhere)
    assert "is a symbolic link" in here("report", "last").one_line_error()
    assert untouched(elsewhere)


def test_repair_does_not_write_through_a_linked_log(here, elsewhere, run):
    [segment] = (run / "log").glob("*.jsonl")
    shutil.move(segment, elsewhere)
    before = sorted(path.name for path in elsewhere.iterdir())
    (run / "log").rmdir()
    (run / "log").symlink_to(elsewhere)
    assert "is a symbolic link" in here("report", "last", "--repair").one_line_error()
    assert sorted(path.name for path in elsewhere.iterdir()) == before


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("task", "../../../../../../../../elsewhere/x"),
        ("task", "/tmp/x"),
        ("task", ""),
        ("task", None),
        ("task", ["x"]),
        ("model", "../../.."),
        ("run_id", "../../../x"),
        ("date", ".."),
        ("dtype", "a/../../.."),
        ("device_label", "\x1b[31m"),
        ("backend", "x" * 300),
        ("batch_size", "../x"),
        ("tp", None),
        ("output_dir", "/tmp"),
    ],
)
def test_a_manifest_cannot_choose_the_place(here, tmp_path, elsewhere, run, key, value):
    manifest = read_manifest(run)
    manifest["place"][key] = value
    write_manifest(run, manifest)  # whoever edits one can make its digest anew
    before = sorted(tmp_path.rglob("*"))
    here("report", "last").one_line_error()
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("place", ["moved", "a/b/c/d/e/f/g/moved"])
def test_a_run_without_its_output_folder_is_refused(here, tmp_path, run, place):
    (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
    shutil.move(run, tmp_path / place)
    before = sorted(tmp_path.rglob("*"))
    here("report", place).one_line_error()
    assert sorted(tmp_path.rglob("*")) == before


def test_a_manifest_that_blocks_is_refused(command, run):
    (run / "manifest.json").unlink()
    os.mkfifo(run / "manifest.json")
    done = command("list", "runs", seconds=20)
    assert done.code == 0, done.err
    assert "not a readable manifest" in done.err


def test_logs_and_manifests_are_private(finished):
    [folder] = finished.glob("*/modeltest/*/precision_result/runs/*")
    files = [folder / "manifest.json", folder / "run.log", *(folder / "log").iterdir()]
    assert [file.stat().st_mode & 0o777 for file in files] == [0o600] * len(files)


def test_a_linked_index_is_not_followed(here, tmp_path, elsewhere):
    (tmp_path / "outputs").mkdir()
    (tmp_path / "outputs" / "index.csv").symlink_to(elsewhere / "file")
    here(*EVAL)
    assert untouched(elsewhere)
