"""What modeltest's own source must never hold, looked for in its syntax tree."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "modeltest"
SOURCES = sorted(path for path in PACKAGE.rglob("*.py") if "assets" not in path.parts)
MODULES = {
    "pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "marshal", "shelve",
    "multiprocessing", "tarfile", "zipfile", "imp", "runpy", "code", "codeop", "pty",
}  # fmt: skip
MODULE_OWNERS = {
    "jinja2": {"reports/html.py"},
    "yaml": {"settings/yaml_text.py"},
    "subprocess": {
        "runlog/source_facts.py",
        "devices/outside_call.py",
        "audio/child_process.py",
        "runner/child.py",
        "cli/tensor_parallel.py",
    },
    "ray": {"runner/parallel/ray_crew.py"},
    "ctypes": {"audio/child_process.py", "audio/decode_child.py"},
}
BUILT_INS = {"eval", "exec", "compile", "__import__", "execfile", "input"}
# A dialogue waits for its user; nothing else may.
BUILT_IN_OWNERS = {"input": {"cli/dialogue.py"}}
ATTRIBUTES = {
    "os.system", "os.popen", "os.spawnl", "os.spawnv", "os.spawnvp", "os.execl", "os.execv",
    "os.execvp", "subprocess.getoutput", "subprocess.getstatusoutput", "tempfile.mktemp",
    "torch.load", "yaml.load", "yaml.load_all", "yaml.unsafe_load", "yaml.full_load",
    "yaml.UnsafeLoader", "yaml.FullLoader", "yaml.Loader", "yaml.CLoader",
    "np.load", "numpy.load", "pd.read_pickle", "pandas.read_pickle", "pandas.eval", "pd.eval",
    "pickle.loads", "importlib.import_module", "torch.hub", "logging.config",
}  # fmt: skip
KEYWORDS = {
    "shell": {False}, "allow_pickle": {False}, "trust_remote_code": {False},
    "local_files_only": {True}, "use_safetensors": {True}, "weights_only": {True},
    "verify": {True}, "follow_redirects": {False},
}  # fmt: skip
# Checks certificates unless the user's settings say `verify: false`, which every report shows.
KEYWORD_OWNERS = {
    "verify=tls_context(settings.authorities)": {"backends/service/transport.py"},
}
LOADERS = {"from_pretrained"}


def faults(tree: ast.AST, name: str) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield from _import_faults(node, name)
        elif isinstance(node, ast.Assert):
            yield "an assert is no check: python -O leaves it out"
        elif isinstance(node, ast.Name) and node.id == "__debug__":
            yield "__debug__ differs under python -O"
        elif isinstance(node, ast.Attribute) and ast.unparse(node) in ATTRIBUTES:
            yield ast.unparse(node)
        elif isinstance(node, ast.Call):
            yield from _call_faults(node, name)


def _import_faults(node: ast.Import | ast.ImportFrom, name: str) -> Iterator[str]:
    modules = [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        yield from (n for n in (f"{node.module}.{m}" for m in modules) if n in ATTRIBUTES)
        modules = [node.module or ""]
    for module in (module.split(".")[0] for module in modules):
        if module in MODULES or name not in MODULE_OWNERS.get(module, {name}):
            yield f"import of {module}"


def _call_faults(node: ast.Call, name: str) -> Iterator[str]:
    called = node.func.id if isinstance(node.func, ast.Name) else ""
    if called in BUILT_INS and name not in BUILT_IN_OWNERS.get(called, ()):
        yield called
    given = {keyword.arg: keyword.value for keyword in node.keywords}
    for key in KEYWORDS.keys() & given.keys():
        value = given[key]
        spelled = f"{key}={ast.unparse(value)}"
        is_allowed = isinstance(value, ast.Constant) and value.value in KEYWORDS[key]
        if not is_allowed and name not in KEYWORD_OWNERS.get(spelled, ()):
            yield spelled
    if isinstance(node.func, ast.Attribute) and node.func.attr in LOADERS:
        is_torch = ast.unparse(node.func.value).startswith("torch.")  # an embedding's, of a tensor
        if not is_torch and "local_files_only" not in given:
            yield f"{ast.unparse(node.func)} without local_files_only=True"
        if not is_torch and ast.unparse(node.func.value).endswith("ForConditionalGeneration"):
            missing = {"use_safetensors", "trust_remote_code"} - given.keys()
            yield from (f"{ast.unparse(node.func)} without {key}" for key in sorted(missing))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_the_source_holds_nothing_banned(path):
    name = path.relative_to(PACKAGE).as_posix()
    assert list(faults(ast.parse(path.read_text(encoding="utf-8")), name)) == []


@pytest.mark.parametrize(
    "canary",
    [
        "eval('1')",
        "exec(text)",
        "compile(text, '', 'exec')",
        "__import__(name)",
        "import pickle",
        "from pickle import loads",
        "import multiprocessing.pool",
        "import tarfile",
        "import os\nos.system('x')",
        "from os import system",
        "os.popen('x')",
        "import subprocess",
        "subprocess.run('x', shell=True)",
        "subprocess.run('x', shell=flag)",
        "numpy.load('x', allow_pickle=True)",
        "np.load('x')",
        "torch.load('x')",
        "yaml.load(text, Loader)",
        "class L(yaml.Loader): pass",
        "import yaml",
        "tempfile.mktemp()",
        "import jinja2",
        "from jinja2 import Template",
        "assert x",
        "if __debug__: pass",
        "model.from_pretrained(path)",
        "model.from_pretrained(path, local_files_only=False)",
        "AutoX.from_pretrained(path, local_files_only=True, trust_remote_code=True)",
        "Q.XForConditionalGeneration.from_pretrained(path, local_files_only=True)",
        "pandas.read_pickle('x')",
        "importlib.import_module(name)",
    ],
)
def test_the_gate_sees(canary):
    assert list(faults(ast.parse(canary), "runner/new.py"))


def test_owners_are_files_that_exist():
    owners = {owner for owners in MODULE_OWNERS.values() for owner in owners}
    assert {owner for owner in owners if not (PACKAGE / owner).is_file()} <= {
        "audio/child_process.py",
        "audio/decode_child.py",
    }
