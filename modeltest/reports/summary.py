"""A run's figures and verdict, as pure functions of its manifest and log."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from modeltest.metrics.accuracy import ACCURACY_OPTION_LOGITS
from modeltest.metrics.class_figures import (
    OF_ALL,
    OF_CLASS,
    class_counts,
    figures_of_all,
    figures_of_class,
)
from modeltest.metrics.confusion import Confusion
from modeltest.metrics.factory import make_metrics
from modeltest.metrics.slice_differences import SliceDifference, slice_differences
from modeltest.records import Aggregate, ValidityName, Verdict
from modeltest.reports.performance.device_health import unhealthy
from modeltest.reports.sentinels import Sentinels
from modeltest.reports.tally import Tally
from modeltest.runlog.run_log import RunContent

# Settings that say where things are, or that have a column or a note of their own.
_RECORDED_ELSEWHERE = (
    "local_dataset_path=", "model_path=", "mm_model.", "data_type=", "attention=", "batch_size=",
    "stop_at_answer=",
)  # fmt: skip
UNPARSED_NOTE_SHARE = 0.02
_MAX_DEVICES_SHOWN = 8
_SEVERITY: tuple[ValidityName, ...] = ("INCOMPLETE", "INVALID", "LIMITED")
_SPEED = ("load_s", "eval_s", "samples_per_s", "audio_seconds_per_s")
_HEADLINES = ("acc", "wer", "answered_rate")


@dataclass(frozen=True, slots=True)
class Summary:
    """What the reports say.

    Attributes:
        verdict: What the numbers are good for.
        aggregates: Subset `all` first, then classes, then other slices.
        confusion: Truth against answer; None where any text may be right.
        num_done: Samples in the log.
        num_planned: Samples that the manifest names.
        slice_differences: Accuracy of one value of a slice less that of another; none where
            any text may be right.
    """

    verdict: Verdict
    aggregates: tuple[Aggregate, ...]
    confusion: Confusion | None
    num_done: int
    num_planned: int
    slice_differences: tuple[SliceDifference, ...] = ()

    def value(self, subset: str, metric: str) -> Aggregate | None:
        """One figure, or None when the run has no such row."""
        for aggregate in self.aggregates:
            if (aggregate.subset, aggregate.metric) == (subset, metric):
                return aggregate
        return None

    @property
    def headline(self) -> tuple[str, Aggregate | None]:
        """Name and figure of the one number that stands for the run."""
        found = ((name, self.value("all", name)) for name in _HEADLINES)
        measured = (pair for pair in found if pair[1] and pair[1].value is not None)
        return next(measured, ("acc", self.value("all", "acc")))

    @property
    def rates(self) -> list[Aggregate]:
        """What was found out of the samples of every subset alike, and not of the speed."""
        others = {*_SPEED, *OF_ALL, *OF_CLASS}
        found = (each for each in self.aggregates if each.metric not in others)
        return [each for each in found if each.ci_method or each.value is not None]

    @property
    def class_figures(self) -> list[Aggregate]:
        """What tells the classes apart: means over them, then each one's, with a denominator."""
        found = (each for each in self.aggregates if each.metric in {*OF_ALL, *OF_CLASS})
        return [each for each in found if each.value is not None]

    @property
    def speed(self) -> list[Aggregate]:
        """What is known of the speed."""
        found = (each for each in self.aggregates if each.metric in _SPEED)
        return [each for each in found if each.value is not None]


def summarise(run: RunContent) -> Summary:
    """Computes every figure of a run, in one pass over its samples."""
    labels = run.manifest["labels"]
    tally, sentinels = Tally(has_labels=bool(labels)), Sentinels(run)
    for place, record in enumerate(run.samples):
        tally.add(place, record)
        sentinels.add(record)
    aggregates = list(_aggregates(run, tally))
    return Summary(
        verdict=judge(run, aggregates, tally.notes, sentinels),
        aggregates=tuple(aggregates),
        confusion=tally.confusion(labels) if labels else None,
        num_done=len(run.samples),
        num_planned=run.manifest["data"]["num_samples"],
        slice_differences=_slice_differences(run, tally) if labels else (),
    )


def _aggregates(run: RunContent, tally: Tally) -> Iterator[Aggregate]:
    """Subset by subset, in the order of the result table."""
    further = [ACCURACY_OPTION_LOGITS.name] if tally.has_option_logits else []
    metrics = make_metrics([*run.manifest["task"]["settings"]["metrics"], *further])
    labels = run.manifest["labels"]
    counts = class_counts(*tally.all, labels) if labels else None
    for subset, (_, scores, errors, speakers) in tally.subsets(run.manifest):
        rates = [metric.aggregate(subset, scores, errors, speakers) for metric in metrics]
        yield from rates
        key, _, label = subset.partition("=")
        if counts and subset == "all":
            yield from figures_of_all(counts)
        elif counts and key == "class":
            yield from figures_of_class(counts, label)
        if subset == "all":
            yield from _speed(run, rates[0], sum(tally.heard_s))


def _slice_differences(run: RunContent, tally: Tally) -> tuple[SliceDifference, ...]:
    _, scores, errors, speakers = tally.all
    correct = [s.correct and not failed for s, failed in zip(scores, errors, strict=True)]
    return slice_differences(tally.slices(run.manifest), correct, speakers)


def judge(
    run: RunContent,
    aggregates: Sequence[Aggregate],
    noted: Sequence[str],
    sentinels: Sentinels,
) -> Verdict:
    """The verdict with all its reasons; the gravest one decides the word.

    Notes that do not change the word (`noted`, a high unparsed share, the data's warnings)
    stand among the reasons, so that nobody reads the number without them.
    """
    data = run.manifest["data"]
    whole = aggregates[0]
    found: list[tuple[ValidityName, str]] = []
    is_whole = len(run.samples) >= data["num_samples"]
    if not is_whole:
        done = f"{len(run.samples)} of {data['num_samples']} samples evaluated"
        found.append(("INCOMPLETE", done))
    elif sentinels.missing:
        found.append(("INCOMPLETE", sentinels.missing))
    found += [("INCOMPLETE", stop["reason"]) for stop in run.stops[-1:] if found]
    found += [("INVALID", problem) for problem in run.problems]
    found += [("INVALID", problem) for problem in source_problems(run.manifest)]
    if is_whole:
        found += [("INVALID", problem) for problem in sentinels.problems()]
    if whole.errors:
        found.append(("INVALID", f"{whole.errors} of {whole.total} samples failed"))
    if data["num_samples"] < data["num_available"]:
        part = f"{data['num_samples']} of {data['num_available']} samples"
        found.append(("LIMITED", part))
    notes = [*_devices_of_workers(run), *_unhealthy_devices(run), *_incidents(run)]
    if whole.total and whole.unparsed / whole.total > UNPARSED_NOTE_SHARE:
        notes.append(f"{whole.unparsed} of {whole.total} replies unparsed")
    notes += [f"warning: {warning}" for warning in data["warnings"]]
    notes += [*changes(run.manifest), *noted, *(sentinels.notes() if is_whole else ())]
    # First what makes every figure meaningless, whatever else is to be said.
    simulated = device_problems(run.manifest, run.workers)
    found = [*(("INVALID", problem) for problem in simulated), *found]
    words = [word for word in _SEVERITY if any(word == name for name, _ in found)]
    if run.problems:  # no resuming mends them
        words = ["INVALID"]
    return Verdict(words[0] if words else "VALID", (*(reason for _, reason in found), *notes))


def _incidents(run: RunContent) -> Iterator[str]:
    """What the run met with and survived."""
    for records, what in (
        (run.given_up, "workers gave up"),
        (run.redealt, "batches were dealt again"),
        (run.splits, "batches were split"),
    ):
        if records:
            reasons = ", ".join(sorted({record["reason"] for record in records}))
            yield f"{len(records)} {what} ({reasons})"
    counts = (phase.get("num_retries") for phase in run.phases)
    if num_retries := sum(count for count in counts if type(count) is int):
        yield f"the service was asked again {num_retries} times"


def _devices_of_workers(run: RunContent) -> Iterator[str]:
    """On what the workers computed, where that is more or other than the manifest's device."""
    # A worker that was started again is still one.
    seen = {(worker["number"], worker["device"]["name"]) for worker in run.workers}
    counts = Counter(name for _, name in seen)
    if counts.keys() <= {run.manifest["device"]["name"]}:
        return
    named = [f"{name} ({count})" for name, count in sorted(counts.items())]
    if num_others := len(named[_MAX_DEVICES_SHOWN:]):
        named[_MAX_DEVICES_SHOWN:] = [f"{num_others} other devices"]
    *first, last = named
    yield f"workers computed on {', '.join(first)}{' and ' if first else ''}{last}"


def _unhealthy_devices(run: RunContent) -> Iterator[str]:
    """What the devices' tools reported of them; the word stays as it is.

    An accuracy is no time: that a device was hot or shared does not change a reply. One that
    computes wrongly is for the samples that fail and for the sentinels to find; its tool's word
    is only a reason to look.
    """
    devices = {worker["number"]: worker["device"] for worker in run.workers}
    kind = str(run.manifest["device"].get("kind", "device"))
    for rank in sorted({rank for record in run.health if type(rank := record.get("rank")) is int}):
        device = {**devices.get(rank, run.manifest["device"]), "kind": kind}
        readings = [record for record in run.health if record.get("rank") == rank]
        where = f"worker {rank}: " if rank in devices else ""
        yield from (f"{where}{fault}" for fault in unhealthy({"device": device}, readings))


def device_problems(
    manifest: Mapping[str, Any], workers: Sequence[Mapping[str, Any]] = ()
) -> list[str]:
    """Why the figures say nothing of any real device.

    Args:
        manifest: With the device of the process that made the plan.
        workers: Records of the workers that computed, where there were any.
    """
    devices = (manifest["device"], *(worker["device"] for worker in workers))
    names = sorted({device["name"] for device in devices if device.get("simulated")})
    return [f"simulated device: {', '.join(names)}"] if names else []


def source_problems(manifest: Mapping[str, Any]) -> list[str]:
    """Why the figures may not be those of the commit that the manifest names."""
    tool = manifest["tool"]
    if tool.get("dirty"):
        return ["modeltest's own source has local changes"]
    if tool.get("unchecked"):
        return [f"the source could not be checked for local changes ({tool['unchecked']})"]
    return []


def changes(manifest: Mapping[str, Any]) -> list[str]:
    """Notes on what makes another task or model of the one that the name stands for.

    Args:
        manifest: With `task` and `model` as their settings were recorded.
    """
    overrides = [
        text.partition(".")[2] if text.startswith((f"{kind}.",)) else text
        for kind in ("task", "model")
        for text in manifest[kind]["overrides"]
    ]
    changed = [text for text in overrides if not text.startswith(_RECORDED_ELSEWHERE)]
    notes = [f"settings changed: {', '.join(changed)}"] if changed else []
    if manifest["task"].get("settings", {}).get("stop_at_answer"):
        notes.append("replies end at the answer (--stop-at-answer)")
    return notes


def _speed(run: RunContent, whole: Aggregate, audio_s: float) -> list[Aggregate]:
    load_s = _phase_seconds(run.phases, "load")
    eval_s = _phase_seconds(run.phases, "eval")
    timed = sum(phase["num_samples"] for phase in run.phases if phase["name"] == "eval")
    if timed != len(run.samples):  # a killed process left samples and no time
        eval_s = None
    values = (
        load_s,
        eval_s,
        len(run.samples) / eval_s if eval_s else None,
        audio_s / eval_s if eval_s else None,
    )
    return [
        Aggregate(
            "all", name, value, None, None, "", None,
            total=whole.total, correct=None, unparsed=whole.unparsed, errors=whole.errors,
        )
        for name, value in zip(_SPEED, values, strict=True)
    ]  # fmt: skip


def _phase_seconds(phases: Sequence[Mapping[str, Any]], name: str) -> float | None:
    """Seconds of all phases of that name; a resumed run has several."""
    found = [float(phase["seconds"]) for phase in phases if phase["name"] == name]
    return sum(found) if found else None
