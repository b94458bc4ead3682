"""What this machine has, and what machines with other states of torch_npu would say."""

import json
import os
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path

import pytest

from modeltest.devices import probe as module
from modeltest.devices.factory import choose
from modeltest.devices.outside_call import Deadline
from modeltest.devices.probe import Hang, Probe, ProbeCall, probe
from modeltest.devices.why_not import NOT_INSTALLED, WhyNot
from modeltest.errors import DeviceError

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


def test_a_build_from_source_tells_its_own_version(with_torch_npu, tmp_path):
    """It can be imported and has no metadata."""
    source = '__version__ = "2.10.0.post4+gitabc1234"\n' + WORKING.format(num=1)
    environment = with_torch_npu(source)
    for file in (tmp_path / "torch_npu-2.13.0.dist-info").iterdir():
        file.unlink()
    (tmp_path / "torch_npu-2.13.0.dist-info").rmdir()
    found = run(SAY, environment)
    assert (found["torch_npu"], found["num_npu"]) == (True, 1)
    assert found["torch_npu_version"] == "2.10.0.post4+gitabc1234"


# What the probe asks of torch, which takes no time to import.
TORCH = """
import time, types
__version__ = "2.10.0"
version = types.SimpleNamespace(cuda="13.0", hip=None)
cuda = types.SimpleNamespace(is_available=lambda: {num} > 0, device_count=lambda: {num})
{more}
"""
NPU = """
import time, torch, types
def memory(index):
    time.sleep(60 * index)
    return 1, 2
torch.npu = types.SimpleNamespace(
    is_available=lambda: True, device_count=lambda: 3, mem_get_info=memory, get_device_name=str
)
{more}
"""
CUDA_HANGS = TORCH.format(num=1, more="cuda.is_available = lambda: time.sleep(60)")
QUICK = TORCH.format(num=0, more="")


@pytest.fixture
def packages(tmp_path, monkeypatch):
    """A child of this process finds these packages, by name and source."""

    def put(**sources):
        for name, source in sources.items():
            (tmp_path / f"{name}.py").write_text(source)
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.setattr(module, "_LAST_DETAIL_S", 0)

    return put


@pytest.mark.parametrize(
    ("sources", "asks", "reason"),
    [
        ({"torch": "import time; time.sleep(60)"}, "torch", "torch was not imported within 3 s"),
        (
            {"torch": CUDA_HANGS}, "cuda",
            "the GPU driver did not answer within 3 s: torch was asking for GPUs",
        ),
        (
            {"torch": QUICK, "torch_npu": "import time; time.sleep(60)"}, "torch_npu",
            "torch_npu was not imported within 3 s",
        ),
        (
            {
                "torch": QUICK,
                "torch_npu": NPU.format(more="torch.npu.is_available = lambda: time.sleep(60)"),
            },
            "npu", "the Ascend driver did not answer within 3 s: torch_npu was asking for NPUs",
        ),
        (
            {"torch": QUICK, "torch_npu": NPU.format(more="")}, "npu",
            "the Ascend driver did not answer within 3 s: "
            "torch_npu was asking npu:1 for its memory",
        ),
    ],
)  # fmt: skip
def test_what_hangs_is_given_up_and_named(packages, sources, asks, reason):
    packages(**sources)
    start_s = time.monotonic()
    with ProbeCall(Deadline(3), details=True) as call:
        found = call.answer()
    assert time.monotonic() - start_s < 10
    assert found.hang
    assert (found.hang.asks, found.hang.why.reason) == (asks, reason)
    assert found.hang.why.advice
    assert found.torch_version == ("" if asks == "torch" else "2.10.0")
    assert [device.torch_name for device in found.devices] == ["npu:0"] * ("npu:1" in reason)


def test_a_run_does_not_wait_for_ever_for_a_gpus_driver(packages, monkeypatch, tmp_path):
    """This process does not ask where a driver is, as it could not be stopped."""
    packages(torch=CUDA_HANGS)
    monkeypatch.setattr(module, "_DRIVERS", (tmp_path,))
    monkeypatch.setattr(module, "_PROBE_TIMEOUT_S", 2)
    start_s = time.monotonic()
    with pytest.raises(DeviceError, match="the GPU driver did not answer within 2 s"):
        choose("auto")
    assert time.monotonic() - start_s < 10


def test_a_driver_that_ends_the_process_is_told(packages, monkeypatch, tmp_path):
    crash = "import os\ncuda.is_available = lambda: os.kill(os.getpid(), 11)"
    packages(torch=TORCH.format(num=1, more=crash))
    monkeypatch.setattr(module, "_DRIVERS", (tmp_path,))
    found = probe()
    assert (found.torch_version, found.num_cuda) == ("2.10.0", 0)
    assert found.no_cuda
    assert found.no_cuda.reason == (
        "torch cannot ask for GPUs: the process ended by signal 11"
    )  # fmt: skip


def test_a_child_that_cannot_be_started_is_told(monkeypatch):
    monkeypatch.setattr(module.sys, "executable", "/no/such/python")
    with ProbeCall(Deadline(5), details=False) as call:
        found = call.answer()
    assert found.torch_error.startswith("no process can be started to import torch (")


def test_a_torch_npu_that_hangs_is_given_up(monkeypatch):
    monkeypatch.setattr(module, "_PROBE_TIMEOUT_S", 0.2)
    monkeypatch.setattr(module, "_CODE", "import time; time.sleep(60)")
    monkeypatch.setattr(module, "torch_npu_installed", lambda: True)
    found = probe()
    reason = "torch was not imported within 0.2 s"
    why = WhyNot(reason, found.hang.why.advice)
    assert found == Probe(
        "", reason, torch_npu=True, no_cuda=why, no_npu=why, hang=Hang("torch", why)
    )
