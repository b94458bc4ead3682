"""Builds what the simulated NPUs need, once per version, in a folder that outlives test runs.

    eval "$(python tests/npu_simulator/prepare.py behaviour CACHE)"   a device that computes
    eval "$(python tests/npu_simulator/prepare.py contract CACHE)"    torch_npu on a stub CANN

Each prints the environment variables under which `python -m modeltest …` sees the device.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path

TORCH_NPU = "torch_npu==2.13.0"
STUB_VERSION = "0.0.0-simulated"
# What this torch_npu is linked with: one library has everything, the others only need it.
STUB_LIBRARY = "libascendcl"
NAMED_LIBRARIES = (
    "libhccl", "libacl_op_compiler", "libge_runner", "libgraph", "libacl_tdt_channel",
)  # fmt: skip
_HERE = Path(__file__).parent
_DEVICE = _HERE / "behaviour" / "npu_device.cpp"
_STUB = _HERE / "contract" / "stub_cann.c"
# No optimisation: it would take longer than it saves.
_CXX_FLAGS = ("-std=c++20", "-O0", "-shared", "-fPIC")
_CC_FLAGS = ("-O0", "-shared", "-fPIC")


def behaviour_environment(cache: Path) -> dict[str, str]:
    """The variables for a device that computes; builds it with the C++ compiler.

    Raises:
        RuntimeError: It cannot be built; says what the compiler said.
    """
    torch = _torch_folder()
    key = _key(_DEVICE.read_bytes(), metadata.version("torch"), platform.machine(), *_CXX_FLAGS)

    def build(folder: Path) -> None:
        libraries = torch / "lib"
        _run(
            [
                os.environ.get("CXX", "c++"), *_CXX_FLAGS, f"-isystem{torch / 'include'}",
                str(_DEVICE), "-o", str(folder / "npu_device.so"),
                f"-L{libraries}", f"-Wl,-rpath,{libraries}", "-ltorch_cpu", "-lc10",
            ]
        )  # fmt: skip

    library = _once(cache / f"npu-device-{key}", build) / "npu_device.so"
    packages = _HERE / "behaviour" / "packages"
    return {"PYTHONPATH": str(packages), "NPUSIM_LIBRARY": str(library)}


def wheel_environment(cache: Path) -> dict[str, str]:
    """The variables that show the real torch_npu, which needs CANN; pip fetches it.

    Raises:
        RuntimeError: It cannot be fetched; says what pip said.
    """
    name = f"{TORCH_NPU.replace('==', '-')}-{sys.implementation.cache_tag}-{platform.machine()}"

    def fetch(folder: Path) -> None:
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
        _run([*pip, "install", "--no-deps", "--target", str(folder), TORCH_NPU])

    folder = _once(cache / name, fetch)
    return {"PYTHONPATH": str(folder)}


def contract_environment(cache: Path, num_devices: int = 2) -> dict[str, str]:
    """The variables for the real torch_npu on a CANN that only pretends; raises as the others."""
    key = _key(_STUB.read_bytes(), platform.machine(), STUB_VERSION, *_CC_FLAGS, *NAMED_LIBRARIES)

    def build(folder: Path) -> None:
        for part in ("runtime", "compiler", "opp", "lib64", "info-linux"):
            (folder / part).mkdir()
        install_info = folder / "info-linux" / "ascend_toolkit_install.info"
        install_info.write_text(f"version={STUB_VERSION}\n", encoding="ascii")

        def link(name: str, *what: str) -> None:
            output = f"-Wl,-soname,{name}.so", "-o", str(folder / "lib64" / f"{name}.so")
            _run([os.environ.get("CC", "cc"), *_CC_FLAGS, *output, *what])

        link(STUB_LIBRARY, str(_STUB))
        for name in NAMED_LIBRARIES:
            link(name, "-Wl,--no-as-needed", str(folder / "lib64" / f"{STUB_LIBRARY}.so"))

    home = _once(cache / f"stub-cann-{key}", build)
    return {
        **wheel_environment(cache),
        "LD_LIBRARY_PATH": str(home / "lib64"),
        "ASCEND_HOME_PATH": str(home),
        "ASCEND_OPP_PATH": str(home / "opp"),
        "CANNSTUB_DEVICES": str(num_devices),
    }


def _torch_folder() -> Path:
    """Where torch lies; it is not imported, since a torch_npu might come with it."""
    found = importlib.util.find_spec("torch")
    if found is None or found.origin is None:
        raise RuntimeError("torch is not installed")
    return Path(found.origin).parent


def _key(*parts: str | bytes) -> str:
    encoded = (part if isinstance(part, bytes) else part.encode() for part in parts)
    return hashlib.sha256(b"\0".join(encoded)).hexdigest()[:16]


def _once(folder: Path, fill: Callable[[Path], None]) -> Path:
    """The folder, filled by whoever comes first; a broken attempt leaves nothing."""
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        attempt = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        try:
            fill(attempt)
            attempt.rename(folder)
        except OSError:
            if not folder.exists():  # else another process was faster
                raise
        finally:
            shutil.rmtree(attempt, ignore_errors=True)
    return folder.resolve()


def _run(command: Sequence[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=280)
    except OSError as error:
        raise RuntimeError(f"{command[0]} cannot be started: {error.strerror}") from error
    if done.returncode:
        said = "\n".join((done.stderr or done.stdout).splitlines()[:20])
        raise RuntimeError(f"{shlex.join(command)} failed:\n{said}")


def main() -> None:
    """Prints `export NAME=VALUE` lines."""
    kinds = {"behaviour": behaviour_environment, "contract": contract_environment}
    if len(sys.argv) != 3 or sys.argv[1] not in kinds:
        sys.exit("usage: prepare.py behaviour|contract CACHE")
    for name, value in kinds[sys.argv[1]](Path(sys.argv[2])).items():
        print(f"export {name}={shlex.quote(value)}")


if __name__ == "__main__":
    main()
