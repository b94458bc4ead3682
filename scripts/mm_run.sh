#!/usr/bin/env bash
# Accuracy of a model on a task: bash scripts/mm_run.sh TASK MODEL [OPTION…]
# Options are those of `modeltest eval`; device variables of the caller stay as they are. The model
# is split over TP_WORLD_SIZE devices, else over all visible ones of the kind that --device takes;
# --tp, --dp and --ray override.
set -euo pipefail

root="$(CDPATH="" cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)"
# shellcheck source=scripts/environment.sh
source "$root/scripts/environment.sh"
# shellcheck source=scripts/ranks.sh
source "$root/scripts/ranks.sh"

if [ "$#" -lt 2 ] || [[ "$1" == -* ]] || [[ "$2" == -* ]]; then
    echo "usage: bash scripts/mm_run.sh TASK MODEL [OPTION…]" >&2
    echo "try:   bash scripts/mm_run.sh vocalsound_mini qwen2_audio_tiny" >&2
    exit 2
fi

EVAL_WORDS=()
add_default_tp "$@" || exit
PYTHON=""
prepare_environment "$root"
printf -v MODELTEST_LAUNCHER 'bash %q' "$root/scripts/mm_run.sh"
export MODELTEST_LAUNCHER # for the command that continues an interrupted run
# Not `-m modeltest`: that would take a folder of that name in the working directory.
exec "$PYTHON" -c 'import sys
sys.path = [path for path in sys.path if path]
from modeltest.cli.main import console
console()' eval "${EVAL_WORDS[@]}"
