"""The Python interface with the embedded model, as docs/python_api.md shows it."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "python_api.md"
SHORTER = {
    "batch_sizes=[1, 2], min_seconds=2": "batch_sizes=[1], min_seconds=0.01, passes=3, "
    "max_output_length=2, modes=['natural']",
}
# Standard output is the reader's own; what comes before is what the page prints.
AFTERWARDS = """
import sys
assert run.command == "perf" and len(run.timings) >= 3
evaluated = modeltest.load_run(first)
assert (evaluated.verdict.validity, evaluated.num_done) == ("LIMITED", 12)
assert list(evaluated.samples["output"].str[1]) == [":"] * 12
assert evaluated.samples["correct"].sum() == 12 - len(wrong)
assert "torch" in sys.modules
"""


@pytest.fixture(scope="module")
def shown(checkout, tmp_path_factory) -> list[str]:
    """What the page's code printed, run from top to bottom."""
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    assert len(blocks) == 3
    code = f"{blocks[0]}first = run.folder\n{blocks[1]}{blocks[2]}{AFTERWARDS}"
    for long, short in SHORTER.items():
        assert long in code
        code = code.replace(long, short)
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path_factory.mktemp("notebook"),
        env={"PYTHONPATH": str(checkout), "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_the_page_prints_what_it_says(shown):
    promised = re.findall(r"# (LIMITED: 12 .*|acc \d.*)$", PAGE.read_text("utf-8"), re.MULTILINE)
    assert shown[:2] == promised


def test_nothing_else_is_printed_but_the_table(shown):
    assert shown[2].split() == ["batch_size", "mode", "valid", "output_tokens_per_s"]
    assert len(shown) == 4
