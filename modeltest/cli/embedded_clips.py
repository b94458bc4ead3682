"""The clips of a run, for a page that holds them: read anew, and checked against the log."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from modeltest.errors import DataError, one_line

if TYPE_CHECKING:
    from modeltest.records import AudioSource, Sample
    from modeltest.reports.page.clips import EmbeddedClip
    from modeltest.runlog.run_log import RunContent


def embedded_clips(run: RunContent) -> Iterator[EmbeddedClip]:
    """Every clip of a run once, in the task's order; one is read at a time.

    Raises:
        DataError: The data folder is not what it was: gone, changed, or without a sample.
        AudioError: A clip cannot be read.
    """
    from modeltest.reports.page.sample_columns import MAX_SAMPLES
    from modeltest.settings.recorded import recorded_task
    from modeltest.tasks.data import find_samples

    if len(run.samples) > MAX_SAMPLES:
        raise DataError(
            f"--embed-audio: the run has {len(run.samples)} samples, a page at most {MAX_SAMPLES}"
        )
    samples = find_samples(recorded_task(run.manifest)).samples
    places = {sample.sample_id: place for place, sample in enumerate(samples)}
    done: set[str] = set()
    for record in run.samples:
        place = places.get(record["sample_id"])
        sources = _sources(record, None if place is None else samples[place])
        for clip, source in zip(record["clips"], sources, strict=True):
            if clip["sha256"] not in done:
                done.add(clip["sha256"])
                yield _checked(clip, source)


def _sources(record: Mapping[str, Any], sample: Sample | None) -> tuple[AudioSource, ...]:
    if sample is None or len(sample.audio) != len(record["clips"]):
        raise DataError(
            f"--embed-audio: the data has no sample {one_line(record['sample_id'])} any more"
        )
    return sample.audio


def _checked(clip: Mapping[str, Any], source: AudioSource) -> EmbeddedClip:
    from modeltest.audio.decode import fetch
    from modeltest.reports.page.clips import EmbeddedClip

    encoded = fetch(source)
    if encoded.sha256 != clip["sha256"]:
        raise DataError(f"--embed-audio: {source.name}: is not the clip of the run, it was changed")
    return EmbeddedClip(encoded.sha256, str(clip.get("container", "")), encoded.data)
