"""The samples that both sides are asked about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from modeltest.audio.workers import DecodeWorkers
from modeltest.errors import AudioError, DataError, one_line
from modeltest.metrics.parity.traces import spread
from modeltest.protocols import Backend, Progress, Task
from modeltest.records import Request, Response, Sample
from modeltest.runner.batches import prepare_clip
from modeltest.settings.load import Loaded
from modeltest.settings.schema import TaskSettings
from modeltest.tasks.data.listing import find_samples


@dataclass(frozen=True, slots=True)
class ProbeSet:
    """What both sides are asked.

    Attributes:
        task: Its name.
        asked: Reads the answers.
        samples: In the order of asking.
        requests: One per sample, decoded.
    """

    task: str
    asked: Task
    samples: tuple[Sample, ...]
    requests: tuple[Request, ...]

    def answer(self, sample: Sample, text: str) -> str | None:
        """What the task reads out of a reply."""
        return self.asked.score(sample, Response(sample.sample_id, text)).answer

    def shortest(self, num: int) -> frozenset[str]:
        """Ids of so many samples with the shortest clips."""
        by_length = sorted(
            self.requests, key=lambda r: (sum(len(c.waveform) for c in r.audio), r.sample_id)
        )
        return frozenset(request.sample_id for request in by_length[:num])


def find_all(task: Loaded[TaskSettings]) -> Sequence[Sample]:
    """The samples of a task, in its order.

    Raises:
        DataError: There are none.
    """
    try:
        samples = find_samples(task.settings).samples
    except DataError as error:
        raise DataError(f"{task.where('local_dataset_path')}: {error}") from error
    if not samples:
        raise DataError(f"task {task.name}: {task.settings.local_dataset_path} holds no samples")
    return samples


def spread_over_classes(samples: Sequence[Sample], num: int) -> tuple[Sample, ...]:
    """So many samples, the same ones every time: of each class about as many, evenly spread.

    Classes take turns, so clips of unlike lengths meet in a batch.
    """
    classes: dict[str, list[Sample]] = {}
    for sample in samples:
        classes.setdefault(sample.truth, []).append(sample)
    shares = {name: 0 for name in classes}
    left = min(num, len(samples))
    while left:
        for name, members in classes.items():
            if left and shares[name] < len(members):
                shares[name] += 1
                left -= 1
    chosen = [
        [members[i] for i in spread(len(members), shares[name])] if shares[name] else []
        for name, members in classes.items()
    ]
    rounds = max(map(len, chosen), default=0)
    return tuple(part[i] for i in range(rounds) for part in chosen if i < len(part))


def pick(samples: Sequence[Sample], ids: Sequence[str]) -> tuple[Sample, ...]:
    """The samples of these ids, in their order.

    Raises:
        DataError: One of them is missing.
    """
    by_id = {sample.sample_id: sample for sample in samples}
    for sample_id in ids:
        if sample_id not in by_id:
            raise DataError(
                f"the reference was recorded with sample {one_line(sample_id)}, which the task's "
                "data does not have; give the --task and the data that it was recorded with"
            )
    return tuple(by_id[sample_id] for sample_id in ids)


def ask_about(
    task: Loaded[TaskSettings],
    asked: Task,
    samples: Sequence[Sample],
    backend: Backend,
    progress: Progress,
) -> ProbeSet:
    """Decodes the clips of the chosen samples.

    Raises:
        DataError: A clip cannot be heard.
    """
    prompt, generation = asked.prompt(), asked.generation()
    truncate_long = task.settings.long_audio == "truncate"
    requests = []
    progress.start(len(samples), "decoding")
    try:
        with DecodeWorkers() as workers:
            for sample in samples:
                clips = tuple(
                    prepare_clip(
                        workers.decode(source, backend.sampling_rate_hz),
                        backend.max_audio_s,
                        truncate_long,
                    )
                    for source in sample.audio
                )
                requests.append(Request(sample.sample_id, clips, prompt, generation))
                progress.advance(1)
    except AudioError as error:
        raise DataError(one_line(str(error))) from error
    finally:
        progress.finish()
    return ProbeSet(task.name, asked, tuple(samples), tuple(requests))
