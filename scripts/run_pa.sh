#!/usr/bin/env bash
# Answers or speed of Qwen2-Audio on a folder of clips, with the arguments of the original script:
#   bash scripts/run_pa.sh --run WEIGHTS AUDIO_DIR [MAX_BATCH [MAX_IN [MAX_OUT]]] [OPTION…]
#   bash scripts/run_pa.sh --performance WEIGHTS AUDIO_DIR [MAX_BATCH [MAX_IN [MAX_OUT]]] [OPTION…]
# --run prints one answer per file. --performance measures batch sizes 1, 2, 4, 8 and 16, up to
# MAX_BATCH where it is given. Options behind the numbers go to `modeltest chat` or `modeltest perf`;
# device variables of the caller stay as they are.
set -euo pipefail

root="$(CDPATH="" cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)"
# shellcheck source=scripts/environment.sh
source "$root/scripts/environment.sh"

usage() {
    echo "usage: bash scripts/run_pa.sh --run|--performance WEIGHTS AUDIO_DIR [MAX_BATCH [MAX_IN [MAX_OUT]]] [OPTION…]" >&2
    exit 2
}

if [ "${1:-}" = --help ] || [ "${1:-}" = -h ]; then
    sed -n '2,/^set /{s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"
    exit 0
fi

if [ "$#" -lt 3 ] || [[ "$2" == -* ]] || [[ "$3" == -* ]]; then usage; fi
mode="$1" weights="$2" audio="$3"
given=("$mode" "$weights" "$audio")
shift 3
numbers=()
while [ "$#" -gt 0 ] && [[ "$1" != -* ]]; do
    [[ "$1" =~ ^[1-9][0-9]{0,8}$ ]] ||
        fail "MAX_BATCH, MAX_IN and MAX_OUT are positive whole numbers, not '$1'"
    numbers+=("$1")
    shift
done
[ "${#numbers[@]}" -le 3 ] || usage
given+=("${numbers[@]}")
max_batch="${numbers[0]:-16}" max_in="${numbers[1]:-2048}" max_out="${numbers[2]:-256}"

# The value of --set is YAML; in single quotes only a single quote means something.
quote="'"
model=(qwen2_audio --set "model.model_path='${weights//$quote/$quote$quote}'")
lengths=(--max-input-length "$max_in" --max-output-length "$max_out")
case "$mode" in
    --run)
        # One clip at a time, which is within every MAX_BATCH.
        command=(chat "${model[@]}" "${lengths[@]}" --audio "$audio" --each)
        ;;
    --performance)
        sizes=""
        for size in 1 2 4 8 16; do
            if [ "$size" -le "$max_batch" ]; then sizes+="${sizes:+,}$size"; fi
        done
        # As the original: replies of MAX_OUT tokens, whether the model would end earlier or not.
        command=(perf "${model[@]}" "${lengths[@]}" --bs "$sizes" --modes fixed --audio "$audio")
        ;;
    *) usage ;;
esac
[ -d "$weights" ] || fail "WEIGHTS $weights: no such folder; give the checkpoint's"
[ -e "$audio" ] || fail "AUDIO_DIR $audio: no such folder"

PYTHON=""
prepare_environment "$root"
# For the command that continues an interrupted sweep.
printf -v MODELTEST_LAUNCHER ' %q' bash "$root/scripts/run_pa.sh" "${given[@]}"
MODELTEST_LAUNCHER="${MODELTEST_LAUNCHER# }"
MODELTEST_LAUNCHER_SUPPLIES="${#command[@]}"
export MODELTEST_LAUNCHER MODELTEST_LAUNCHER_SUPPLIES
# Not `-m modeltest`: that would take a folder of that name in the working directory.
exec "$PYTHON" -c 'import sys
sys.path = [path for path in sys.path if path]
from modeltest.cli.main import console
console()' "${command[@]}" "$@"
