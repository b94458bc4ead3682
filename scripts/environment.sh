# shellcheck shell=bash
# Sourced by the other scripts: sets PYTHON to an interpreter that can import modeltest.
#
# Uses the caller's Python when modeltest is importable there. Otherwise makes .venv beside
# the project once; a torch that the caller's Python has stays in use and is never touched.

TORCH_FOR_CPU="torch==2.13.0"

fail() {
    echo "modeltest: $*" >&2
    exit 2
}

# has PYTHON MODULE [FOLDER]: whether the interpreter finds the module (below the folder). It is
# not imported, since a torch_npu without CANN makes `import torch` fail; the working directory
# does not count.
has() {
    "$1" -c 'import os, sys, importlib.util as u
sys.path = [path for path in sys.path if path]
found = u.find_spec(sys.argv[1])
inside = sys.argv[2:] == [] or found and os.path.realpath(found.origin or "").startswith(
    os.path.join(os.path.realpath(sys.argv[2]), ""))
sys.exit(not (found and inside))' "${@:2}" 2>/dev/null
}

# prepare_environment ROOT [EXTRA]: sets PYTHON.
prepare_environment() {
    local root="$1" extra="${2:-}" caller="${MODELTEST_PYTHON:-python3}"
    command -v "$caller" >/dev/null || fail "$caller was not found; install Python 3.10 or newer"
    "$caller" -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
        fail "$caller does not work or is older than Python 3.10, which modeltest needs"
    # The original tool is a package of the same name: only this project's own will do.
    if [ -z "$extra" ] && has "$caller" modeltest "$root"; then
        PYTHON="$caller"
        return
    fi
    local venv="$root/.venv"
    PYTHON="$venv/bin/python"
    # What the environment was made from: the project's requirements and the caller's Python.
    local wanted stamp="$venv/.prepared${extra:+-$extra}"
    wanted="$("$caller" -c 'import sys; print(sys.version, sys.prefix)' && cat "$root/pyproject.toml")"
    if is_prepared "$stamp" "$wanted"; then return; fi
    exec 9>"$root/.venv.lock" || fail "$root cannot be written, and .venv is not prepared there"
    if command -v flock >/dev/null; then flock 9; fi
    if ! is_prepared "$stamp" "$wanted"; then
        echo "modeltest: setting up $venv (once, some minutes)" >&2
        make_venv "$caller" "$venv"
        install_project "$root" "$extra"
        echo "$wanted" >"$stamp"
        echo "$wanted" >"$venv/.prepared"
    fi
    exec 9>&-
}

# is_prepared STAMP WANTED: whether the environment was made from what is wanted now.
is_prepared() {
    [ -r "$1" ] && [ "$(<"$1")" = "$2" ]
}

# make_venv CALLER VENV: an environment that also sees the caller's packages.
make_venv() {
    "$1" -m venv --clear --system-site-packages "$2" ||
        fail "$1 -m venv failed; install Python's venv module (Debian: apt-get install python3-venv)"
    # --system-site-packages shows the base interpreter's packages only; a caller who works
    # in an environment of their own wants the torch of that one.
    "$1" - "$2" <<'PYTHON'
import pathlib, sys, sysconfig
if sys.prefix != sys.base_prefix:
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    site = pathlib.Path(sys.argv[1], "lib", version, "site-packages")
    folders = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (site / "caller.pth").write_text("".join(f"{folder}\n" for folder in sorted(folders)))
PYTHON
}

# install_project ROOT EXTRA: torch first when there is none, then modeltest, editable.
install_project() {
    local pip=("$PYTHON" -m pip --disable-pip-version-check --quiet)
    if ! has "$PYTHON" torch; then
        "${pip[@]}" install "$TORCH_FOR_CPU" || fail "installing $TORCH_FOR_CPU failed"
    fi
    local constraints
    constraints="$(mktemp)"
    "$PYTHON" - >"$constraints" <<'PYTHON'
from importlib import metadata
for name in ("torch", "torch_npu"):
    try:
        print(f"{name}=={metadata.version(name)}")
    except metadata.PackageNotFoundError:
        pass
PYTHON
    local done=true
    "${pip[@]}" install --constraint "$constraints" --editable "$1${2:+[$2]}" || done=false
    rm -f "$constraints"
    $done || fail "installing modeltest failed; see above"
}
