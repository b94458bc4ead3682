"""Which modeltest this is: version, commit, and whether its source has local changes."""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path
from typing import Any

import modeltest

_TIMEOUT_S = 10
_LONGEST_REASON = 200


def tool_facts() -> dict[str, Any]:
    """Version, commit and local changes of the modeltest that runs.

    Returns:
        `version`, `commit` and `dirty`; the last two are None where there is no git working
        tree. `unchecked` says why a working tree could not be looked at, and is else None.
    """
    checkout = Path(modeltest.__file__).resolve().parents[1]
    facts: dict[str, Any] = {
        "version": modeltest.__version__,
        "commit": None,
        "dirty": None,
        "unchecked": None,
    }
    if not os.path.lexists(checkout / ".git"):
        return facts
    try:
        commit = _git(checkout, "rev-parse", "HEAD")
        # Settings are recorded themselves: an edited config/ does not change the tool.
        changes = _git(checkout, "status", "--porcelain", "--untracked-files", "--", "modeltest")
        return {**facts, "commit": commit, "dirty": bool(changes)}
    except subprocess.CalledProcessError as error:
        said = " ".join(str(error.stderr).split()) or f"exit status {error.returncode}"
        return {**facts, "unchecked": f"git: {said}"[:_LONGEST_REASON]}
    except (OSError, subprocess.SubprocessError) as error:
        return {**facts, "unchecked": f"git: {type(error).__name__}"}


def source_sha256() -> str:
    """Digest of every source file of the modeltest that runs, names included."""
    folder = Path(modeltest.__file__).resolve().parent
    whole = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        name = path.relative_to(folder).as_posix()
        whole.update(f"{name} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return whole.hexdigest()


def _git(checkout: Path, *arguments: str) -> str:
    # A checkout of another owner, as containers have it, is modeltest's own all the same.
    # What its configuration could make git run is turned off.
    settings = (f"safe.directory={checkout}", "core.fsmonitor=false")
    options = [word for setting in settings for word in ("-c", setting)]
    # A caller's GIT_DIR, or a repository further up, is not about this source.
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    environment["GIT_CEILING_DIRECTORIES"] = str(checkout.parent)
    done = subprocess.run(
        ["git", "-C", str(checkout), *options, *arguments],
        capture_output=True,
        text=True,
        errors="replace",
        timeout=_TIMEOUT_S,
        check=True,
        env=environment,
    )
    return done.stdout.strip()
