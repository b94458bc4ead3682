"""A run's figures and verdict, as pure functions of its manifest and log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from modeltest.metrics.confusion import Confusion, confusion
from modeltest.metrics.factory import make_metrics
from modeltest.records import Aggregate, Score, ValidityName, Verdict
from modeltest.runlog.run_log import RunContent

# Settings that say where things are, or that have a column of their own.
_RECORDED_ELSEWHERE = (
    "local_dataset_path=", "model_path=", "mm_model.", "data_type=", "attention=", "batch_size=",
    "engine=",
)  # fmt: skip
UNPARSED_NOTE_SHARE = 0.02
_SEVERITY: tuple[ValidityName, ...] = ("INCOMPLETE", "INVALID", "LIMITED")


@dataclass(frozen=True, slots=True)
class Summary:
    """What the reports say.

    Attributes:
        verdict: What the numbers are good for.
        aggregates: Subset `all` first, then classes, then other slices.
        confusion: Truth against answer.
        num_done: Samples in the log.
        num_planned: Samples that the manifest names.
    """

    verdict: Verdict
    aggregates: tuple[Aggregate, ...]
    confusion: Confusion
    num_done: int
    num_planned: int

    def value(self, subset: str, metric: str) -> Aggregate | None:
        """One figure, or None when the run has no such row."""
        for aggregate in self.aggregates:
            if (aggregate.subset, aggregate.metric) == (subset, metric):
                return aggregate
        return None


def summarise(run: RunContent) -> Summary:
    """Computes every figure of a run."""
    samples = run.samples
    scores = [Score(**record["score"]) for record in samples]
    errors = [bool(record["response"]["error"]) for record in samples]
    metrics = make_metrics(run.manifest["task"]["settings"]["metrics"])
    aggregates: list[Aggregate] = []
    for subset, members in _subsets(run).items():
        chosen = [scores[i] for i in members]
        failed = [errors[i] for i in members]
        aggregates += [metric.aggregate(subset, chosen, failed) for metric in metrics]
        if subset == "all":
            aggregates += _speed(run, aggregates[0])
    return Summary(
        verdict=judge(run, aggregates),
        aggregates=tuple(aggregates),
        confusion=confusion(
            [record["truth"] for record in samples],
            [score.answer for score in scores],
            errors,
            run.manifest["labels"],
        ),
        num_done=len(samples),
        num_planned=run.manifest["data"]["num_samples"],
    )


def judge(run: RunContent, aggregates: Sequence[Aggregate]) -> Verdict:
    """The verdict with all its reasons; the gravest one decides the word.

    Notes that do not change the word (a high unparsed share, the data's warnings) stand
    among the reasons, so that nobody reads the number without them.
    """
    data = run.manifest["data"]
    whole = aggregates[0]
    found: list[tuple[ValidityName, str]] = []
    if len(run.samples) < data["num_samples"]:
        done = f"{len(run.samples)} of {data['num_samples']} samples evaluated"
        found.append(("INCOMPLETE", done))
    found += [("INCOMPLETE", stop["reason"]) for stop in run.stops[-1:] if found]
    found += [("INVALID", problem) for problem in run.problems]
    if run.manifest["tool"]["dirty"]:
        found.append(("INVALID", "modeltest's own source has local changes"))
    if whole.errors:
        found.append(("INVALID", f"{whole.errors} of {whole.total} samples failed"))
    if data["num_samples"] < data["num_available"]:
        part = f"{data['num_samples']} of {data['num_available']} samples"
        found.append(("LIMITED", part))
    notes = [f"warning: {warning}" for warning in data["warnings"]]
    notes += _changes(run.manifest)
    cut = sum(any("truncated" in clip["note"] for clip in r["clips"]) for r in run.samples)
    if cut:
        notes.append(f"{cut} samples were cut to what the model hears")
    if whole.total and whole.unparsed / whole.total > UNPARSED_NOTE_SHARE:
        notes.insert(0, f"{whole.unparsed} of {whole.total} replies unparsed")
    if run.splits:
        reasons = ", ".join(sorted({split["reason"] for split in run.splits}))
        notes.insert(0, f"{len(run.splits)} batches were split ({reasons})")
    words = [word for word in _SEVERITY if any(word == name for name, _ in found)]
    if run.problems:  # no resuming mends them
        words = ["INVALID"]
    return Verdict(words[0] if words else "VALID", (*(reason for _, reason in found), *notes))


def _changes(manifest: Mapping[str, Any]) -> list[str]:
    """A note when `--set` made another task or model of the one that the name stands for."""
    overrides = [
        text.partition(".")[2] if text.startswith((f"{kind}.",)) else text
        for kind in ("task", "model")
        for text in manifest[kind]["overrides"]
    ]
    changed = [text for text in overrides if not text.startswith(_RECORDED_ELSEWHERE)]
    return [f"changed by --set: {', '.join(changed)}"] if changed else []


def _subsets(run: RunContent) -> dict[str, list[int]]:
    """Indices of the samples of each subset: all, classes in order, then other slices."""
    members: dict[str, list[int]] = {"all": list(range(len(run.samples)))}
    members.update({f"class={label}": [] for label in run.manifest["labels"]})
    others: dict[str, list[int]] = {}
    for index, record in enumerate(run.samples):
        for subset in dict.fromkeys(record["subsets"]):
            (members if subset in members else others).setdefault(subset, []).append(index)
    order = [str(key) for key in run.manifest["task"]["settings"]["slices"]["by"]] + ["age"]
    for subset in sorted(others, key=lambda name: (order.index(name.partition("=")[0]), name)):
        members[subset] = others[subset]
    return members


def _speed(run: RunContent, whole: Aggregate) -> list[Aggregate]:
    load_s = _phase_seconds(run.phases, "load")
    eval_s = _phase_seconds(run.phases, "eval")
    timed = sum(phase["num_samples"] for phase in run.phases if phase["name"] == "eval")
    if timed != len(run.samples):  # a killed process left samples and no time
        eval_s = None
    audio_s = sum(clip["heard_s"] for record in run.samples for clip in record["clips"])
    rates = {
        "load_s": load_s,
        "eval_s": eval_s,
        "samples_per_s": len(run.samples) / eval_s if eval_s else None,
        "audio_seconds_per_s": audio_s / eval_s if eval_s else None,
    }
    return [
        Aggregate(
            "all", name, value, None, None, "", None,
            total=whole.total, correct=None, unparsed=whole.unparsed, errors=whole.errors,
        )
        for name, value in rates.items()
    ]  # fmt: skip


def _phase_seconds(phases: Sequence[Mapping[str, Any]], name: str) -> float | None:
    """Seconds of all phases of that name; a resumed run has several."""
    found = [float(phase["seconds"]) for phase in phases if phase["name"] == name]
    return sum(found) if found else None
