"""Whether the audio was heard and replies belong to their clips: runs written down by hand."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from modeltest.records import Score
from modeltest.reports.sentinels import Sentinels
from modeltest.reports.summary import summarise
from modeltest.runlog.run_log import RunContent

LABELS = ("laughter", "sigh", "cough", "throatclearing", "sneeze", "sniff")
LETTERS = "ABCDEF"
SWAPPED = "replies do not belong to their clips, or depend on the batch: "
SILENT = "the audio was not heard: 8 of 8 replies stay the same with silence in place of the clip"


def logits_for(label: str, level: float = 8.0) -> list[float]:
    return [level if label == each else 2.0 for each in LABELS]


def sample(index: int, label: str, logits: list[float] | None, text: str | None = None) -> dict:
    truth = LABELS[index % 6]
    response = {
        "text": f"{LETTERS[LABELS.index(label)]}: {label}" if text is None else text,
        "input_text": "", "error": "", "input_tokens": 1, "output_tokens": 1,
        "finish_reason": "stop", "option_logits": logits or [], "timing": None,
    }  # fmt: skip
    score = Score(label, label == truth, None, False)
    return {
        "type": "sample", "index": index, "key": f"key{index}", "sample_id": f"s{index}",
        "truth": truth, "metadata": {}, "subsets": [f"class={truth}"],
        "clips": [{"name": "c", "sha256": "", "duration_s": 1.0, "heard_s": 1.0, "note": ""}],
        "response": response,
        "score": {name: getattr(score, name) for name in Score.__slots__},
    }  # fmt: skip


def probe(kind: str, record: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """A probe with the reply that its sample got, but for what is given."""
    same = {
        "type": "probe", "kind": kind, "index": record["index"],
        "sample_id": record["sample_id"], "text": record["response"]["text"],
        "answer": record["score"]["answer"], "option_logits": record["response"]["option_logits"],
        "error": "",
    }  # fmt: skip
    return {**same, **changes}


class Made:
    """A run of samples that are all right, asked once more with the same replies."""

    def __init__(self, num: int = 24, num_alone: int = 12, has_logits: bool = True) -> None:
        self.has_logits = has_logits
        self.samples = [
            sample(i, LABELS[i % 6], logits_for(LABELS[i % 6]) if has_logits else None)
            for i in range(num)
        ]
        self.alone = [probe("alone", record) for record in self.samples[:num_alone]]
        self.silenced = [self.with_silence(i) for i in range(min(8, num_alone))]

    def with_silence(self, index: int) -> dict[str, Any]:
        """To silence, the model says that it hears a sniff."""
        logits = logits_for("sniff", 4.0) if self.has_logits else []
        record = self.samples[index]
        return probe("silenced", record, text="F: sniff", answer="sniff", option_logits=logits)

    def answer_instead(self, place: int, label: str, logits: list[float] | None = None) -> None:
        """Lets a probe that was asked alone get another answer."""
        changes = {"text": label, "answer": label}
        if logits:
            changes["option_logits"] = logits
        self.alone[place] = probe("alone", self.samples[place], **changes)

    def run(self, manifest: dict[str, Any]) -> RunContent:
        manifest = {**manifest, "labels": list(LABELS)}
        manifest["data"] = {**manifest["data"]}
        manifest["data"]["num_samples"] = manifest["data"]["num_available"] = len(self.samples)
        manifest["probes"] = {
            "alone": list(range(len(self.alone))), "silenced": list(range(len(self.silenced))),
        }  # fmt: skip
        probes = (*self.silenced, *self.alone)
        return RunContent(Path("runs/none"), manifest, tuple(self.samples), probes=probes)


@pytest.fixture
def problems(run) -> Callable[[Made], list[str]]:
    """Why a run is INVALID."""

    def judged(made: Made) -> list[str]:
        return sentinels_of(made.run(run.manifest)).problems()

    return judged


def sentinels_of(content: RunContent) -> Sentinels:
    sentinels = Sentinels(content)
    for record in content.samples:
        sentinels.add(record)
    return sentinels


@pytest.mark.parametrize("has_logits", [True, False])
def test_a_run_that_gives_the_same_when_asked_again_has_no_problem(problems, has_logits):
    assert problems(Made(has_logits=has_logits)) == []


@pytest.mark.parametrize("has_logits", [True, False])
def test_replies_that_silence_does_not_change_are_no_replies_to_the_audio(problems, has_logits):
    made = Made(has_logits=has_logits)
    made.silenced = [probe("silenced", record) for record in made.samples[:8]]
    assert problems(made) == [SILENT]


def test_noise_of_another_batch_is_not_hearing(problems):
    """Logits move by 0.06 when a clip is asked again, and by up to 0.2 with silence."""
    made = Made()

    def moved(record, by):
        first, *others = record["response"]["option_logits"]
        return [first + 1.2 * by, *others]  # less the mean, a sixth of it: by

    for place, record in enumerate(made.samples[:12]):
        made.alone[place] = probe("alone", record, option_logits=moved(record, 0.06))
    made.silenced = [
        probe("silenced", record, option_logits=moved(record, 0.2)) for record in made.samples[:8]
    ]
    assert problems(made) == [SILENT]
    last = made.samples[7]
    made.silenced[7] = probe("silenced", last, option_logits=moved(last, 0.3))  # over 4 times 0.06
    assert problems(made) == []


def test_a_level_that_all_logits_share_says_nothing(problems):
    made = Made()
    made.silenced = [
        probe(
            "silenced", record, option_logits=[x + 3 for x in record["response"]["option_logits"]]
        )
        for record in made.samples[:8]
    ]
    assert problems(made) == [SILENT]


@pytest.mark.parametrize("has_logits", [True, False])
def test_one_other_reply_is_enough_to_have_heard(problems, has_logits):
    made = Made(has_logits=has_logits)
    made.silenced[1:] = [probe("silenced", record) for record in made.samples[1:8]]
    assert problems(made) == []


def test_a_preferred_answer_to_silence_is_no_proof_without_logits(problems):
    """Of a model that says "A" four times in five, 8 of 8 probes do so too in 0.8⁸ = 17 %."""
    made = Made(num=100, has_logits=False)
    for i in range(80):
        made.samples[i] = sample(i, "laughter", None)
    made.alone = [probe("alone", record) for record in made.samples[:12]]
    made.silenced = [probe("silenced", record) for record in made.samples[:8]]
    assert SILENT not in problems(made)
    for i in range(80, 95):  # hardly another reply is left: 95 of 100
        made.samples[i] = sample(i, "laughter", None)
    assert SILENT in problems(made)


@pytest.mark.parametrize(("num_other", "is_told"), [(1, False), (2, True)])
def test_two_other_answers_with_logits_far_away_are_enough(problems, num_other, is_told):
    made = Made()
    for place in range(num_other):
        label = LABELS[(place + 1) % 6]
        made.answer_instead(place, label, logits_for(label))
    told = f"{SWAPPED}{num_other} of 12 clips get another answer when asked alone"
    assert problems(made) == ([told] if is_told else [])


@pytest.mark.parametrize(
    ("num_alone", "num_other", "is_told"),
    [(12, 3, False), (12, 4, True), (24, 4, False), (24, 5, True)],
)
@pytest.mark.parametrize("has_logits", [True, False])
def test_answers_that_changed_by_a_hair_have_to_be_many(
    problems, num_alone, num_other, is_told, has_logits
):
    """With option logits they are as near as before; without, nobody can tell."""
    made = Made(num_alone=num_alone, has_logits=has_logits)
    for place in range(num_other):
        made.answer_instead(place, LABELS[(place + 1) % 6])
    told = f"{SWAPPED}{num_other} of {num_alone} clips get another answer when asked alone"
    assert problems(made) == ([told] if is_told else [])


def test_a_fifth_of_all_is_no_fault_of_bf16(problems):
    """Noise that moves logits by 0.3 each time and turns two near ties of twelve."""
    made = Made()
    pick = random.Random(0)
    for place, record in enumerate(made.samples[:12]):
        noisy = [x + pick.choice((-0.3, 0.3)) for x in record["response"]["option_logits"]]
        made.alone[place] = probe("alone", record, option_logits=noisy)
        if place < 2:
            made.answer_instead(place, LABELS[place + 1], noisy)
    assert problems(made) == []


def test_swapped_clips_are_not_said_to_be_unheard(problems):
    """All replies of the log are another clip's, and so far off that silence is nearer."""
    made = Made()
    for place in range(12):
        label = LABELS[(place + 1) % 6]
        made.answer_instead(place, label, logits_for(label))
    assert problems(made) == [f"{SWAPPED}12 of 12 clips get another answer when asked alone"]


def test_transcripts_are_the_same_up_to_a_few_words(run):
    said = "the quick brown fox jumps over the lazy dog number "
    made = Made(has_logits=False)
    for i, record in enumerate(made.samples):
        record["response"]["text"] = record["score"]["answer"] = f"{said}{i}"
    made.alone = [
        probe("alone", record, answer=record["score"]["answer"].replace("lazy", "crazy"))
        for record in made.samples[:12]
    ]
    made.silenced = [probe("silenced", r, text="", answer=None) for r in made.samples[:8]]
    content = made.run(run.manifest)
    content.manifest["labels"].clear()
    assert sentinels_of(content).problems() == []
    for place in range(4):
        made.alone[place]["answer"] = "she sells sea shells by the sea shore in summer"
    content = made.run(run.manifest)
    content.manifest["labels"].clear()
    assert sentinels_of(content).problems() == [
        f"{SWAPPED}4 of 12 clips get another answer when asked alone"
    ]


def test_probes_that_failed_or_are_too_few_are_not_checked(run):
    made = Made()
    made.silenced[:5] = [
        probe("silenced", record, text="", answer=None, error="out of memory\x1b[31m")
        for record in made.samples[:5]
    ]
    summary = summarise(made.run(run.manifest))
    assert str(summary.verdict) == (
        "VALID: not checked: whether the audio was heard (3 probes, 4 needed: "
        r"out of memory\x1b[31m)"
    )


def test_a_sample_that_failed_has_nothing_to_be_compared_with(run):
    made = Made()
    for record in made.samples[:9]:
        record["response"]["error"] = "out of memory"
    summary = summarise(made.run(run.manifest))
    assert summary.verdict.validity == "INVALID"
    assert summary.verdict.reasons == (
        "9 of 24 samples failed",
        "not checked: whether the audio was heard (0 probes, 4 needed); whether replies belong "
        "to their clips (3 probes, 4 needed)",
    )


def test_three_samples_are_too_few_for_anything(run):
    content = Made(num=3, num_alone=3).run(run.manifest)
    content.manifest["data"]["num_available"] = 100
    assert summarise(content).verdict.reasons == (
        "3 of 100 samples",
        "not checked: whether the audio was heard (3 probes, 4 needed); whether replies belong to "
        "their clips (3 probes, 4 needed); whether replies collapsed (3 replies, 12 needed)",
    )


def test_a_run_whose_probes_were_not_asked_is_incomplete(run):
    made = Made()
    whole = made.run(run.manifest)
    content = RunContent(whole.folder, whole.manifest, whole.samples, probes=whole.probes[:15])
    assert str(summarise(content).verdict) == "INCOMPLETE: 5 of 20 probes were not asked"
    stopped = RunContent(
        whole.folder, whole.manifest, whole.samples, probes=whole.probes[:15],
        stops=({"type": "stop", "reason": "interrupted by SIGINT"},),
    )  # fmt: skip
    assert summarise(stopped).verdict.reasons[1] == "interrupted by SIGINT"


def test_a_run_of_before_there_were_probes_is_judged_as_it_was(run):
    made = Made(num=24)
    for i in range(24):
        made.samples[i] = sample(i, "laughter", None, text="A")
    content = made.run(run.manifest)
    del content.manifest["probes"]
    old = RunContent(content.folder, content.manifest, content.samples)
    assert summarise(old).verdict.validity == "VALID"
    assert summarise(old).verdict.reasons == ()


@pytest.mark.parametrize(
    "spoilt",
    [{"index": 900}, {"sample_id": "other"}, {"kind": "?"}, {"option_logits": [10**400] * 6}],
)
def test_probes_that_fit_nothing_break_nothing(run, spoilt):
    whole = Made().run(run.manifest)
    probes = tuple({**record, **spoilt} for record in whole.probes)
    content = RunContent(whole.folder, whole.manifest, whole.samples, probes=probes)
    assert summarise(content).verdict.validity in {"VALID", "INCOMPLETE"}


def test_a_reply_goes_before_a_failure_of_the_same_probe(problems):
    made = Made()
    failed = [
        probe("silenced", record, text="", answer=None, error="its worker ended")
        for record in made.samples[:8]
    ]
    replied = [probe("silenced", record) for record in made.samples[:8]]
    for order in (failed + replied, replied + failed):
        made.silenced = order
        assert problems(made) == [SILENT]


def simulated(pick: random.Random, num_alone: int, flips: float, swapped: float, **made_of) -> Made:
    """A run whose answers flip by chance, and of whose replies a share is another clip's."""
    made = Made(num=48, num_alone=num_alone, **made_of)
    for place in range(num_alone):
        logged = made.samples[place]
        if pick.random() < swapped:
            label = pick.choice(LABELS)
            if label != logged["score"]["answer"]:
                made.answer_instead(place, label, logits_for(label) if made.has_logits else None)
        elif pick.random() < flips:
            made.answer_instead(place, pick.choice([x for x in LABELS if x != logged["truth"]]))
    return made


@pytest.mark.parametrize(
    ("num_alone", "has_logits", "low", "high"),
    # Binomial: P(≥ 2 of 12), P(≥ 5 of 24), each with probability 5/12.
    [(12, True, 0.97, 0.995), (24, False, 0.97, 0.999)],
)
def test_half_swapped_is_found_and_chance_is_not(problems, num_alone, has_logits, low, high):
    pick = random.Random(7)
    made = [simulated(pick, num_alone, 0.02, 0.5, has_logits=has_logits) for _ in range(300)]
    found = sum(bool(problems(each)) for each in made) / len(made)
    assert low < found <= high or found == 1.0
    clean = [simulated(pick, num_alone, 0.02, 0.0, has_logits=has_logits) for _ in range(300)]
    assert not any(problems(each) for each in clean)
