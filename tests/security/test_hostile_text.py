"""Names, labels and metadata that try to be formulas, terminal commands, lines or markup."""

import csv
import html.parser
import json
import os
import re
import shutil
import unicodedata

import pytest

from modeltest.runlog.manifest import read_manifest, write_manifest

NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e-?\d+)?")
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\0")
STARTS = ["=1+1", "+1+1", "-1+1", "@SUM(1)", "\t=1", "\r=1", "=cmd|' !A0", "-2+3", "=\x1b[31m"]
STEERING = [
    "\x1b[2J",
    "\x1b]0;title\x07", "\x1b]52;c;Y2FuYXJ5\x07", "\x9b31m", "\x9d0;t\x9c", "\x08\x08\x08",
    "\x7f", "\x0e", "\x05", "a\rb", "a\nb", "a\r\nVALID", "a\x0bb", "a\x0cb", "a\x85b", "a\u2028b",
    "a\u2029b", "\u202egnp.exe", "\u2066x\u2069", "\u200f", "\u061c", "\ufeff", "\u200b",
]  # fmt: skip
MARKUP = [
    "<script>alert(1)<", "<img src=x onerror=alert(1)>", '"><svg onload=alert(1)>', "'><b>",
    "{{ 7 * 7 }}", "{% raw %}", "&lt;i&gt;", "<!--", "]]>", "javascript:alert(1)", "${7*7}",
]  # fmt: skip
OTHERS = ['"quoted", and', "a;b", "'", "''=1", "../..", "%s%n", "$(touch CANARY)", "`id`", "é" * 60]
UNICODE = [
    # The same letters composed and decomposed, and what looks like others.
    "caf\u00e9", "cafe\u0301", "\u212b", "A\u030a", "\uac00", "\u1100\u1161", "\ufb03", "ﬁle",
    "\u0430dmin", "\uff21", "\U0001d400", "\u0661", "\u00b5", "ß", "İi", "ǅ", "\u0345",
    "e" + "\u0301" * 40,
    "\U0001f469\u200d\U0001f52c", "\U000e0041", "\uffff", "\U0010ffff", "\ufdd0", "\ue000",
    "\u00ad",
    "\u2060", "\u034f", "\u115f", "\u3164", "\u180e", "\u2800", "\u00a0", "\u3000", "\u2000x\u200a",
]  # fmt: skip
# No UTF-8: lone bytes, cut sequences, a coded surrogate, Latin-1, an overlong slash.
BYTES = [
    b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xf0\x9f", b"\x80\x80", b"caf\xe9", b"\xc0\xaf",
    b"\xfe\xff a",
    b"a\\x",
]  # fmt: skip
LONG = ["x" * 240, "é" * 118, "\U0001f52c" * 59, "任" * 79, "e\u0301" * 79]
RESERVED = [
    "con", "nul", "-rf", "--help", "a:b", "a|b", "a*?", "a<b>", "%00", "%2e%2e", " a ", "a.",
]  # fmt: skip
PAYLOADS = [
    *STARTS, *STEERING, *MARKUP, *OTHERS, *UNICODE, *LONG, *RESERVED,
]  # fmt: skip
LABELS = ["=1+1", "+a", "@b", "\x1b[31mred", "\u202egnp", "<img src=x onerror=alert(1)>"]


def is_raw(character: str) -> bool:
    return unicodedata.category(character) in {"Cc", "Cf", "Zl", "Zp", "Cs"} and character != "\n"


class Tags(html.parser.HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.num_scripts = 0

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.num_scripts += tag == "script"


@pytest.fixture
def hostile(tmp_path, mini_clips):
    """A data folder and a task: hostile file names, labels, metadata keys and values."""
    data = tmp_path / "data"
    data.mkdir()
    rows = []
    for number, payload in enumerate(PAYLOADS):
        name = f"{payload}".replace("/", "∕").replace("\0", "␀") + f" {number}.flac"
        if name.startswith("."):
            name = f"_{name}"
        shutil.copy(mini_clips[number % 120], os.fsencode(data) + b"/" + os.fsencode(name))
        rows.append((name, LABELS[number % len(LABELS)], payload))
    with (data / "labels.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["audio", "label", "evil\x1b[0m"])
        writer.writerows(rows)
    task = {
        "local_dataset_path": str(data),
        "label": {"source": "table"},
        "prompt": "What \x1b[31m<script>? {choices}",
        "choices": [
            {"letter": "ABCDEF"[i], "label": label, "text": f"{label} {i}"}
            for i, label in enumerate(LABELS)
        ],
        "slices": {"by": ["evil\x1b[0m"]},
    }
    (tmp_path / "hostile.yaml").write_text(json.dumps(task))
    return tmp_path


def test_there_are_a_hundred_payloads():
    assert len(set(PAYLOADS)) >= 100
    assert max(len(f"{payload} 100.flac".encode()) for payload in PAYLOADS) > 240


def test_everything_that_is_written_is_only_text(command, hostile, run_folder):
    done = command("eval", "hostile.yaml", "null")
    assert done.code in {0, 3}, done.err
    shown = [done.out, done.err, (run_folder() / "run.log").read_text(encoding="utf-8")]
    [replies] = hostile.glob("outputs/**/output_*.txt")
    page = (run_folder() / "report.html").read_text(encoding="utf-8")
    listed = command("list", "runs")
    rebuilt = command("report", "last")
    texts = [*shown, replies.read_text(encoding="utf-8"), page, *(listed.out, rebuilt.out)]
    for text in texts:
        raw = {hex(ord(c)) for c in text if is_raw(c)}
        assert raw == set(), text[:2000]
    assert done.out.splitlines()[0].split(":")[0] in {"VALID", "INVALID"}
    assert not any(line.startswith(("VALID", "modeltest")) for line in done.out.splitlines()[1:])

    tags = Tags()
    tags.feed(page)
    assert not tags.tags & {"img", "b", "iframe", "link"}
    assert tags.num_scripts == 3  # the texts, the samples and the code
    assert not any(name.startswith("on") or name == "src" for name in tags.attributes)


def test_no_cell_is_a_formula(here, hostile):
    done = here("eval", "hostile.yaml", "null")
    assert done.code in {0, 3}, done.err
    files = list(hostile.glob("outputs/**/*.csv"))
    assert len(files) == 5
    for file in files:
        with file.open(newline="", encoding="utf-8") as stream:
            rows = list(csv.reader(stream, strict=True))
        assert len({len(row) for row in rows}) == 1
        texts = [cell for row in rows for cell in row if not NUMBER.fullmatch(cell)]
        assert [text for text in texts if text.startswith(FORMULA_STARTS)] == []
    samples = next(file for file in files if file.name.endswith("_samples.csv"))
    with samples.open(newline="", encoding="utf-8") as stream:
        assert len(list(csv.DictReader(stream))) == len(PAYLOADS)


def test_names_that_are_no_unicode_are_only_text(command, tmp_path, mini_clips, run_folder):
    """No table can name them: they are found by their folders, and one is 255 bytes long."""
    names = [*BYTES, b"x" * (255 - len(b".flac")), "é".encode() * 125, "e\u0301".encode() * 83]
    for number, name in enumerate(names):
        folder = tmp_path / "data" / ("cough", "sigh")[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(mini_clips[number], os.fsencode(folder) + b"/" + name + b".flac")
    task = "extends: vocalsound\nlocal_dataset_path: data\nlabel: {source: folder}\n"
    (tmp_path / "odd.yaml").write_text(f"{task}expected_samples: {len(names)}\n")
    done = command("eval", "odd.yaml", "null", "--limit", str(len(names)))
    assert done.code == 0, done.err
    [replies] = tmp_path.glob("outputs/**/output_*.txt")
    [samples] = tmp_path.glob("outputs/**/*_samples.csv")
    with samples.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert len({row["sample_id"] for row in rows}) == len(names)
    page = (run_folder() / "report.html").read_text(encoding="utf-8")
    for text in (done.out, done.err, replies.read_text(encoding="utf-8"), page):
        assert {hex(ord(c)) for c in text if is_raw(c)} == set()


def test_errors_about_hostile_data_are_only_text(command, hostile):
    data = hostile / "data"
    with (data / "labels.csv").open("a", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerows(
            [("gone\x1b[2J\nx.flac", "+a", ""), ("gone2.flac", "no \x1b[2J label", "")]
        )
    (data / "odd \x1b[2J.flac").write_text("no audio")
    for arguments in (("eval", "hostile.yaml", "null"), ("check", "hostile.yaml")):
        done = command(*arguments)
        assert done.code == 2, done.err
        assert {hex(ord(c)) for c in done.out + done.err if is_raw(c)} == set()


def test_no_message_steers_the_terminal(here):
    done = here("eval", "vocalsound", "null", "--set", 'local_dataset_path="no\\e[2J\\u202e"')
    assert "no\\x1b[2J\\u202e" in done.one_line_error()


def test_a_dry_run_of_hostile_data_is_only_text(here, hostile):
    done = here("eval", "hostile.yaml", "null", "--dry-run")
    assert done.code == 0, done.err
    assert {hex(ord(c)) for c in done.out + done.err if is_raw(c)} == set()


def test_a_hostile_manifest_is_listed_as_text(here, mini_clips, run_folder):
    here("eval", "vocalsound_mini", "null", "--limit", "1")
    manifest = read_manifest(run_folder())
    manifest["started"] = manifest["model"]["name"] = "\x1b]0;title\x07\n2026 forged"
    write_manifest(run_folder(), manifest)
    done = here("list", "runs")
    assert "forged" in done.out
    assert {hex(ord(c)) for c in done.out + done.err if is_raw(c)} == set()
    assert not any(line.startswith("2026 forged") for line in done.out.splitlines())


def test_a_library_cannot_forge_lines_of_the_run_log(tmp_path):
    import logging

    from modeltest.cli.run_file_log import run_file_log

    with run_file_log(tmp_path):
        logging.getLogger("transformers").warning("a\n2026-01-01 INFO modeltest: \x1b[2Jforged")
    lines = (tmp_path / "run.log").read_text().splitlines()
    assert lines[1].startswith("    2026")
    assert "\\x1b[2J" in lines[1]


def test_the_command_to_resume_can_be_pasted(tmp_path, monkeypatch):
    import subprocess

    from modeltest.cli.resume_command import resume_command

    words = ["a b", "$(touch CANARY)", "x\x1b[2J'\\\n;touch CANARY", "\u202e", "`id`", "é"]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["printf", "%s\\0", *words])
    line = resume_command(tmp_path / "a 'run'")
    assert line.isprintable()
    done = subprocess.run(["bash", "-c", line], capture_output=True, check=True)
    assert done.stdout.decode().split("\0")[:-1] == [*words, "--resume", str(tmp_path / "a 'run'")]
    assert not (tmp_path / "CANARY").exists()
