"""The answer rules of other tools, and the list of all rules that a task can be scored by.

Each rule does to a reply what its tool does, odd results included: it explains that tool's
figure and is no better way to read replies. Where no source is named, what the tool does is
not known. A reply that names no option by a rule is None, unparsed.
"""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from modeltest.tasks.answers import Choice, read_answer

ReadAnswer = Callable[[str, Sequence[Choice]], str | None]
"""From a reply and the options to the label of one of them, or None. Takes any text."""

OURS = "letter_or_name"

_LMMS_ORDER = ("laughter", "sniff", "throatclearing", "cough", "sigh", "sneeze")
_LMMS_NAMES = {"throatclearing": "throat"}
_ARTICLE = re.compile(r"\b(?:a|an|the)\b")
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


@dataclass(frozen=True, slots=True)
class AnswerRule:
    """One way to read answers.

    Attributes:
        tool: Whose it is, for a person.
        read: The rule.
        own_truth: The label that the tool itself takes from a clip's path, where it counts an
            unparsed reply as right if it finds no label either.
    """

    tool: str
    read: ReadAnswer
    own_truth: ReadAnswer | None = None


def read_original(reply: str, choices: Sequence[Choice]) -> str | None:
    """The first choice, in their order, whose text occurs in any case or its capital letter.

    The letter counts anywhere, so "A person is coughing" is laughter.

    Source: MindIE-LLM, `examples/atb_models/tests/modeltest/modeltest/task/vocalsound.py` at
    0695772 (May 2026). That tool leaves special tokens such as `<|im_end|>` in the reply; here
    they are not, and none of those that end a reply has a capital letter.
    """
    folded = reply.lower()
    for choice in choices:
        if choice.text.lower() in folded or choice.letter in reply:
            return choice.label
    return None


def original_truth(path: str, choices: Sequence[Choice]) -> str | None:
    """The label that the original tool takes from a clip's path, or None.

    It is what stands before the first dot and behind the last underscore before it: a folder
    with a dot in its name hides the label.

    Source: as `read_original`.
    """
    word = path.partition(".")[0].rpartition("_")[2]
    return word if any(choice.label == word for choice in choices) else None


def read_aisbench(reply: str, choices: Sequence[Choice]) -> str | None:
    """The choice of the very first character, a capital letter; a blank before it spoils it.

    A reply of one character is compared as it is with the class's name, so "C" alone is none.

    Source: AISBench, `ais_bench/benchmark/datasets/vocalsound.py`, read in two copies that agree
    (PingqiLi/ais-bench at 4b21484, nicegdhj/cxy_benchmark at 1ce6bc3). The newest version of the
    project itself was not seen; an older one compares the whole reply with the class's name.
    """
    if len(reply) <= 1:
        return None
    return next((choice.label for choice in choices if choice.letter == reply[0]), None)


def read_lmms(reply: str, choices: Sequence[Choice]) -> str | None:
    """The first class that occurs anywhere in the reply, in any case, in lmms-eval's own order.

    That is laughter, sniff, throat, cough, sigh, sneeze; "throat" alone is enough. Labels that
    it does not know come behind, in the order of the choices.

    Source: lmms-eval, `lmms_eval/tasks/vocalsound/utils.py` at 48abd2d.
    """
    folded = reply.lower()
    for choice in sorted(choices, key=_lmms_place):
        if _LMMS_NAMES.get(choice.label, choice.text.lower()) in folded:
            return choice.label
    return None


def _lmms_place(choice: Choice) -> int:
    is_known = choice.label in _LMMS_ORDER
    return _LMMS_ORDER.index(choice.label) if is_known else len(_LMMS_ORDER)


def read_ultraeval(reply: str, choices: Sequence[Choice]) -> str | None:
    """The choice with whose text the reply begins, in any case, blanks around both left out.

    The word need not end there: "sighs" is a sigh.

    Source: UltraEval-Audio, `PrefixMatch` of `audio_evals/evaluator/base.py` at 31b21cf, asked
    for by `registry/eval_task/vsc.yaml`. How its data set spells the labels is not known; its
    prompt spells them as here.
    """
    return _begins_with(_folded, reply, choices)


def read_official(reply: str, choices: Sequence[Choice]) -> str | None:
    """The choice whose text is the whole reply, but for blanks before it.

    A full stop, a blank behind it or another case make it none.

    Source: Qwen2-Audio, `eval_audio/evaluate_vocal_sound.py` at 10cb8d8. The spelling of its
    labels is in a file that was not published; taken are the data set's display names.
    """
    stripped = reply.lstrip()
    return next((choice.label for choice in choices if choice.text == stripped), None)


def read_helm(reply: str, choices: Sequence[Choice]) -> str | None:
    """The choice with whose text the reply begins, both normalised as HELM does.

    In lower case, without ASCII punctuation, without a, an and the, blanks as one. A hyphen is
    dropped and leaves no blank: "throat-clearing" is none.

    Source: HELM, `quasi_prefix_exact_match` of
    `src/helm/benchmark/metrics/evaluate_reference_metrics.py` at d4fa32c and
    `vocal_sound_scenario.py` at 0c34452.
    """
    return _begins_with(_normalised, reply, choices)


def _begins_with(plain: Callable[[str], str], reply: str, choices: Sequence[Choice]) -> str | None:
    """The longest name that the reply begins with; tools that know the truth only try that one."""
    text = plain(reply)
    names = {plain(choice.text): choice.label for choice in choices}
    found = [name for name in names if name and text.startswith(name)]
    return names[max(found, key=len)] if found else None


def _folded(text: str) -> str:
    return text.lower().strip()


def _normalised(text: str) -> str:
    return " ".join(_ARTICLE.sub(" ", text.lower().translate(_NO_PUNCTUATION)).split())


RULES: Mapping[str, AnswerRule] = {
    OURS: AnswerRule("modeltest", read_answer),
    "original": AnswerRule("MindIE-LLM's modeltest", read_original, own_truth=original_truth),
    "aisbench": AnswerRule("AISBench", read_aisbench),
    "lmms": AnswerRule("lmms-eval", read_lmms),
    "ultraeval": AnswerRule("UltraEval-Audio", read_ultraeval),
    "official": AnswerRule("Qwen2-Audio's evaluation script", read_official),
    "helm": AnswerRule("HELM", read_helm),
}
"""By the names of a task file's `answer`."""
