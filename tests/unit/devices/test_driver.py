"""The texts are what the drivers install, from their public documentation."""

from modeltest.devices.driver import ascend_driver, nvidia_driver

NVIDIA = """\
NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar  5 22:23:56 UTC 2024
GCC version:  gcc version 11.4.0 (Ubuntu 11.4.0-1ubuntu1~22.04)
"""
OPEN_MODULE = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  570.86.15  Release Build\n"
ASCEND = """\
Version=24.1.0.3
ascendhal_version=7.35.23
package_version=24.1.0.3
"""


def test_the_version_is_taken_out_of_the_driver_s_file(tmp_path):
    file = tmp_path / "version"
    for read, text, version in (
        (nvidia_driver, NVIDIA, "550.54.15"),
        (nvidia_driver, OPEN_MODULE, "570.86.15"),
        (ascend_driver, ASCEND, "24.1.0.3"),
    ):
        file.write_text(text)
        assert read(file) == version


def test_no_file_or_another_text_is_not_a_version(tmp_path):
    other = tmp_path / "other"
    other.write_bytes(b"\xff\xfe nothing of use")
    for read in (nvidia_driver, ascend_driver):
        assert read(tmp_path / "missing") is None
        assert read(other) is None
        assert read(tmp_path) is None
