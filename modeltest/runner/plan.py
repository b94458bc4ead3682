"""What an accuracy run will do, complete and checked before the model is loaded."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import tee
from typing import Any

from modeltest.audio.workers import DecodeWorkers
from modeltest.errors import AudioError, DataError
from modeltest.protocols import Progress, Task
from modeltest.records import AudioFacts, Sample
from modeltest.runlog.digests import SHORT_BYTES, short_digest
from modeltest.runlog.keys import data_sha256, sample_row
from modeltest.settings.load import Loaded
from modeltest.settings.schema import ModelSettings, TaskSettings
from modeltest.tasks.data.listing import Listing, Problem, find_samples, report_problems
from modeltest.tasks.data.packed import pack_facts


@dataclass(frozen=True, slots=True)
class CheckedData:
    """The data of a task, every clip opened once.

    Attributes:
        listing: What the data folder holds.
        samples: The samples to evaluate, in the task's order.
        facts: Per sample, what is known of its clips.
        available: Samples before `--limit`.
        audio_s: Length of all clips to evaluate, seconds.
        sha256: Identifies ids, labels, metadata and audio bytes of the samples to evaluate.
        warnings: For the user; they are recorded with the run.
    """

    listing: Listing
    samples: Sequence[Sample]
    facts: Sequence[tuple[AudioFacts, ...]]
    available: int
    audio_s: float
    sha256: str
    warnings: tuple[str, ...]


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
        dp: Workers with a model each.
        tp: Ranks that share a model.
    """

    task_settings: Loaded[TaskSettings]
    model_settings: Loaded[ModelSettings]
    task: Task
    data: CheckedData
    seed: int
    limit: int | None
    certified: bool = False
    dp: int = 1
    tp: int = 1


def check_data(
    task: Loaded[TaskSettings],
    limit: int | None,
    progress: Progress,
    workers: DecodeWorkers | None = None,
) -> CheckedData:
    """Finds the samples and opens every clip that will be used.

    Args:
        task: The task's settings; they say where the data is.
        limit: Evaluate the first so many samples only.
        progress: Told of each clip.
        workers: Open the clips; without them, some are started for it.

    Raises:
        DataError: Missing, unreadable, unlabelled or duplicate files, listed together.
    """
    try:
        listing = find_samples(task.settings)
    except DataError as error:
        raise DataError(f"{task.where('local_dataset_path')}: {error}") from error
    samples = listing.samples if limit is None else listing.samples[:limit]
    problems = list(listing.problems)
    rows = bytearray()
    progress.start(len(samples), f"checking the clips of {task.name}")
    try:
        with nullcontext(workers) if workers else DecodeWorkers() as inspectors:
            facts = pack_facts(_inspected(samples, inspectors, problems, rows, progress))
    finally:
        progress.finish()
    if problems:
        raise DataError(f"task {task.name}: {report_problems(tuple(problems))}")
    if not samples:
        raise DataError(f"task {task.name}: {task.settings.local_dataset_path} holds no samples")
    return CheckedData(
        listing=listing,
        samples=samples,
        facts=facts,
        available=len(listing.samples),
        audio_s=sum(fact.duration_s for clips in facts for fact in clips),
        sha256=data_sha256(rows),
        warnings=(
            *listing.warnings,
            *_copies(samples, facts),
            *_unknown_slices(task.settings.slices.by, samples),
        ),
    )


def _inspected(
    samples: Sequence[Sample],
    workers: DecodeWorkers,
    problems: list[Problem],
    rows: bytearray,
    progress: Progress,
) -> Iterator[tuple[AudioFacts, ...]]:
    """What is known of each sample's clips; those that cannot be used join `problems`."""
    here, ahead = tee(samples)
    found = workers.inspect_all(source for sample in ahead for source in sample.audio)
    for sample in here:
        clips = []
        for source, clip in zip(sample.audio, found, strict=False):
            if isinstance(clip, AudioError):
                what = str(clip).removeprefix(f"{source.name}: ")
                problems.append(Problem(source.name, what))
            else:
                clips.append(clip)
        rows += sample_row(sample, clips)
        progress.advance(1)
        yield tuple(clips)


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


def _all_audio(clips: tuple[AudioFacts, ...]) -> str:
    """Identifies the audio bytes of a sample; a clip may well stand in several pairs."""
    if len(clips) == 1:
        return clips[0].sha256
    return hashlib.sha256("".join(clip.sha256 for clip in clips).encode()).hexdigest()


def _copies(samples: Sequence[Sample], facts: Sequence[tuple[AudioFacts, ...]]) -> list[str]:
    import numpy as np

    digests, owners = bytearray(), array("L")
    for number, clips in enumerate(facts):
        if clips:
            digests += short_digest(_all_audio(clips))
            owners.append(number)
    # Of a fixed width, so that numpy's dropping of NULs at the end joins no two of them.
    keys = np.frombuffer(bytes(digests), f"S{SHORT_BYTES}")
    _, which, count = np.unique(keys, return_inverse=True, return_counts=True)
    copies = np.unique(np.asarray(owners)[count[which.reshape(-1)] > 1])
    if not len(copies):
        return []
    names = [samples[number].sample_id for number in copies[:5].tolist()]
    return [f"{len(copies)} samples share their audio bytes with another: {', '.join(names)}"]
