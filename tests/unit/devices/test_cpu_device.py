import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from modeltest.devices.cpu import CpuDevice, _hottest_c


def kilobytes(path, key):
    if not Path(path).is_file():
        pytest.skip(f"needs {path}")
    [number] = re.findall(rf"^{key}:\s+(\d+) kB", Path(path).read_text(), re.MULTILINE)
    return int(number) * 1024


def test_it_calls_itself_by_the_names_of_the_contract():
    device = CpuDevice()
    assert (device.kind, device.label, device.torch_name) == ("cpu", "CPU", "cpu")
    assert device.synchronize() is None


def test_facts_are_those_of_the_host():
    torch = pytest.importorskip("torch")
    facts = CpuDevice().facts()
    assert facts["name"].strip()
    assert 1 <= facts["cores"] <= os.cpu_count()
    assert facts["torch_threads"] == torch.get_num_threads()
    assert facts["simulated"] is False
    assert facts["visible_devices"] == 1
    # The page count of sysconf is that of /proc/meminfo.
    assert facts["memory_total_bytes"] == pytest.approx(
        kilobytes("/proc/meminfo", "MemTotal"), rel=0.02
    )


def test_memory_is_that_of_the_host():
    device = CpuDevice()
    assert device.total_memory_bytes() == pytest.approx(
        kilobytes("/proc/meminfo", "MemTotal"), rel=0.02
    )
    available = kilobytes("/proc/meminfo", "MemAvailable")
    assert device.available_memory_bytes() == pytest.approx(available, rel=0.2)
    assert device.available_memory_bytes() < device.total_memory_bytes()


def test_the_hottest_sensor_counts(tmp_path):
    assert _hottest_c(tmp_path) is None
    for number, text in enumerate(("41000\n", "67500\n", "nothing", "52000\n")):
        zone = tmp_path / f"thermal_zone{number}"
        zone.mkdir()
        (zone / "temp").write_text(text)
    assert _hottest_c(tmp_path) == 67.5


def test_health_is_the_hosts():
    health = CpuDevice().health()
    assert health["load_1min"] == pytest.approx(os.getloadavg()[0], abs=1.0)
    assert health.keys() == {"load_1min", "temperature_c"}


def test_deterministic_operators_are_torchs_switch():
    torch = pytest.importorskip("torch")
    try:
        CpuDevice().use_deterministic_algorithms()
        assert torch.are_deterministic_algorithms_enabled()
        assert torch.is_deterministic_algorithms_warn_only_enabled()
        assert not torch.utils.deterministic.fill_uninitialized_memory
        assert CpuDevice().facts()["deterministic"] is True
    finally:
        torch.use_deterministic_algorithms(False)
        torch.utils.deterministic.fill_uninitialized_memory = True


@pytest.mark.parametrize("dtype", ["bf16", "fp16", "fp32"])
def test_a_cpu_warns_of_no_precision(dtype):
    assert CpuDevice().warnings(dtype) == ()


def test_peak_memory_is_in_bytes_and_at_least_what_was_touched():
    high_water = kilobytes("/proc/self/status", "VmHWM")
    peak = CpuDevice().peak_memory_bytes()
    assert 0.95 * high_water <= peak <= kilobytes("/proc/meminfo", "MemTotal")


def test_peak_memory_grows_with_what_is_touched_and_never_falls():
    device = CpuDevice()
    high_water = kilobytes("/proc/self/status", "VmHWM")
    room = high_water - kilobytes("/proc/self/status", "VmRSS")
    touched = bytearray(b"x") * (room + 32_000_000)
    during = device.peak_memory_bytes()
    assert during >= high_water + len(touched) - room - 8_000_000
    del touched
    # The kernel sums per-thread counters now and then, so the figure wobbles by some pages.
    assert device.peak_memory_bytes() >= during - 1_000_000


def test_the_peak_is_this_process_own():
    """getrusage would report the peak of the large process that started the small one."""
    code = (
        "from modeltest.devices.cpu import CpuDevice; import re; print(CpuDevice()."
        "peak_memory_bytes(), int(re.search(r'VmHWM:\\s+(\\d+)', "
        "open('/proc/self/status').read())[1]) * 1024)"
    )
    large = bytearray(b"x") * 300_000_000
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    peak, high_water = map(int, done.stdout.split())
    assert large[-1] == ord("x")
    assert peak < 2 * high_water
