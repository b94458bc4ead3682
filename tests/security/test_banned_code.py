"""What modeltest's own source must never hold, looked for in its syntax tree."""

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "modeltest"
SOURCES = sorted(path for path in PACKAGE.rglob("*.py") if "assets" not in path.parts)
MODULES = {
    "pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "marshal", "shelve",
    "multiprocessing", "multiprocess", "_posixsubprocess", "pexpect", "webbrowser",
    "tarfile", "zipfile", "imp", "runpy", "code", "codeop", "pty",
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
    "ctypes": set(),
}
BUILT_INS = {"eval", "exec", "compile", "__import__", "execfile", "input"}
# A dialogue waits for its user; nothing else may.
BUILT_IN_OWNERS = {"input": {"cli/dialogue.py"}}
# Everything that starts a program or another process of this one.
PROCESSES = {
    "os.system", "os.popen", "os.startfile", "os.posix_spawn", "os.posix_spawnp",
    *(f"os.spawn{how}" for how in ("l", "le", "lp", "lpe", "v", "ve", "vp", "vpe")),
    *(f"os.exec{how}" for how in ("l", "le", "lp", "lpe", "v", "ve", "vp", "vpe")),
    "os.fork", "os.forkpty", "subprocess.getoutput", "subprocess.getstatusoutput",
    "asyncio.create_subprocess_exec", "asyncio.create_subprocess_shell", "asyncio.subprocess",
    "concurrent.futures.ProcessPoolExecutor", "concurrent.futures.process",
    "torch.multiprocessing",
}  # fmt: skip
# A clock that somebody may set, or that the network sets, measures no duration.
CLOCKS = {
    "time.time", "time.time_ns", "time.localtime", "time.gmtime", "time.ctime",
    "time.CLOCK_REALTIME", "datetime.date.today",
    *(f"datetime.datetime.{what}" for what in ("now", "utcnow", "today")),
}  # fmt: skip
ATTRIBUTES = {
    *PROCESSES, *CLOCKS, "tempfile.mktemp",
    "torch.load", "yaml.load", "yaml.load_all", "yaml.unsafe_load", "yaml.full_load",
    "yaml.UnsafeLoader", "yaml.FullLoader", "yaml.Loader", "yaml.CLoader",
    "np.load", "numpy.load", "pd.read_pickle", "pandas.read_pickle", "pandas.eval", "pd.eval",
    "pickle.loads", "importlib.import_module", "torch.hub", "logging.config",
    *(f"builtins.{name}" for name in BUILT_INS),
}  # fmt: skip
ATTRIBUTE_OWNERS = {
    # A checkpoint's template is rendered in a child, which has the loaded processor.
    "os.fork": {"backends/transformers/chat_template.py"},
    # Names of files, and dates in manifests and in replies of the service.
    "time.time_ns": {"runlog/run_log.py"},
    "time.time": {"cli/serve.py", "service/openai_messages.py"},
    "datetime.datetime.now": {
        "cli/parity_sides.py",
        "runner/parity/place.py",
        "runner/start.py",
        "runner/sweep_manifest.py",
        # A service may say by a date of its own how long to wait (Retry-After, RFC 9110).
        "backends/service/transport.py",
    },
}
# Of any object: an event loop has no name of its own.
METHODS = {"subprocess_exec", "subprocess_shell"}
# Where a name that is made at run time could be any of the above.
WHOLE_MODULES = {"os", "builtins", "subprocess", "asyncio", "importlib", "time", "datetime", "sys"}
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
    modules = dict(_bound_names(tree))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield from _import_faults(node, name)
        elif isinstance(node, ast.Assert):
            yield "an assert is no check: python -O leaves it out"
        elif isinstance(node, ast.Name) and node.id == "__debug__":
            yield "__debug__ differs under python -O"
        elif isinstance(node, ast.Attribute):
            yield from _attribute_faults(_dotted(node, modules), name)
            if node.attr in METHODS:
                yield node.attr
        elif isinstance(node, ast.Call):
            yield from _call_faults(node, name)
            yield from _getattr_faults(node, name, modules)


def _bound_names(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """What each name that an import makes stands for: `import numpy as np` is np, numpy."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                whole = alias.name if alias.asname else alias.name.split(".")[0]
                yield alias.asname or whole, whole
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                yield alias.asname or alias.name, f"{node.module}.{alias.name}"


def _dotted(node: ast.expr, modules: Mapping[str, str]) -> str:
    """A name with its attributes, as it is without aliases; something else as it is written."""
    if isinstance(node, ast.Name):
        return modules.get(node.id, node.id)
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value, modules)}.{node.attr}"
    return ast.unparse(node)


def _attribute_faults(dotted: str, name: str) -> Iterator[str]:
    if dotted in ATTRIBUTES and name not in ATTRIBUTE_OWNERS.get(dotted, ()):
        yield dotted


def _getattr_faults(node: ast.Call, name: str, modules: Mapping[str, str]) -> Iterator[str]:
    if _dotted(node.func, modules) not in {"getattr", "builtins.getattr"} or len(node.args) < 2:
        return
    owner, attribute = node.args[:2]
    module = _dotted(owner, modules)
    if isinstance(attribute, ast.Constant):
        yield from _attribute_faults(f"{module}.{attribute.value}", name)
    elif module in WHOLE_MODULES:
        yield f"{module} by a name that is made at run time"


def _import_faults(node: ast.Import | ast.ImportFrom, name: str) -> Iterator[str]:
    modules = [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        for imported in modules:
            yield from _attribute_faults(f"{node.module}.{imported}", name)
            if imported == "*":
                yield f"all of {node.module}"
        modules = [node.module or ""]
    for whole in modules:
        yield from _attribute_faults(whole, name)
        module = whole.split(".")[0]
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
        "import os\nos.execve(program, words, variables)",
        "os.execvpe(program, words, variables)",
        "os.posix_spawn(program, words, variables)",
        "os.posix_spawnp(program, words, variables)",
        "os.spawnlpe(mode, program, word, variables)",
        "os.fork()",
        "os.forkpty()",
        "from os import fork",
        "from os import *",
        "import asyncio\nasyncio.create_subprocess_exec('x')",
        "from asyncio import create_subprocess_shell as start",
        "import asyncio.subprocess",
        "from asyncio import subprocess",
        "loop.subprocess_exec(protocol, 'x')",
        "loop.subprocess_shell(protocol, 'x')",
        "import multiprocessing as m",
        "from multiprocessing import Process",
        "import torch.multiprocessing",
        "from torch import multiprocessing as m",
        "from concurrent.futures import ProcessPoolExecutor",
        "import concurrent.futures as f\nf.ProcessPoolExecutor()",
        "import torch as t\nt.load('x')",
        "import numpy as n\nn.load('x')",
        "from os import system as s",
        "import os as o\no.system('x')",
        "import os\nrun = os.system",
        "import os.path as p, os as o\no.popen('x')",
        "import subprocess as s",
        "import builtins\nbuiltins.eval('1')",
        "from builtins import exec as e",
        "import builtins as b\nb.__import__('os')",
        "import os\ngetattr(os, 'system')('x')",
        "import os as o\ngetattr(o, 'sys' + 'tem')('x')",
        "getattr(os, name)",
        "import builtins\nbuiltins.getattr(builtins, 'eval')",
        "import ctypes",
        "import time\nstart_s = time.time()",
        "import time as clock\nclock.time_ns()",
        "from time import time",
        "import datetime\ndatetime.datetime.now()",
        "from datetime import datetime\ndatetime.utcnow()",
        "from datetime import datetime as d\nd.today()",
        "from datetime import date\ndate.today()",
        "import time\ntime.clock_gettime(time.CLOCK_REALTIME)",
    ],
)
def test_the_gate_sees(canary):
    assert list(faults(ast.parse(canary), "runner/new.py"))


@pytest.mark.parametrize(
    "text",
    [
        "import torch as t\nt.ones(1)",
        "from datetime import datetime, timedelta\ndatetime.fromisoformat(text)",
        "import time\ntime.monotonic() - time.perf_counter()",
        "import time\ntime.clock_gettime(time.CLOCK_MONOTONIC)",
        "import os\ngetattr(os, 'fdatasync', os.fsync)",
        "getattr(torch, name)",
        "model.eval()",
        "import re\nre.compile(pattern)",
        "self.system = load(time)",
    ],
)
def test_the_gate_lets_pass(text):
    assert list(faults(ast.parse(text), "runner/new.py")) == []


def test_an_owner_may_do_one_thing_alone():
    text = "import os, subprocess\nos.fork()"
    assert list(faults(ast.parse(text), "backends/transformers/chat_template.py")) == [
        "import of subprocess"
    ]
    assert list(faults(ast.parse(text), "runner/child.py")) == ["os.fork"]


OWNERS = [
    *(
        (f"import of {module}", owner)
        for module, owners in MODULE_OWNERS.items()
        for owner in owners
    ),
    *((fault, owner) for fault, owners in BUILT_IN_OWNERS.items() for owner in owners),
    *((fault, owner) for fault, owners in ATTRIBUTE_OWNERS.items() for owner in owners),
    *((fault, owner) for fault, owners in KEYWORD_OWNERS.items() for owner in owners),
]


@pytest.mark.parametrize(("fault", "owner"), sorted(OWNERS))
def test_no_file_may_do_what_it_does_not(fault, owner):
    tree = ast.parse((PACKAGE / owner).read_text(encoding="utf-8"))
    assert fault in faults(tree, "none of the owners")
