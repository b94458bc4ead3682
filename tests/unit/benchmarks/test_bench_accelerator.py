"""The accelerator benchmark runs where little more than PyTorch and transformers is installed."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
# What modeltest needs elsewhere. httpx, safetensors and tqdm come with transformers.
MISSING = (
    "datasets", "fastapi", "jinja2", "jiwer", "librosa", "matplotlib", "orjson",
    "prometheus_client", "pydantic", "rapidfuzz", "ray", "scipy", "soundfile", "soxr",
    "tabulate", "termcolor", "uvicorn",
)  # fmt: skip
CHILD = """
import runpy, sys
sys.modules.update(dict.fromkeys({missing}))  # an import of None is that of a missing package
sys.path.insert(0, "benchmarks")
runpy.run_path("benchmarks/bench_accelerator.py", run_name="__main__")
"""


def test_it_needs_no_other_packages(tmp_path: Path) -> None:
    options = ["--tiny", "--device", "cpu", "--bs", "2", "--new-tokens", "2", "--repeats", "1"]
    done = subprocess.run(
        [sys.executable, "-c", CHILD.format(missing=MISSING), *options, "--output", str(tmp_path)],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=250,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    header, *rows = (tmp_path / "accelerator.csv").read_text("utf-8").splitlines()
    assert header.startswith("engine,batch_size,valid,")
    assert [row.split(",")[:3] for row in rows] == [["stock", "2", "True"], ["fast", "2", "True"]]
