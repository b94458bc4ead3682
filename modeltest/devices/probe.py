"""What this machine's torch can use, found out without risking this process.

Where torch_npu is installed but CANN is not, a plain `import torch` fails. So torch is
imported in a child process first whenever torch_npu is there.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from dataclasses import dataclass

_PROBE_TIMEOUT_S = 120
_PROBE = """
import json
found = {"cuda": False, "npu": False, "torch": "", "error": ""}
try:
    import torch
    found["torch"] = torch.__version__
    found["cuda"] = bool(torch.cuda.is_available())
    found["npu"] = bool(hasattr(torch, "npu") and torch.npu.is_available())
except Exception as error:
    cause = error.__cause__ or error.__context__
    found["error"] = f"{error}" + (f" ({cause})" if cause else "")
print(json.dumps(found))
"""


@dataclass(frozen=True, slots=True)
class Probe:
    """What torch reported.

    Attributes:
        torch_version: Empty when torch cannot be imported or is not installed.
        cuda: A CUDA device can be used.
        npu: An Ascend NPU can be used.
        error: Why torch could not be imported, or empty.
        torch_npu: torch_npu is installed; then it is the likely cause of an error, and
            torch may be usable without it.
    """

    torch_version: str
    cuda: bool
    npu: bool
    error: str = ""
    torch_npu: bool = False


def probe() -> Probe:
    """Imports torch in a child process and reports what it sees.

    Without torch_npu installed the import is safe and happens in this process, which
    saves the seconds that a second import takes.
    """
    if importlib.util.find_spec("torch") is None:
        return Probe("", cuda=False, npu=False, error="torch is not installed")
    if not torch_npu_installed():
        import torch

        return Probe(torch.__version__, cuda=bool(torch.cuda.is_available()), npu=False)
    try:
        child = subprocess.run(
            [sys.executable, "-c", _PROBE],
            capture_output=True,
            text=True,
            timeout=_PROBE_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        error = f"importing torch took over {_PROBE_TIMEOUT_S} s"
        return Probe("", cuda=False, npu=False, error=error, torch_npu=True)
    try:
        found = json.loads(child.stdout.strip().splitlines()[-1])
    except (IndexError, json.JSONDecodeError):
        last = child.stderr.strip().splitlines()[-1:] or [f"exit code {child.returncode}"]
        error = f"importing torch failed: {last[0]}"
        return Probe("", cuda=False, npu=False, error=error, torch_npu=True)
    error = " ".join(found["error"].split())
    return Probe(found["torch"], found["cuda"], found["npu"], error, torch_npu=True)


def torch_npu_installed() -> bool:
    """Whether torch_npu is there, usable or not; it is not imported."""
    return importlib.util.find_spec("torch_npu") is not None


def hide_torch_npu() -> None:
    """Lets torch and transformers import although torch_npu cannot.

    torch must not load its backend extensions, and transformers must not find the
    broken package; both have to be set before either is imported.
    """
    os.environ["TORCH_DEVICE_BACKEND_AUTOLOAD"] = "0"
    # None in sys.modules makes `import torch_npu` an ordinary ImportError.
    sys.modules["torch_npu"] = None  # type: ignore[assignment]
