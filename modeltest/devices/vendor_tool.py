"""Asks a vendor's command-line tool, which may be missing, slow or broken."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence

_TIMEOUT_S = 5
_MOST_CHARACTERS = 200_000


def ask_tool(command: Sequence[str]) -> tuple[str, str]:
    """Runs a tool that reports.

    Args:
        command: Program and arguments; no shell.

    Returns:
        What it printed, and why nothing is known, one of them empty.
    """
    name = command[0]
    try:
        done = subprocess.run(
            list(command),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_TIMEOUT_S,
            check=False,
        )
    except FileNotFoundError:
        return "", f"{name} is not installed"
    except subprocess.TimeoutExpired:
        return "", f"{name} did not answer within {_TIMEOUT_S} s"
    except OSError as error:
        return "", f"{name} cannot be started ({error.strerror})"
    if done.returncode:
        said = " ".join((done.stderr or done.stdout).split())[:200]
        return "", f"{name} ended with status {done.returncode}: {said}"
    return done.stdout[:_MOST_CHARACTERS], ""
