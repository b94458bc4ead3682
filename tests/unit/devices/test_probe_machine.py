"""What this machine has, and what a machine with a broken torch_npu would say."""

import json
import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from modeltest.devices.probe import probe

PROJECT = Path(__file__).parents[3]

ON_A_BROKEN_MACHINE = """
import json
import sys
from dataclasses import asdict

from modeltest.devices.factory import choose, make_device
from modeltest.devices.probe import probe

found = probe()
loaded_by_probe = "torch" in sys.modules
choice = choose("auto", found)
device = make_device(choice)
import torch
import transformers

print(json.dumps({
    "found": asdict(found),
    "loaded_by_probe": loaded_by_probe,
    "choice": asdict(choice),
    "device": device.kind,
    "sum": float(torch.ones(3).sum()),
    "npu_for_transformers": bool(transformers.utils.is_torch_npu_available()),
}))
"""


def test_probe_reports_the_torch_that_is_installed():
    found = probe()
    # An index may leave the build (+cpu, +cu130) out of the package's version.
    assert found.torch_version.startswith(metadata.version("torch"))
    assert found.error == ""


@pytest.fixture
def broken_torch_npu(tmp_path):
    """torch_npu as it is installed where CANN is not."""
    package = tmp_path / "torch_npu"
    package.mkdir()
    cause = "libhccl.so: cannot open shared object file: No such file or directory"
    (package / "__init__.py").write_text(f"raise ImportError({cause!r})\n")
    info = tmp_path / "torch_npu-2.13.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: torch_npu\nVersion: 2.13.0\n")
    (info / "entry_points.txt").write_text("[torch.backends]\ntorch_npu = torch_npu:_autoload\n")
    return {**os.environ, "PYTHONPATH": os.pathsep.join((str(tmp_path), str(PROJECT)))}


def test_a_broken_torch_npu_is_found_out_and_kept_out(broken_torch_npu):
    """`import torch` itself fails there: probe's reported error shows that it did."""
    broken_torch_npu.pop("TORCH_DEVICE_BACKEND_AUTOLOAD", None)
    done = subprocess.run(
        [sys.executable, "-c", ON_A_BROKEN_MACHINE],
        env=broken_torch_npu, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout.splitlines()[-1])
    found = report["found"]
    assert not found["npu"]
    assert "torch_npu" in found["error"]
    assert "libhccl.so: cannot open shared object file" in found["error"]
    assert not report["loaded_by_probe"]
    assert report["choice"]["kind"] == report["device"] == "cpu"
    assert report["choice"]["broken_torch_npu"]
    assert "libhccl.so" in report["choice"]["reason"]
    assert report["sum"] == 3.0
    assert not report["npu_for_transformers"]
