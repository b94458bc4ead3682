"""Tables as npu-smi prints them on an A2, an A3 and a 300I DUO; lines as nvidia-smi does."""

import os
import time

import pytest

from modeltest.devices import vendor_tool
from modeltest.devices.npu_smi import npu_health, npu_processes, npu_smi_version, parse_npu_smi
from modeltest.devices.nvidia_smi import (
    gpu_health,
    nvidia_smi_driver,
    parse_clock_reasons,
    parse_nvidia_smi,
    parse_processes,
)

MIB = 2**20
A2 = """\
+------------------------------------------------------------------------------------------------+
| npu-smi 24.1.1                   Version: 24.1.1                                               |
+---------------------------+---------------+----------------------------------------------------+
| NPU   Name                | Health        | Power(W)    Temp(C)           Hugepages-Usage(page)|
| Chip                      | Bus-Id        | AICore(%)   Memory-Usage(MB)  HBM-Usage(MB)        |
+===========================+===============+====================================================+
| 0     910B4               | OK            | 88.2        30                0    / 0             |
| 0                         | 0000:C1:00.0  | 0           0    / 0          26838/ 32768         |
+===========================+===============+====================================================+
| 1     910B4               | Warning       | 87.0        61                0    / 0             |
| 0                         | 0000:C2:00.0  | 99          0    / 0          29356/ 32768         |
+===========================+===============+====================================================+
+---------------------------+---------------+----------------------------------------------------+
| NPU     Chip              | Process id    | Process name             | Process memory(MB)      |
+===========================+===============+====================================================+
| 0       0                 | 12345         | python                   | 23456                   |
| No running processes found in NPU 1                                                            |
+===========================+===============+====================================================+
"""
A3 = """\
| npu-smi 26.0.rc2                            Version: 26.0.rc2                                |
| NPU   Name                | Health        | Power(W)    Temp(C)           Hugepages-Usage(page)|
| Chip  Phy-ID              | Bus-Id        | AICore(%)   Memory-Usage(MB)  HBM-Usage(MB)        |
| 0     Ascend910           | OK            | 162.6       34                0    / 0             |
| 0     0                   | 0000:9D:00.0  | 0           0    / 0          3419 / 65536         |
| 0     Ascend910           | OK            | -           34                0    / 0             |
| 1     1                   | 0000:9F:00.0  | 0           0    / 0          2874 / 65536         |
"""
DUO = """\
| npu-smi 25.2.0                                   Version: 25.2.0                        |
| NPU     Name                  | Health          | Power(W)     Temp(C)     Hugepages-Usage(page) |
| Chip    Device                | Bus-Id          | AICore(%)    Memory-Usage(MB)                  |
| 2       310P3                 | OK              | NA           45          0     / 0             |
| 0       0                     | 0000:01:00.0    | 0            1529 / 44280                      |
| 2       310P3                 | OK              | NA           43          0     / 0             |
| 1       1                     | 0000:01:00.0    | 0            1412 / 43693                      |
"""


def test_an_a2_table():
    first, second = parse_npu_smi(A2)
    assert first == {
        "npu": 0, "chip": 0, "name": "910B4",
        "health": "OK", "power_w": 88.2, "temperature_c": 30.0,
        "bus": "0000:C1:00.0", "memory_used_bytes": 26838 * MIB, "memory_total_bytes": 32768 * MIB,
    }  # fmt: skip
    assert (second["health"], second["temperature_c"]) == ("Warning", 61.0)


def test_both_dies_of_an_a3_are_listed_and_the_second_has_no_power_of_its_own():
    first, second = parse_npu_smi(A3)
    assert (first["power_w"], second["power_w"]) == (162.6, None)
    assert (first["bus"], second["bus"]) == ("0000:9D:00.0", "0000:9F:00.0")


def test_a_300i_duo_has_no_hbm():
    first, second = parse_npu_smi(DUO)
    assert (first["name"], first["power_w"], first["temperature_c"]) == ("310P3", None, 45.0)
    assert first["memory_total_bytes"] == 44280 * MIB
    assert second["memory_used_bytes"] == 1412 * MIB


# As an A3 prints it: a process has a little memory on the chips of its neighbours, too.
A3_PROCESSES = """\
| NPU     Chip              | Process id    | Process name             | Process memory(MB)      |
+===========================+===============+====================================================+
| 0       0                 | 3325989       |                          | 50128                   |
| 0       0                 | 3330598       |                          | 132                     |
| 0       1                 | 3328327       |                          | 50119                   |
+===========================+===============+====================================================+
| No running processes found in NPU 2                                                            |
"""


@pytest.mark.parametrize(
    ("text", "npu", "chip", "listed"),
    [
        (A2, 0, 0, [12345]),
        (A2, 1, 0, []),
        (A2, 2, 0, None),
        (A3, 0, 0, None),  # without a table of processes
        (A3 + A3_PROCESSES, 0, 0, [3325989, 3330598]),
        (A3 + A3_PROCESSES, 0, 1, [3328327]),
        (A3 + A3_PROCESSES, 2, 1, []),
        (A3 + A3_PROCESSES, 1, 0, None),
        (A3_PROCESSES.replace("3325989", "?"), 0, 0, [3330598]),
        ("", 0, 0, None),
    ],
)
def test_the_processes_on_a_chip(text, npu, chip, listed):
    assert npu_processes(text, npu, chip) == listed


def test_dies_and_chips_are_told_apart_by_their_numbers():
    assert [(chip["npu"], chip["chip"]) for chip in parse_npu_smi(A3)] == [(0, 0), (0, 1)]
    assert [(chip["npu"], chip["chip"]) for chip in parse_npu_smi(DUO)] == [(2, 0), (2, 1)]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nothing\n|\n| | | |",
        A2[:400],
        "| 0 x | OK | 1 |\n|  | 0000:C1:00.0 | 1 |",
        "| 0 x | OK | 1 |\n" * 3,
    ],
)
def test_another_text_lists_no_chip(text):
    assert list(parse_npu_smi(text)) == []


def test_the_version_stands_in_the_head():
    assert [npu_smi_version(text) for text in (A2, A3, "")] == ["24.1.1", "26.0.rc2", None]


def test_a_line_of_nvidia_smi():
    assert parse_nvidia_smi("41, 68.31, 345, 0, 0\n") == {
        "temperature_c": 41.0, "power_w": 68.31, "clock_mhz": 345.0, "utilization_percent": 0.0,
        "uncorrected_errors": 0.0,
    }  # fmt: skip
    old = parse_nvidia_smi("41, [N/A], 345, 0, [Not Supported]")
    assert (old["power_w"], old["uncorrected_errors"]) == (None, None)
    assert parse_nvidia_smi("") is None
    assert parse_nvidia_smi("No devices were found") is None


@pytest.mark.parametrize(
    ("output", "version"),
    [
        ("550.54.15\n550.54.15\n", "550.54.15"),
        ("No devices were found\n", None),
        ("535.104\n", "535.104"),
        ("", None),
    ],
)
def test_the_driver_that_nvidia_smi_names(output, version):
    assert nvidia_smi_driver(output) == version


@pytest.fixture
def tool(tmp_path, monkeypatch):
    """Puts a program of that name first on the path."""

    def make(name, script):
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")

    return make


def test_the_chip_is_found_by_its_position(tool):
    tool("npu-smi", f"[ \"$1\" = info ] && cat <<'END'\n{A2}END")
    health = npu_health(1)
    assert health["tool"] == "npu-smi"
    assert health["bus"] == "0000:C2:00.0"
    assert health["version"] == "24.1.1"
    assert npu_health(2)["unknown"] == "npu-smi lists 2 NPUs, not number 2"


def test_what_keeps_the_clocks_down(tool):
    """Bits as in nvml.h: 0x1 idle, 0x4 power cap, 0x8 hardware, 0x20 and 0x40 thermal, 0x80."""
    assert parse_clock_reasons("0x0000000000000000\n") == []
    assert parse_clock_reasons("0x0000000000000005\n") == []
    assert parse_clock_reasons("0x0000000000000048\n") == [
        "hardware slowdown",
        "hardware thermal slowdown",
    ]
    assert parse_clock_reasons("0x00000000000000A4") == [
        "software thermal slowdown",
        "power brake slowdown",
    ]
    for text in ("", "[N/A]", "[Not Supported]", "0x", "8", "0x1\n0x1", "0x" + 17 * "1"):
        assert parse_clock_reasons(text) is None


def test_processes_of_a_gpu():
    assert parse_processes("") == []
    assert parse_processes("123\n 4567 \n") == [123, 4567]
    for text in ("[Not Supported]", "123\n[N/A]", "-1", "0", "9" * 5000):
        assert parse_processes(text) is None


# A driver that knows one of the two names refuses a query that holds the other one.
SMI = """case "$*" in
*temperature.gpu*) echo "41, 68.31, 345, 7, 0";;
*{known}*) echo 0x0000000000000044;;
*compute-apps=pid*) echo {pid};;
*) echo "Field is not a valid field to query."; exit 2;;
esac"""


@pytest.mark.parametrize("known", ["clocks_event_reasons.active", "clocks_throttle_reasons.active"])
def test_a_gpu_that_is_hot_and_shared(tool, known):
    tool("nvidia-smi", SMI.format(known=known, pid=os.getppid()))
    health = gpu_health("0")
    assert health["slowdowns"] == ["hardware thermal slowdown"]
    assert health["other_processes"] == [os.getppid()]
    assert health["temperature_c"] == 41.0


def test_a_gpu_that_tells_little(tool):
    tool("nvidia-smi", SMI.format(known="nothing", pid="'[Not Supported]'"))
    health = gpu_health("0")
    assert "unknown" not in health
    assert not health.keys() & {"slowdowns", "other_processes"}


def test_another_process_on_an_npu(tool):
    table = A2.replace("12345", str(os.getppid()))
    tool("npu-smi", f"cat <<'END'\n{table}END")
    assert npu_health(0)["other_processes"] == [os.getppid()]
    assert not npu_health(1)["other_processes"]


def test_the_gpu_is_asked_for_by_name(tool):
    tool("nvidia-smi", 'case "$1" in --id=GPU-abc) echo "41, 68.31, 345, 7, 0";; *) exit 6;; esac')
    assert gpu_health("GPU-abc")["utilization_percent"] == 7.0
    assert gpu_health("1")["unknown"].startswith("nvidia-smi ended with status 6")


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("exec sleep 60", "did not answer within 0.2 s"),
        ("sleep 60; true", "did not answer within 0.2 s"),
        ("echo broken >&2; exit 3", "ended with status 3: broken"),
        ("printf '\\377\\376'", "lists 0 NPUs"),
    ],
)
def test_a_tool_that_fails_is_told_and_not_waited_for(tool, monkeypatch, script, said):
    monkeypatch.setattr(vendor_tool, "_TIMEOUT_S", 0.2)
    tool("npu-smi", script)
    start_s = time.monotonic()
    assert said in npu_health(0)["unknown"]
    assert time.monotonic() - start_s < 5


def test_a_tool_that_is_not_there(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert npu_health(0) == {
        "tool": "npu-smi", "version": None, "unknown": "npu-smi is not installed",
    }  # fmt: skip
    assert gpu_health("0") == {"tool": "nvidia-smi", "unknown": "nvidia-smi is not installed"}
    (tmp_path / "npu-smi").write_text("no program")
    assert npu_health(0)["unknown"].startswith("npu-smi cannot be started")
