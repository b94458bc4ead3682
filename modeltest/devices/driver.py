"""Driver versions, read from the files that the drivers install; no tool is started."""

from __future__ import annotations

import re
from pathlib import Path

# "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar  5 …"
NVIDIA_FILE = Path("/proc/driver/nvidia/version")
# "Version=24.1.0.3" among other lines.
ASCEND_FILE = Path("/usr/local/Ascend/driver/version.info")


def nvidia_driver(path: Path = NVIDIA_FILE) -> str | None:
    """The kernel module's version, or None where the file does not say."""
    return _find(path, r"^NVRM version:.*?\s(\d+(?:\.\d+)+)\s")


def ascend_driver(path: Path = ASCEND_FILE) -> str | None:
    """The Ascend driver's version, or None where the file does not say."""
    return _find(path, r"^[Vv]ersion=(\S+)")


def _find(path: Path, pattern: str) -> str | None:
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    found = re.search(pattern, text, re.MULTILINE)
    return found.group(1) if found else None
