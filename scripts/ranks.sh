# shellcheck shell=bash
# Sourced by mm_run.sh: how many tensor-parallel ranks a command has that does not say.

# add_default_tp DEV TASK MODEL [OPTION…]: sets EVAL_WORDS to the words behind DEV, and where
# neither --tp nor --dp nor --ray is among them, adds --tp with $TP_WORLD_SIZE, else the number
# of visible devices of the machine whose device files are in DEV.
add_default_tp() {
    local dev="$1" model="$3" device=auto word previous=""
    shift
    EVAL_WORDS=("$@")
    for word in "${@:3}"; do
        case "$word" in
            --tp | --tp=* | --dp | --dp=* | --ray | --ray=*) return ;;
            --device=*) device="${word#*=}" ;;
            *) if [ "$previous" = --device ]; then device="$word"; fi ;;
        esac
        previous="$word"
    done
    local count="${TP_WORLD_SIZE:-}" what=TP_WORLD_SIZE
    if [ -z "$count" ]; then
        case "$model" in null | qwen2_audio_tiny) return ;; esac # too small to be worth it
        count="$(num_visible "$dev" "$device")"
        what="the number of visible devices"
    fi
    case "$count" in
        0 | 1) ;;
        2 | 4 | 8) EVAL_WORDS+=(--tp "$count") ;;
        *)
            printf 'modeltest: %s is %q, but a model can be split over 1, 2, 4 or 8: ' "$what" "$count" >&2
            echo "choose with --tp, or give each device a whole model with --dp" >&2
            return 2
            ;;
    esac
}

# num_visible DEV DEVICE: how many devices `--device DEVICE` can use, as the variables say.
num_visible() {
    local npus gpus
    npus="$(num_files "$1"/davinci[0-9]* "$1"/vdavinci[0-9]*)"
    gpus="$(num_files "$1"/nvidia[0-9]*)"
    if [ "$npus" -gt 0 ] && [[ "$2" == auto || "$2" == npu ]]; then
        num_listed "${ASCEND_RT_VISIBLE_DEVICES-}" "$npus" "${ASCEND_RT_VISIBLE_DEVICES+set}"
    elif [ "$gpus" -gt 0 ] && [[ "$2" == auto || "$2" == cuda ]]; then
        num_listed "${CUDA_VISIBLE_DEVICES-}" "$gpus" "${CUDA_VISIBLE_DEVICES+set}"
    else
        echo 1
    fi
}

# num_listed LIST NUMBER SET: entries of a list, up to one that names no device, if it is SET.
num_listed() {
    local entry number=0 entries
    if [ -z "$3" ]; then
        echo "$2"
        return
    fi
    IFS=, read -ra entries <<<"$1"
    for entry in "${entries[@]}"; do
        if [[ "$entry" != [0-9A-Za-z]* ]]; then break; fi
        number=$((number + 1))
    done
    echo "$number"
}

# num_files FILE…: how many of these are there.
num_files() {
    local file number=0
    for file; do
        if [ -e "$file" ]; then number=$((number + 1)); fi
    done
    echo "$number"
}
