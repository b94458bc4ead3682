"""`--resume` of a run that has all its samples and not all its probes, or another citation."""

import json

import pytest

from modeltest.backends.null import NullBackend
from modeltest.cli.main import main
from modeltest.runlog import manifest as manifest_module
from modeltest.runlog.find import find_run
from modeltest.runlog.probes import missing_probes
from modeltest.runlog.run_log import read_run


@pytest.fixture
def command(clips, tmp_path, monkeypatch):
    """Runs `modeltest eval` on three clips; returns the exit code and who was asked."""
    monkeypatch.chdir(tmp_path)
    clean = {"version": "0.1.0", "commit": None, "dirty": False}
    monkeypatch.setattr(manifest_module, "tool_facts", lambda: clean)
    task = tmp_path / "three.yaml"
    task.write_text(f"extends: vocalsound\nlocal_dataset_path: {clips}\nexpected_samples: 3\n")
    asked = []
    generate = NullBackend.generate

    def noted(backend, requests, *rest):
        asked.append([request.sample_id for request in requests])
        return generate(backend, requests, *rest)

    monkeypatch.setattr(NullBackend, "generate", noted)

    def run(*options):
        asked.clear()
        words = ["eval", str(task), "null", "--device", "cpu", "--bs", "2", *options]
        return main(words), [batch for batch in asked if batch != ["warm-up"]]

    return run


def cut(folder, num_probes):
    """As after a kill behind so many probes."""
    [segment] = (folder / "log").iterdir()
    lines = segment.read_bytes().splitlines(keepends=True)
    places = [place for place, line in enumerate(lines) if b'"type":"probe"' in line]
    segment.write_bytes(b"".join(lines[: places[num_probes]]))


def test_only_the_missing_probes_are_asked(command, tmp_path, capsys):
    code, asked = command()
    assert code == 0
    # Two batches of samples, two of silence, three alone.
    assert [len(batch) for batch in asked] == [2, 1, 2, 1, 1, 1, 1]
    folder = find_run("last", tmp_path / "outputs")
    samples = list(read_run(folder).samples)
    cut(folder, 4)
    capsys.readouterr()
    assert main(["report", "last"]) == 4
    assert capsys.readouterr().out.startswith("INCOMPLETE: 2 of 6 probes were not asked\n")
    code, again = command("--resume", "last")
    assert code == 0
    assert again == asked[-2:]
    run = read_run(folder)
    assert list(run.samples) == samples
    assert missing_probes(run.manifest, run.probes) == []
    assert len(run.probes) == 6


def test_a_run_that_has_them_all_asks_nothing_and_loads_nothing(command, monkeypatch):
    assert command()[0] == 0
    monkeypatch.setattr(NullBackend, "load", lambda _: pytest.fail("it was loaded"))
    assert command("--resume", "last") == (0, [])


def test_a_changed_citation_neither_refuses_nor_asks_again(command, tmp_path):
    cited = "published:\n  - {value: 0.9, model: m, source: %s}\n"
    task = tmp_path / "three.yaml"
    plain = task.read_text()
    task.write_text(plain + cited % "a draft")
    assert command()[0] == 0
    folder = find_run("last", tmp_path / "outputs")
    keys = [record["key"] for record in read_run(folder).samples]
    task.write_text(plain + cited % "the paper")
    assert command("--resume", "last") == (0, [])
    assert [record["key"] for record in read_run(folder).samples] == keys
    settings = json.loads((folder / "manifest.json").read_text())["task"]["settings"]
    assert settings["published"][0]["source"] == "a draft", "a run keeps what it was begun with"
    task.write_text(plain + "max_new_tokens: 9\n")
    assert command("--resume", "last")[0] == 2
