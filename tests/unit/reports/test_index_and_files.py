import csv
import subprocess
import sys
from dataclasses import replace

import pandas
import pytest

from modeltest.reports.csv_files import index_row
from modeltest.reports.files import add_to_index, write_reports
from modeltest.reports.summary import summarise
from modeltest.runlog.manifest import place_from, write_manifest

INDEX_HEADER = (
    "run,created,command,model,task,device,dtype,metric,value,total,validity,reasons,path"
)

ADD_OFTEN = """
import sys
from dataclasses import replace
from pathlib import Path

from modeltest.reports.files import add_to_index
from modeltest.reports.summary import summarise
from modeltest.runlog.run_log import read_run

run = read_run(Path(sys.argv[1]))
summary = summarise(run)
print("ready", flush=True)
sys.stdin.readline()
for number in range(25):
    place = {**run.manifest["place"], "run_id": f"{sys.argv[2]}-{number}"}
    add_to_index(replace(run, manifest={**run.manifest, "place": place}), summary)
"""


def test_the_row_says_what_when_how_good_and_where(run):
    row = index_row(run, summarise(run), "2025-03-09/some/run")
    expected = {
        "run": "174503-0a1b2c", "created": "2025-03-09T17:45:03+08:00", "command": "eval",
        "model": "m", "task": "t", "device": "NPU", "dtype": "bf16", "metric": "acc",
        "value": 0.5, "total": 6, "validity": "INVALID", "path": "2025-03-09/some/run",
    }  # fmt: skip
    assert {key: row[key] for key in expected} == expected


def test_each_run_adds_one_line_below_one_header(run):
    run.folder.mkdir(parents=True)
    summary = summarise(run)
    later = replace(run, manifest={**run.manifest, "started": "2025-03-09T18:45:03+08:00"})
    for each in (run, later, run):  # a run that is resumed after its end is not entered again
        add_to_index(each, summary)
    output = run.folder.parents[5]
    lines = (output / "index.csv").read_text(encoding="utf-8").splitlines()
    assert lines[0] == INDEX_HEADER
    assert len(lines) == 3
    rows = pandas.read_csv(output / "index.csv")
    assert list(rows["value"]) == [0.5, 0.5]
    assert (output / rows["path"][0]).samefile(run.folder)


def test_runs_that_end_together_do_not_mix_lines(make_run):
    def long_reasons(manifest, _samples):
        manifest["data"]["warnings"].append("warning " * 1500)  # far above a pipe's 4096 bytes

    run = make_run(long_reasons)
    write_manifest(run.folder, run.manifest)
    children = [
        subprocess.Popen(
            [sys.executable, "-c", ADD_OFTEN, str(run.folder), f"process{n}"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        for n in range(3)
    ]  # fmt: skip
    for child in children:
        assert child.stdout.readline() == "ready\n"
    for child in children:
        child.stdin.write("go\n")
        child.stdin.flush()
    for child in children:
        child.communicate(timeout=60)
    assert [child.returncode for child in children] == [0, 0, 0]
    with (run.folder.parents[5] / "index.csv").open(newline="", encoding="utf-8") as stream:
        header, *rows = csv.reader(stream, strict=True)
    assert ",".join(header) == INDEX_HEADER
    assert {len(row) for row in rows} == {13}
    names = {f"process{n}-{number}" for n in range(3) for number in range(25)}
    assert sorted(row[0] for row in rows) == sorted(names)


def test_a_link_in_place_of_the_index_is_not_followed(run):
    run.folder.mkdir(parents=True)
    output = run.folder.parents[5]
    (output / "index.csv").symlink_to(output / "target")
    with pytest.raises(OSError, match=r"index\.csv"):
        add_to_index(run, summarise(run))
    assert not (output / "target").exists()


def test_reports_are_written_again_byte_for_byte(run):
    summary = summarise(run)
    paths = write_reports(run, summary)
    assert sorted(paths) == ["confusion", "replies", "report", "results", "samples", "slices"]
    before = {path: path.read_bytes() for path in paths.values()}
    assert all(before.values())
    write_reports(run, summarise(run))
    assert {path: path.read_bytes() for path in paths.values()} == before
    assert paths["report"] == run.folder / "report.html"
    assert [path.name for path in run.folder.iterdir()] == ["report.html"]


def test_a_torn_line_of_the_index_stays_alone(tmp_path, run):
    summary = summarise(run)
    place = place_from(run.manifest, run.folder)
    place.output_dir.mkdir(parents=True, exist_ok=True)
    add_to_index(run, summary)
    whole = place.index_file.read_bytes()
    place.index_file.write_bytes(whole[:-6])
    add_to_index(run, summary)
    lines = place.index_file.read_bytes().split(b"\r\n")
    assert lines[2] == whole.split(b"\r\n")[1]
