"""A real vLLM server serves the embedded model: the same answers as in this process, and a sweep.

    python tests/gates/vllm_server.py --vllm-python PATH [--seed S] [--record FILE]

Starts the server on loopback (fp32), evaluates `vocalsound_mini` through the `openai` backend
and in process, both in chat format, and measures 1 to 16 requests in flight. At least 98 % of
the replies must be the same, word for word, the differences are listed; both evaluations and
the sweep must be VALID. `--record` keeps some of the exchanges for the tests of each change.
One line of counts; exit status 1 after a violation.
"""

from __future__ import annotations

import argparse
import csv
import io
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from support.checkout import add_source, workspace
from support.commands import Finished
from support.recorder import Recorder
from support.runs import report_bytes
from support.vllm_server import MODEL_NAME, vllm_server

MIN_SAME_SHARE = 0.98
SWEEP = "1,2,4,8,16"
SPEED = ["--bs", SWEEP, "--modes", "natural"]
NUM_RECORDED = 12
LONGEST_S = 1800.0
LOCAL = ["qwen2_audio_tiny", "--set", "task.prompt_format=chat", "--dtype", "fp32"]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--vllm-python", type=Path, required=True, metavar="PATH")
    parser.add_argument("--record", type=Path, metavar="FILE")
    parser.add_argument("--seed", type=int, default=0, help="of the sweep's order and clips")
    add_source(parser)
    options = parser.parse_args()
    # Ended by a time limit, it must not leave the server behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if not options.vllm_python.exists():
        print(f"vllm_server: {options.vllm_python} is missing; name an interpreter that has vLLM")
        return 1
    with workspace(options.source) as root:
        model = root / "checkout" / "modeltest" / "assets" / "qwen2_audio_tiny"
        with vllm_server(options.vllm_python.absolute(), model, root / "server.log") as address:
            return run(root, address, options)


def run(root: Path, address: str, options: argparse.Namespace) -> int:
    service = ["vllm_service", "--set", f"model.base_url={address}"]
    service += ["--set", f"model.model={MODEL_NAME}"]
    problems = []
    here = command(["eval", "vocalsound_mini", *LOCAL], root / "here")
    served = command(["eval", "vocalsound_mini", *service], root / "served")
    for name, done in (("in process", here), ("served", served)):
        if done.code or not done.verdict.startswith("VALID"):
            problems.append(f"{name}: exit code {done.code}, {done.verdict}\n{done.err[-2000:]}")
    same, lines = compared(root) if not problems else (0, [])
    for line in lines:
        print(f"  differs: {line}")
    if same < MIN_SAME_SHARE * 120:
        problems.append(f"only {same} of 120 replies are the same")
    sweep = command(["perf", *service, *SPEED, "--seed", str(options.seed)], root / "sweep")
    print(sweep.out)
    if sweep.code or not sweep.verdict.startswith("VALID"):
        problems.append(f"sweep: exit code {sweep.code}, {sweep.verdict}\n{sweep.err[-2000:]}")
    if options.record and not problems:
        record(root, address, options.record)
    for problem in problems:
        print(f"VIOLATION: {problem}")
    print(
        f"vllm_server: {same} of 120 replies the same served and in process, sweep of {SWEEP} in "
        f"flight {sweep.verdict.partition(':')[0]}, {len(problems)} violations, seed {options.seed}"
    )
    return int(bool(problems))


def command(arguments: list[str], folder: Path) -> Finished:
    """Runs modeltest in a new folder."""
    folder.mkdir(parents=True)
    done = subprocess.run(
        [sys.executable, "-m", "modeltest", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=LONGEST_S,
        check=False,
        env=os.environ | {"OMP_NUM_THREADS": "2"},
    )
    return Finished(done.returncode, done.stdout, done.stderr)


def compared(root: Path) -> tuple[int, list[str]]:
    """How many replies are the same, and the others in words."""
    here, served = (dict(replies(root / name)) for name in ("here", "served"))
    if here.keys() != served.keys():
        raise RuntimeError("the two runs have other samples")
    others = [
        f"{name}: in process {here[name]!r}, served {served[name]!r}"
        for name in here
        if here[name] != served[name]
    ]
    return len(here) - len(others), others


def replies(folder: Path) -> Iterator[tuple[str, str]]:
    text = report_bytes(folder)["samples"].decode("utf-8")
    for row in csv.DictReader(io.StringIO(text)):
        yield row["sample_id"], row["output"]


def record(root: Path, address: str, file: Path) -> None:
    """Repeats some samples through a proxy that keeps what was said."""
    with Recorder(address) as recorder:
        base = ["--set", f"model.base_url={recorder.address}", "--set", f"model.model={MODEL_NAME}"]
        limit = ["--limit", str(NUM_RECORDED)]
        command(["eval", "vocalsound_mini", "vllm_service", *base, *limit], root / "recorded")
        streamed = [*base, "--set", "model.request.stream=true"]
        command(["eval", "vocalsound_mini", "vllm_service", *streamed, *limit], root / "streamed")
        recorder.write(file)
    print(f"written: {file}")


if __name__ == "__main__":
    sys.exit(main())
