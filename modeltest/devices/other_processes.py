"""Which of the processes that a vendor's tool shows on a device belong to somebody else.

Processes of another PID namespace are the trouble: in a container a tool shows the host's numbers,
this container's, or none, by driver and set-up. So a number counts as another's only where a
process has it here, and an empty list as the truth only where this is the machine's own namespace.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path

_PROC = Path("/proc")
# The inode that Linux gives the first PID namespace (PROC_PID_INIT_INO, linux/proc_ns.h).
_MACHINES_OWN = f"pid:[{0xEFFFFFFC}]"


def other_processes(listed: Collection[int], proc: Path = _PROC) -> list[int] | None:
    """Those of the listed processes that neither are this one nor were started by it.

    Args:
        listed: Numbers of all processes on the device, as the tool shows them.
        proc: Where Linux shows its processes, proc(5).

    Returns:
        The others; empty where there is none for certain, None where nobody can tell.
    """
    owners = {pid: _is_own(pid, proc) for pid in listed}
    others = sorted(pid for pid, is_own in owners.items() if is_own is False)
    if others:
        return others
    all_known = None not in owners.values()
    return [] if all_known and _sees_the_whole_machine(proc) else None


def _is_own(pid: int, proc: Path) -> bool | None:
    """Whether this process is it or one of its ancestors; None where there is no such process."""
    seen: set[int] = set()
    while pid > 0 and pid not in seen:  # another parent may have taken over in the meantime
        if pid == os.getpid():
            return True
        seen.add(pid)
        parent = _parent(pid, proc)
        if parent is None:
            return None
        pid = parent
    return False


def _parent(pid: int, proc: Path) -> int | None:
    try:
        text = (proc / str(pid) / "stat").read_text(encoding="ascii", errors="replace")
        # proc_pid_stat(5): number, (name, which may hold anything), state, parent.
        return int(text.rpartition(")")[2].split()[1])
    except (OSError, ValueError, IndexError):
        return None


def _sees_the_whole_machine(proc: Path) -> bool:
    try:
        return os.readlink(proc / "self" / "ns" / "pid") == _MACHINES_OWN
    except OSError:
        return False
