"""What this machine has, and what machines with other states of torch_npu would say."""

import json
import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from modeltest.devices import probe as module
from modeltest.devices.probe import Probe, probe
from modeltest.devices.why_not import NOT_INSTALLED

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
SAY = "from dataclasses import asdict; import json; from modeltest.devices.probe import probe; "
SAY += "print(json.dumps(asdict(probe(details=True))))"
MISSING = "libhccl.so: cannot open shared object file: No such file or directory"
# A torch_npu that works, as far as the probe asks it.
WORKING = """
import sys, types, torch
npu = types.ModuleType("torch.npu")
npu.is_available = lambda: {num} > 0
npu.device_count = lambda: {num}
npu.get_device_name = lambda index: f"Ascend910B{{index}}"
npu.mem_get_info = lambda index: (30_000_000_000 + index, 32_000_000_000)
npu.utils = types.SimpleNamespace(get_cann_version=lambda: "9.1.0")
torch.npu = npu
print("a library's chatter {{")
"""


def test_probe_reports_the_torch_that_is_installed():
    found = probe()
    # An index may leave the build (+cpu, +cu130) out of the package's version.
    assert found.torch_version.startswith(metadata.version("torch"))
    assert found.torch_error == ""


def test_a_machine_without_torch(monkeypatch):
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None)
    found = probe()
    assert (found.torch_version, found.torch_error) == ("", "torch is not installed")
    assert found.no_npu == NOT_INSTALLED
    assert (found.num_cuda, found.num_npu, found.torch_npu) == (0, 0, False)


@pytest.fixture
def with_torch_npu(tmp_path):
    """The environment of a machine on which torch_npu is a package of this source."""

    def make(source):
        package = tmp_path / "torch_npu"
        package.mkdir()
        (package / "__init__.py").write_text(source)
        info = tmp_path / "torch_npu-2.13.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: torch_npu\nVersion: 2.13.0\n")
        (info / "entry_points.txt").write_text(
            "[torch.backends]\ntorch_npu = torch_npu:_autoload\n"
        )
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(tmp_path), str(PROJECT)))}
        for name in ("TORCH_DEVICE_BACKEND_AUTOLOAD", "ASCEND_RT_VISIBLE_DEVICES"):
            environment.pop(name, None)
        return environment

    return make


def run(code, environment):
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_a_broken_torch_npu_is_found_out_and_kept_out(with_torch_npu):
    """`import torch` itself fails there, unless torch_npu is kept out."""
    environment = with_torch_npu(f"raise ImportError({MISSING!r})\n")
    plain = subprocess.run(
        [sys.executable, "-c", "import torch"],
        env=environment, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert "Failed to load the backend extension: torch_npu" in plain.stderr
    report = run(ON_A_BROKEN_MACHINE, environment)
    found = report["found"]
    assert found["num_npu"] == 0
    assert found["torch_npu"]
    assert not found["torch_npu_imports"]
    assert found["torch_version"].startswith(metadata.version("torch"))
    reason = "torch_npu is installed but CANN is not: libhccl.so not found"
    assert found["no_npu"]["reason"] == reason
    assert not report["loaded_by_probe"]
    assert report["choice"]["kind"] == report["device"] == "cpu"
    assert report["choice"]["reason"] == f"{reason}; using cpu"
    assert report["sum"] == 3.0
    assert not report["npu_for_transformers"]


def test_devices_are_counted_and_named_in_the_child(with_torch_npu):
    found = run(SAY, with_torch_npu(WORKING.format(num=2)))
    assert (found["num_npu"], found["no_npu"], found["cann"]) == (2, None, "9.1.0")
    assert [device for device in found["devices"] if device["torch_name"] == "npu:1"] == [
        {
            "torch_name": "npu:1",
            "name": "Ascend910B1",
            "total_bytes": 32_000_000_000,
            "error": "",
            "free_bytes": 30_000_000_001,
        }
    ]


def test_cann_without_a_device_is_no_npu(with_torch_npu):
    found = run(SAY, with_torch_npu(WORKING.format(num=0)))
    assert (found["num_npu"], found["torch_npu_imports"]) == (0, True)
    assert "torch_npu" in found["no_npu"]["reason"]


def test_a_torch_npu_that_ends_the_process_leaves_what_torch_said(with_torch_npu):
    found = run(SAY, with_torch_npu("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"))
    assert found["torch_version"].startswith(metadata.version("torch"))
    assert found["no_npu"]["reason"] == "torch_npu cannot be used: the process ended by signal 11"


def test_a_torch_npu_that_hangs_is_given_up(monkeypatch):
    monkeypatch.setattr(module, "_PROBE_TIMEOUT_S", 0.2)
    monkeypatch.setattr(module, "_CODE", "import time; time.sleep(60)")
    monkeypatch.setattr(module, "torch_npu_installed", lambda: True)
    found = probe()
    assert found == Probe(
        "", "importing torch failed: it took over 0.2 s", torch_npu=True,
        no_cuda=found.no_cuda, no_npu=found.no_npu,
    )  # fmt: skip
