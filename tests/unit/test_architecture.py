"""The architecture as tests: imports go one way, files stay small, start-up stays light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "modeltest"
SIBLINGS = ("audio", "devices", "backends", "tasks", "metrics", "runlog")
FOUNDATION = {"records", "errors", "plain_files", "protocols"}
MAY_IMPORT = {
    "records": set(),
    "errors": set(),
    "plain_files": set(),
    "protocols": {"records"},
    "settings": FOUNDATION,
    **{name: FOUNDATION | {"settings"} for name in SIBLINGS},
    "runner": FOUNDATION | {"settings", *SIBLINGS},
    "reports": {"records", "errors", "metrics", "runlog"},
    "service": FOUNDATION | {"settings", "audio", "runner"},
    "cli": FOUNDATION | {"settings", *SIBLINGS, "runner", "reports", "service"},
    "api": {"cli", "reports", "runlog"},
    "__main__": {"cli"},
}
SOURCES = sorted(path for path in PACKAGE.rglob("*.py") if "assets" not in path.parts)


def part_of(path: Path) -> str:
    relative = path.relative_to(PACKAGE)
    return relative.parts[0] if len(relative.parts) > 1 else relative.stem


def imported_modules(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names |= {node.module or ""} | {f"{node.module}.{a.name}" for a in node.names}
    return names


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_one_way(path: Path) -> None:
    part = part_of(path)
    if part == "__init__":
        return
    parts = {name.split(".")[1] for name in imported_modules(path) if name.startswith("modeltest.")}
    parts.discard("__version__")
    assert parts - {part} <= MAY_IMPORT[part]


def test_every_part_has_a_rule() -> None:
    assert {part_of(path) for path in SOURCES} - {"__init__"} == set(MAY_IMPORT)


@pytest.mark.parametrize(
    ("library", "owners"),
    [
        ("torch_npu", {"devices"}),
        ("soundfile", {"audio"}),
        ("librosa", {"audio"}),
        ("transformers", {"backends"}),
        ("pydantic", {"settings", "service"}),
        ("fastapi", {"service"}),
        ("starlette", {"service"}),
        ("uvicorn", {"service"}),
        ("prometheus_client", {"service"}),
        ("ray", {"runner"}),
        ("jiwer", {"tasks"}),
        ("rapidfuzz", {"metrics"}),
    ],
)
def test_a_library_has_one_owner(library: str, owners: set[str]) -> None:
    users = {
        part_of(path)
        for path in SOURCES
        if any(name.split(".")[0] == library for name in imported_modules(path))
    }
    assert users == owners


DEVICE_KINDS = {"cpu", "cuda", "npu", "gpu", "mps", "xpu"}


def compared_with_a_device_kind(tree: ast.AST) -> list[str]:
    """Code that does one thing on this kind of device and another on that."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare):
            compared: list[ast.AST] = [node.left, *node.comparators]
        elif isinstance(node, ast.match_case):
            compared = [node.pattern]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            compared = list(node.args) if node.func.attr in {"startswith", "endswith"} else []
        else:
            continue
        texts = {
            part.value.lower().rstrip(":")
            for whole in compared
            for part in ast.walk(whole)
            if isinstance(part, ast.Constant) and isinstance(part.value, str)
        }
        found += [ast.unparse(node) for _ in texts & DEVICE_KINDS][:1]
    return found


@pytest.mark.parametrize(
    "path",
    [
        *(path for path in SOURCES if part_of(path) != "devices"),
        *sorted((PACKAGE.parent / "benchmarks").rglob("*.py")),
        *sorted((PACKAGE.parent / "tools").rglob("*.py")),
    ],
    ids=lambda path: str(path.relative_to(PACKAGE.parent)),
)
def test_only_devices_know_kinds_of_devices(path: Path) -> None:
    assert compared_with_a_device_kind(ast.parse(path.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize(
    "code",
    [
        "if device == 'cuda': pass",
        "x = 1 if 'npu' != device.kind else 2",
        "device.type in ('cuda', 'npu')",
        "name.startswith('cuda')",
        "name.startswith(('npu:', 'x'))",
        "match kind:\n    case 'CPU' | 'x': pass",
    ],
)
def test_a_comparison_with_a_device_kind_is_seen(code: str) -> None:
    assert len(compared_with_a_device_kind(ast.parse(code))) == 1


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_files_stay_readable(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 600


def test_the_command_line_loads_nothing_heavy() -> None:
    code = "import sys, modeltest.cli.main; print(' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "modeltest.cli.evaluate" in loaded
    assert not loaded & {"torch", "pandas", "librosa", "transformers", "numpy", "pydantic", "yaml"}


def test_the_package_itself_loads_nothing_heavy() -> None:
    code = "import sys, modeltest; print(' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert {name for name in loaded if name.startswith("modeltest")} == {
        "modeltest",
        "modeltest.errors",
    }
    assert not loaded & {"argparse", "numpy", "pandas", "torch", "tqdm"}


def test_looking_at_the_python_interface_loads_no_model_library() -> None:
    code = "import sys, modeltest; modeltest.evaluate, modeltest.Run; print(' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "modeltest.api" in loaded
    assert not loaded & {"torch", "pandas", "librosa", "transformers"}
