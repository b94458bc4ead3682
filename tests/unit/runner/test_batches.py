"""Making batches ready: the decoders go on while the caller is busy with a batch."""

from collections.abc import Iterable, Iterator

import numpy as np

from modeltest.audio.workers import DecodeWorkers
from modeltest.records import Audio, AudioSource
from modeltest.runner.accuracy import Work
from modeltest.runner.batches import BatchMaker, planned_batches
from modeltest.runner.plan import check_data
from modeltest.settings.load import Loaded
from modeltest.tasks.factory import make_task


class GreedyWorkers(DecodeWorkers):
    """Takes two clips before it hands out the first."""

    def __init__(self, digests: dict[str, str]) -> None:
        super().__init__()
        self.digests = digests
        self.taken: list[str] = []
        self.is_closed = False

    def decode_all(self, sources: Iterable[AudioSource], sampling_rate_hz: int) -> Iterator[Audio]:
        waiting: list[AudioSource] = []
        try:
            for source in sources:
                self.taken.append(source.name)
                waiting.append(source)
                if len(waiting) > 1:
                    yield self._audio(waiting.pop(0))
            for source in waiting:
                yield self._audio(source)
        finally:
            self.is_closed = True

    def _audio(self, source: AudioSource) -> Audio:
        return Audio(np.zeros(1600, np.float32), 16_000, self.digests[source.name], 0.1)


def test_the_next_batch_is_decoded_while_one_is_in_use(settings, progress, scripted):
    data = check_data(Loaded("t", settings, (), (), {}), None, progress)
    digests = {
        sample.audio[0].name: clips[0].sha256
        for sample, clips in zip(data.samples, data.facts, strict=True)
    }
    work = Work(make_task("t", settings), data.samples, data.facts, 2, False, "identity")
    workers = GreedyWorkers(digests)
    batches = BatchMaker(work.task, scripted(), workers, truncate_long=False, prepare=False).ready(
        planned_batches(work)
    )
    first = next(batches)
    assert [member.sample.audio[0].name for member in first.members] == workers.taken[:2]
    assert len(workers.taken) == 3  # one of the next batch
    assert all(member.request for member in first.members)
    batches.close()
    assert workers.is_closed
