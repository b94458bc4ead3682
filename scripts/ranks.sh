# shellcheck shell=bash
# Sourced by mm_run.sh: how many tensor-parallel ranks a command has that does not say.

# add_default_tp TASK MODEL [OPTION…]: sets EVAL_WORDS to these words, and where neither --tp nor
# --dp nor --ray is among them, adds --tp with $TP_WORLD_SIZE, else the one that lets modeltest
# count: device files say what a machine has, and not what its torch can use.
add_default_tp() {
    local model="$2" word
    EVAL_WORDS=("$@")
    for word in "${@:3}"; do
        case "$word" in --tp | --tp=* | --dp | --dp=* | --ray | --ray=*) return ;; esac
    done
    case "$model" in mindie_service | vllm_service) return ;; esac # they split it themselves
    case "${TP_WORLD_SIZE:-}" in
        "")
            case "$model" in null | qwen2_audio_tiny) return ;; esac # too small to be worth it
            EVAL_WORDS+=(--tp auto)
            ;;
        0 | 1) ;;
        2 | 4 | 8) EVAL_WORDS+=(--tp "$TP_WORLD_SIZE") ;;
        *)
            printf 'modeltest: TP_WORLD_SIZE is %q, but a model can be split over 1, 2, 4 or 8: ' \
                "$TP_WORLD_SIZE" >&2
            echo "choose with --tp, or give each device a whole model with --dp" >&2
            return 2
            ;;
    esac
}
