"""Expected pairs are those of the vendors' tables, as docs/devices.md cites them."""

import re
from pathlib import Path

import pytest

from modeltest.devices.ascend_products import is_300i_duo, refuse_tensor_parallel
from modeltest.devices.cann import cann_version
from modeltest.devices.version_sets import (
    CANN_OF_TORCH_NPU,
    KNOWN_SETS,
    cann_complaint,
    driver_complaint,
    known_set,
    numbers,
    torch_npu_complaint,
)
from modeltest.errors import UsageError

DOCUMENT = Path(__file__).parents[3] / "docs" / "devices.md"


@pytest.mark.parametrize(
    ("version", "parts"),
    [
        ("2.13.0+cpu", (2, 13, 0)),
        ("2.10.0.post4", (2, 10, 0)),
        ("8.3.RC1", (8, 3)),
        ("26.0.rc1", (26, 0)),
        ("dev", ()),
    ],
)
def test_the_numbers_of_a_version(version, parts):
    assert numbers(version) == parts


def test_torch_and_torch_npu_are_of_one_version():
    assert torch_npu_complaint("2.10.0+cpu", "2.10.0.post4") == ""
    assert "2.9.1" in torch_npu_complaint("2.9.0", "2.9.1")
    assert torch_npu_complaint("2.13.0", "2.12.0.post2") != ""


def test_torch_npu_names_its_cann():
    assert cann_complaint("2.10.0.post4", "9.1.0") == ""
    assert cann_complaint("2.7.1", "8.3.RC1") == ""
    assert cann_complaint("2.9.0", "8.5.1") == "", "a patch release apart"
    assert cann_complaint("2.10.0", "9.1.0") == "torch_npu 2.10.0 was made for CANN 9.0.0"
    assert "no table" in cann_complaint("2.13.0", "9.1.0"), "a guess is not a table"


def test_cann_names_its_drivers():
    assert driver_complaint("9.1.0", "25.2.0") == ""
    assert driver_complaint("9.1.0", "26.0.rc1") == ""
    assert driver_complaint("9.0.0", "25.0.rc1.1") == ""
    assert driver_complaint("9.1.0", "25.0.5") == (
        "CANN 9.1.0 wants a driver from 25.2 to 26.1, this is 25.0.5"
    )
    assert driver_complaint("8.5.2", "24.1.0") != ""
    assert driver_complaint("8.0.RC3", "24.1.0") == "", "nothing is known of it"


def test_sets_that_are_run_together():
    assert "CPU" in known_set("2.13.0+cpu", "5.23.0").source
    assert known_set("2.13.0+cu130", "4.46.2") is not None
    assert known_set("2.12.0", "5.23.0") is None
    on_npu = known_set("2.13.0", "5.23.0", "2.13.0", "")
    assert "simulated" in on_npu.source
    assert "never run on Ascend" in on_npu.source
    assert known_set("2.10.0+cpu", "5.14.1", "2.10.0.post4", "9.1.0") is not None
    assert known_set("2.10.0", "5.14.1", "2.10.0.post4", "9.0.0") is None


def test_the_document_has_the_same_tables():
    text = DOCUMENT.read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| (2\.[\w.]+) \| ([89]\.[\w.]+) \|$", text, re.MULTILINE))
    assert rows == CANN_OF_TORCH_NPU
    for known in KNOWN_SETS:
        assert known.torch in text
        assert known.transformers in text


@pytest.mark.parametrize("name", ["Ascend310P3", "310P3", "Ascend310P1", "Atlas 300I DUO"])
def test_a_300i_duo_takes_no_part_in_tensor_parallelism(name):
    assert is_300i_duo(name)
    refuse_tensor_parallel(name, 1)
    for tp in (2, 4):
        with pytest.raises(UsageError, match=rf"--tp {tp}: {name} .*feature matrix") as caught:
            refuse_tensor_parallel(name, tp)
        assert caught.value.exit_code == 2


@pytest.mark.parametrize("name", ["Ascend910B3", "910B4", "Ascend910", "Ascend310B4", "H100", ""])
def test_other_devices_may(name):
    assert not is_300i_duo(name)
    refuse_tensor_parallel(name, 8)


@pytest.mark.parametrize(
    "place",
    [
        "cann/aarch64-linux/ascend_toolkit_install.info",
        "cann/x86_64-linux/ascend_cann_install.info",
        "cann/ascend_nnae_install.info",
    ],
)
def test_cann_tells_its_version_in_a_file(tmp_path, place):
    file = tmp_path / place
    file.parent.mkdir(parents=True)
    file.write_text("package_name=Ascend-cann-toolkit\nversion=8.5.1\ninnerversion=V100R001\n")
    home = tmp_path / "cann"
    assert cann_version({}, (home,)) == "8.5.1"
    assert cann_version({"ASCEND_HOME_PATH": str(home)}, ()) == "8.5.1"
    assert cann_version({"ASCEND_TOOLKIT_HOME": str(home)}, ()) == "8.5.1"
    assert cann_version({}, (tmp_path / "other",)) is None
    file.write_text("nothing of use")
    assert cann_version({}, (home,)) is None


def test_the_cann_in_use_counts_before_the_one_installed(tmp_path):
    for name, version in (("used", "9.1.0"), ("installed", "8.5.0")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "ascend_toolkit_install.info").write_text(f"version={version}\n")
    environ = {"ASCEND_HOME_PATH": str(tmp_path / "used")}
    assert cann_version(environ, (tmp_path / "installed",)) == "9.1.0"
