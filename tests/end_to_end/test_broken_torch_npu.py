"""A machine with torch_npu and without CANN, where a plain `import torch` fails."""

import json
import os

import pytest

MISSING = "libhccl.so: cannot open shared object file: No such file or directory"
REASON = "torch_npu is installed but CANN is not: libhccl.so not found"

pytestmark = pytest.mark.end_to_end


@pytest.fixture
def machine(tmp_path, checkout):
    """The environment of such a machine."""
    packages = tmp_path / "packages"
    package, info = packages / "torch_npu", packages / "torch_npu-2.13.0.dist-info"
    package.mkdir(parents=True)
    info.mkdir()
    (package / "__init__.py").write_text(f"raise ImportError({MISSING!r})\n")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: torch_npu\nVersion: 2.13.0\n")
    (info / "entry_points.txt").write_text("[torch.backends]\ntorch_npu = torch_npu:_autoload\n")
    return {"PYTHONPATH": os.pathsep.join((str(packages), str(checkout)))}


def test_an_evaluation_runs_on_the_cpu_and_says_why(mm_run, tmp_path, machine):
    """As one process, however many NPUs there are."""
    (tmp_path / "mine.yaml").write_text("extends: qwen2_audio_tiny\n")
    done = mm_run(tmp_path, "vocalsound_mini", "mine.yaml", "--limit", "2", **machine)
    assert done.code == 0, done.err
    assert f"({REASON}; using cpu)" in done.err
    manifest = json.loads((done.run_folder / "manifest.json").read_text())
    assert manifest["device"]["kind"] == "cpu"
    assert manifest["place"]["tp"] == 1
    started = (done.run_folder / "run.log").read_text(encoding="utf-8").splitlines()[0]
    assert started.endswith("--limit 2 --tp 1")  # it was left to modeltest, which counted
    assert manifest["packages"]["torch_npu"] == "2.13.0"


def test_an_npu_that_is_asked_for_is_refused_in_one_line(modeltest, tmp_path, machine):
    done = modeltest(
        tmp_path, "eval", "vocalsound_mini", "qwen2_audio_tiny", "--device", "npu", **machine
    )
    assert done.code == 5
    [line] = done.err.splitlines()
    assert line.startswith(f"modeltest: --device npu: {REASON} (")
    assert not list(tmp_path.glob("outputs/*")), "nothing was run"
