"""A mount namespace of one's own: what is mounted in it vanishes with the process."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

_VARIABLE = "MODELTEST_GATE_NAMESPACE"


def missing_tool() -> str:
    """Why folders cannot be mounted here, or empty."""
    if not (shutil.which("unshare") and shutil.which("mount")):
        return "unshare or mount is not installed (apt-get install util-linux mount)"
    done = subprocess.run(["unshare", "-m", "true"], capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else f"unshare -m does not work: {done.stderr.strip()}"


def enter_namespace() -> None:
    """Starts this script again inside `unshare -m`; returns when it runs there."""
    if not os.environ.get(_VARIABLE):
        os.environ[_VARIABLE] = "1"
        os.execvp("unshare", ["unshare", "-m", sys.executable, *sys.argv])


def mount_tmpfs(folder: Path, kib: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    _mount("-t", "tmpfs", "-o", f"size={kib}k", "none", str(folder))


def grow_tmpfs(folder: Path, kib: int) -> None:
    _mount("-o", f"remount,size={kib}k", str(folder))


def mount_read_only(folder: Path) -> None:
    _mount("--bind", str(folder), str(folder))
    _mount("-o", "remount,bind,ro", str(folder))


def unmount(folder: Path) -> None:
    subprocess.run(["umount", str(folder)], check=True, capture_output=True)


def _mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True, capture_output=True)
