"""What an accuracy run will do, complete and checked before the model is loaded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from modeltest.audio.workers import DecodeWorkers
from modeltest.errors import AudioError, DataError
from modeltest.protocols import Progress, Task
from modeltest.records import AudioFacts, Sample
from modeltest.runlog.manifest import digest
from modeltest.settings.load import Loaded
from modeltest.settings.schema import ModelSettings, TaskSettings
from modeltest.tasks.data.listing import Listing, Problem, find_samples, report_problems


@dataclass(frozen=True, slots=True)
class CheckedData:
    """The data of a task, every clip opened once.

    Attributes:
        listing: What the data folder holds.
        samples: The samples to evaluate, in the task's order.
        facts: Per sample, what is known of its clips.
        available: Samples before `--limit`.
        sha256: Identifies ids, labels and audio bytes of the samples to evaluate.
        warnings: For the user; they are recorded with the run.
    """

    listing: Listing
    samples: tuple[Sample, ...]
    facts: tuple[tuple[AudioFacts, ...], ...]
    available: int
    sha256: str
    warnings: tuple[str, ...]

    @property
    def audio_s(self) -> float:
        """Length of all clips to evaluate, seconds."""
        return sum(fact.duration_s for facts in self.facts for fact in facts)


@dataclass(frozen=True, slots=True)
class EvalPlan:
    """Everything that is decided before the device is touched.

    Attributes:
        task_settings: As loaded and overridden.
        model_settings: As loaded and overridden.
        task: What is asked.
        data: Of whom.
        seed: Seeds the backend.
        limit: The user's `--limit`, or None.
        certified: Hash the weights whole.
    """

    task_settings: Loaded[TaskSettings]
    model_settings: Loaded[ModelSettings]
    task: Task
    data: CheckedData
    seed: int
    limit: int | None
    certified: bool = False


def check_data(task: Loaded[TaskSettings], limit: int | None, progress: Progress) -> CheckedData:
    """Finds the samples and opens every clip that will be used.

    Args:
        task: The task's settings; they say where the data is.
        limit: Evaluate the first so many samples only.
        progress: Told of each clip.

    Raises:
        DataError: Missing, unreadable, unlabelled or duplicate files, listed together.
    """
    try:
        listing = find_samples(task.settings)
    except DataError as error:
        raise DataError(f"{task.where('local_dataset_path')}: {error}") from error
    samples = listing.samples if limit is None else listing.samples[:limit]
    problems = list(listing.problems)
    facts: list[tuple[AudioFacts, ...]] = []
    progress.start(len(samples), f"checking the clips of {task.name}")
    try:
        with DecodeWorkers() as workers:
            for sample in samples:
                clips = []
                for source in sample.audio:
                    try:
                        clips.append(workers.inspect(source))
                    except AudioError as error:
                        what = str(error).removeprefix(f"{source.name}: ")
                        problems.append(Problem(source.name, what))
                facts.append(tuple(clips))
                progress.advance(1)
    finally:
        progress.finish()
    if problems:
        raise DataError(f"task {task.name}: {report_problems(tuple(problems))}")
    if not samples:
        raise DataError(f"task {task.name}: {task.settings.local_dataset_path} holds no samples")
    content = [
        [sample.sample_id, sample.truth, [clip.sha256 for clip in clips]]
        for sample, clips in zip(samples, facts, strict=True)
    ]
    warnings = (
        *listing.warnings,
        *_copies(samples, facts),
        *_unknown_slices(task.settings.slices.by, samples),
    )
    return CheckedData(
        listing, samples, tuple(facts), len(listing.samples), digest(content), warnings
    )


def long_clips(data: CheckedData, max_audio_s: float) -> list[str]:
    """Ids of the samples with a clip that is longer than the model hears."""
    return [
        sample.sample_id
        for sample, clips in zip(data.samples, data.facts, strict=True)
        if any(clip.duration_s > max_audio_s for clip in clips)
    ]


def settings_record(loaded: Loaded[Any]) -> Mapping[str, Any]:
    """Resolved settings with their files' hashes, as JSON values."""
    return {
        "name": loaded.name,
        "settings": loaded.settings.model_dump(mode="json"),
        "files": [{"path": str(path), "sha256": sha256} for path, sha256 in loaded.files],
        "overrides": list(loaded.overrides),
    }


def _unknown_slices(keys: Sequence[str], samples: Sequence[Sample]) -> list[str]:
    return [
        f"slices.by: no sample has {key!r}; there are no rows for it"
        for key in keys
        if not any(sample.metadata.get(key) for sample in samples)
    ]


def _copies(samples: tuple[Sample, ...], facts: list[tuple[AudioFacts, ...]]) -> list[str]:
    count = Counter(clip.sha256 for clips in facts for clip in clips)
    names = [
        sample.sample_id
        for sample, clips in zip(samples, facts, strict=True)
        if any(count[clip.sha256] > 1 for clip in clips)
    ]
    if not names:
        return []
    return [f"{len(names)} samples share their audio bytes with another: {', '.join(names[:5])}"]
