"""The version of CANN, read from the files that its installers leave; nothing is started."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

_HOMES = ("ASCEND_HOME_PATH", "ASCEND_TOOLKIT_HOME")
# Of CANN 8.5 and later, and of earlier ones (CANN's installation guide, "File Paths").
_FOLDERS = (Path("/usr/local/Ascend/cann"), Path("/usr/local/Ascend/ascend-toolkit/latest"))
_FILES = ("*-linux/ascend_*_install.info", "ascend_*_install.info")
_VERSION = re.compile(r"^version=(\S+)", re.MULTILINE)


def cann_version(environ: Mapping[str, str], folders: tuple[Path, ...] = _FOLDERS) -> str | None:
    """The version of the CANN that this process would use, or else of the one installed.

    Args:
        environ: Its `set_env.sh` names the folder there.
        folders: Where to look after that.

    Returns:
        For example `8.5.0`, or None where none is found.
    """
    homes = [Path(environ[name]) for name in _HOMES if environ.get(name)]
    for file in _install_files([*homes, *folders]):
        try:
            text = file.read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        if found := _VERSION.search(text):
            return found.group(1)
    return None


def _install_files(folders: list[Path]) -> Iterator[Path]:
    for folder in folders:
        for pattern in _FILES:
            yield from sorted(folder.glob(pattern))
