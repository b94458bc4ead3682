"""Every command of the pages is run as it stands there, or listed here with the reason.

A command that is only listed is still read by the real argument parser.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from modeltest.cli.main import build_parser

ROOT = Path(__file__).parents[2]
RECORDS = {"decisions", "measurements"}  # what was done once, and on what
PAGES = sorted(
    path
    for path in [*ROOT.glob("README*.md"), ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]
    if not RECORDS & set(path.relative_to(ROOT).parts)
)
# What cannot run in a test, by what the command holds, and why.
NOT_RUN = {
    r"\bqwen2_audio\b": "needs the weights of the 7B model",
    r"^(export|source|cd) ": "changes the shell that reads it",
    r"^pip install ": "installs packages",
    r"^curl ": "asks a server; tests/end_to_end/test_serve_load.py starts one and asks it so",
    r"^modeltest serve ": "serves until it is stopped; tests/integration/test_serve.py starts it",
    r"^ray ": "starts a cluster; tests/end_to_end/test_ray_cluster.py does",
    r"\b(WEIGHTS|FIRST|HOST|my_\w+\.yaml)\b": "stands for the reader's own file, folder or host",
    r"<date>": "stands for the reader's own run",
    r"npu-smi|torch_npu|--npu-selfcheck|--device npu": "needs an NPU",
    r"\b(mindie|vllm)_service\b": "needs such a server",
    r"scripts/test\.sh|tests/gates/|-m pytest": "the checks themselves, of minutes to hours",
    r"bench_accelerator": "needs an accelerator; tests/unit/benchmarks runs it with --tiny",
    r"^python tools/": "makes the embedded files anew, in minutes to hours",
}
# In a test everything is measured once and briefly, whatever the figures are then worth.
BRIEFLY = {
    r"mm_run.sh|modeltest eval": "--limit 2",
    r"run_pa.sh --performance": "--passes 3 --min-seconds 0.01 --modes natural",
    r"modeltest perf": "--bs 1 --passes 3 --min-seconds 0.01 --max-output-length 2 --modes natural",
}
OF_ACCURACY = re.compile(r"--(margin|power|other-model)")
ENDS_WELL = {0, 3, 4}
"""A brief measurement on a busy machine may be INVALID (3), a comparison INCONCLUSIVE (4)."""


@dataclass(frozen=True)
class Command:
    page: str
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def commands_of(path: Path) -> Iterator[Command]:
    """The commands of the page's bash and console blocks, each in one line or several."""
    pending, start = "", 0
    for number, line in shell_lines(path.read_text(encoding="utf-8")):
        start = start if pending else number
        if line.endswith("\\"):
            pending += line[:-1]
            continue
        pending += f"{line}\n"
        if not is_whole(pending):
            continue
        if shlex.split(pending, comments=True):
            yield Command(str(path.relative_to(ROOT)), start, pending.strip())
        pending = ""
    assert not pending, f"{path.name}:{start}: a quotation is not closed"


def shell_lines(text: str) -> Iterator[tuple[int, str]]:
    """Lines of bash blocks; of console blocks those behind a prompt."""
    for number, kind, line in fenced_lines(text):
        if kind in {"bash", "sh"}:
            yield number, line
        elif kind == "console" and line.lstrip().startswith("$ "):
            yield number, line.lstrip().removeprefix("$ ")


def fenced_lines(text: str) -> Iterator[tuple[int, str, str]]:
    """Number, kind of block and text of each line in a block, as far in as its fence."""
    kind, indent = "", ""
    for number, line in enumerate(text.splitlines(), start=1):
        fence = re.match(r"(\s*)```(\w*)", line)
        if fence:
            kind, indent = "" if kind else fence[2] or "text", fence[1]
        elif kind:
            yield number, kind, line.removeprefix(indent)


def is_whole(text: str) -> bool:
    try:
        shlex.split(text, comments=True)
    except ValueError:
        return False
    return True


COMMANDS = [command for page in PAGES for command in commands_of(page)]


def reason_not_to_run(command: Command) -> str:
    words = " ".join(shlex.split(command.text, comments=True))
    return next((why for pattern, why in NOT_RUN.items() if re.search(pattern, words)), "")


def arguments_of(command: Command) -> list[str] | None:
    """What modeltest's own parser gets of a command; None where another program is called."""
    words = shlex.split(command.text, comments=True)
    while words and re.match(r"[A-Z_]+=", words[0]):
        words = words[1:]
    if words[:2] == ["bash", "scripts/mm_run.sh"]:
        return ["eval", *words[2:]]
    if words[:1] in (["modeltest"], [".venv/bin/modeltest"]):
        return words[1:]
    if words[:1] in (["torchrun"], ["python"]) and "modeltest" in words:
        return words[words.index("modeltest") + 1 :]
    return None


def test_the_pages_have_commands():
    assert len(COMMANDS) > 30
    assert {command.page for command in COMMANDS} >= {"README.md", "docs/measuring_speed.md"}


def test_no_command_hides_in_a_block_that_is_not_read():
    """A usage line, which has brackets, is no command."""
    hidden = [
        f"{page.relative_to(ROOT)}:{number}: {line}"
        for page in PAGES
        for number, kind, line in fenced_lines(page.read_text(encoding="utf-8"))
        if kind == "text" and line.startswith("modeltest ") and "[" not in line
    ]
    assert hidden == []


@pytest.mark.parametrize("command", COMMANDS, ids=str)
def test_the_parser_reads_it(command):
    arguments = arguments_of(command)
    if arguments is None:
        assert (
            reason_not_to_run(command)
            or "scripts/run_pa.sh" in command.text
            or ("benchmarks/" in command.text)
        ), f"{command}: neither modeltest nor a listed program: {command.text}"
        return
    options = build_parser().parse_args(arguments)
    assert options.command


@pytest.mark.parametrize("pattern", NOT_RUN)
def test_no_reason_is_stale(pattern):
    assert [c for c in COMMANDS if re.search(pattern, " ".join(shlex.split(c.text, comments=True)))]


@pytest.fixture(scope="module")
def shell(checkout, tmp_path_factory):
    """`bash -c TEXT` where a reader of the docs would be, with two runs of each kind behind."""
    folder = tmp_path_factory.mktemp("reader") / "modeltest project"
    shutil.copytree(checkout, folder, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "benchmarks").symlink_to(ROOT / "benchmarks")
    programs = folder / "bin"
    programs.mkdir()
    for name, words in (("modeltest", "-m modeltest"), ("python", "")):
        (programs / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {words} "$@"\n')
        (programs / name).chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{programs}:{os.environ['PATH']}",
        "PYTHONPATH": str(folder),
        "MODELTEST_PYTHON": sys.executable,
        "OMP_NUM_THREADS": "1",
    }

    @cache  # pages show the same command
    def run(text: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "-c", text], cwd=folder, env=environment, capture_output=True, text=True,
            check=False, timeout=200,
        )  # fmt: skip

    (folder / "docs" / "measurements").mkdir(parents=True)
    evaluate = "modeltest eval vocalsound_mini null --limit 6"
    perf = f"modeltest perf null {BRIEFLY['modeltest perf']}"
    for text in (evaluate, f"{evaluate} --seed 1", perf, f"{perf} --seed 1"):
        done = run(text)
        assert done.returncode in ENDS_WELL, done.stderr
    evaluated = [path.name for path in folder.glob("outputs/*/*/*/precision_result/runs/*")]
    measured = [path.name for path in folder.glob("outputs/*/*/*/performance_result/*")]
    return run, evaluated, measured


@pytest.mark.parametrize(
    "command", [command for command in COMMANDS if not reason_not_to_run(command)], ids=str
)
def test_it_runs(command, shell):
    run, evaluated, measured = shell
    text = re.sub(r"\s+#\s.*$", "", command.text)
    for pattern, options in BRIEFLY.items():
        if re.search(pattern, text):
            text = f"{text} {options}"
    runs = measured if "compare" in text and not OF_ACCURACY.search(text) else evaluated
    ids = {"RUN": runs[0], "RUN_A": runs[0], "RUN_B": runs[1]}
    text = re.sub(r"\bRUN(_[AB])?\b", lambda found: ids[found[0]], text)
    done = run(text)
    assert done.returncode in ENDS_WELL, (
        f"{command}: {text}: exit {done.returncode}: {done.stderr[-2000:]}; mend it, or list in "
        "NOT_RUN why it cannot run in a test"
    )
    assert "Traceback" not in done.stderr
