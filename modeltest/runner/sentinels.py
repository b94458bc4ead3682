"""Which samples are probed behind a run, and asking them in this process.

Whether the replies of a run are worth anything cannot be seen from the outside: a model that
hears nothing answers, too. So a few of its samples are asked once more. The replies count
nowhere; `modeltest.reports.sentinels` compares them with those in the log.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from contextlib import closing, nullcontext
from itertools import chain, islice, pairwise

from modeltest.audio.workers import DecodeWorkers
from modeltest.protocols import Backend, Device, Progress
from modeltest.records import AudioFacts, Sample
from modeltest.runlog.probes import ALONE, SILENCED
from modeltest.runlog.run_log import phase_record
from modeltest.runlog.segment import SegmentWriter
from modeltest.runner.accuracy import answered
from modeltest.runner.batches import BatchMaker, Work, batch_plan, probe_batches

NUM_SILENCED = 8
NUM_ALONE = 12
NUM_ALONE_TEXT_ONLY = 24
"""Without option logits a reply that changed by chance counts like one of another clip; what
that takes and gives is worked out in docs/sentinels.md."""


def choose_probes(
    samples: Sequence[Sample],
    facts: Sequence[tuple[AudioFacts, ...]],
    batch_size: int,
    *,
    text_only: bool,
) -> dict[str, list[int]]:
    """Which samples are probed, by kind: their places in the task's order.

    They are spread over the run's batches, over the places in a batch and over the classes.
    Only the plan decides, so a resumed run has the same.

    Args:
        samples: All of the run, in the task's order.
        facts: Per sample, what is known of its clips.
        batch_size: Of the run.
        text_only: The backend gives no option logits.
    """
    num = min(NUM_ALONE_TEXT_ONLY if text_only else NUM_ALONE, len(samples))
    ends = [(number + 1) * len(samples) // num for number in range(num)]
    order = chain.from_iterable(batch_plan(facts, batch_size))
    alone: list[int] = []
    seen: Counter[str] = Counter()
    for number, (first, end) in enumerate(pairwise((0, *ends))):
        part = list(islice(order, end - first))
        start = number % len(part)  # else parts as long as a batch would all give its first
        chosen = min((*part[start:], *part[:start]), key=lambda index: seen[samples[index].truth])
        alone.append(chosen)
        seen[samples[chosen].truth] += 1
    return {ALONE: alone, SILENCED: _of_different_classes(samples, alone)}


def _of_different_classes(samples: Sequence[Sample], indices: Sequence[int]) -> list[int]:
    """Some of the indices: the first of each class, then the second of each, and so on."""
    seen: Counter[str] = Counter()
    rounds = {}
    for index in indices:
        rounds[index] = seen[samples[index].truth]
        seen[samples[index].truth] += 1
    return sorted(indices, key=lambda index: rounds[index])[:NUM_SILENCED]


def ask_probes(
    work: Work,
    backend: Backend,
    device: Device,
    log: SegmentWriter,
    progress: Progress,
    *,
    workers: DecodeWorkers | None = None,
) -> None:
    """Asks the work's probes and logs the replies; a failure is one of its probe only.

    Args:
        work: With the probes that are not in the log yet.
        backend: Loaded.
        device: Where it runs.
        log: Receives one record per probe and one for the phase.
        progress: Told of each batch.
        workers: Decode the clips; without them, some are started for it.
    """
    batches = probe_batches(work)
    if not batches:
        return
    progress.start(len(work.probes), "asking some once more")
    start_s = time.perf_counter()
    try:
        with nullcontext(workers) if workers else DecodeWorkers() as decoders:
            maker = BatchMaker(
                work.task, backend, decoders, truncate_long=work.truncate_long, prepare=False
            )
            with closing(maker.ready(batches)) as ready:
                for batch in ready:
                    for record in answered(work.task, batch, backend, device, log):
                        log.append(record)
                    progress.advance(len(batch.members))
    finally:
        log.append(phase_record("probes", time.perf_counter() - start_s))
        log.sync()
        progress.finish()
