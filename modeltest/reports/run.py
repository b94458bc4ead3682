"""A run as Python sees it: verdict, headline, pandas frames and a block of Markdown."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modeltest.records import Verdict
from modeltest.reports import frames, markdown
from modeltest.reports.csv_files import RESULT_COLUMNS, SAMPLE_COLUMNS, result_rows, sample_rows
from modeltest.reports.headline import Headline, accuracy_headline, sweep_headline
from modeltest.reports.performance.csv_files import BENCHMARK_COLUMNS, benchmark_rows
from modeltest.reports.performance.summary import SweepSummary, summarise_sweep
from modeltest.reports.summary import Summary, summarise
from modeltest.runlog.manifest import read_manifest
from modeltest.runlog.run_log import RunContent, read_run
from modeltest.runlog.sweep_log import COMMAND, SweepContent, read_sweep

if TYPE_CHECKING:
    import pandas


class Run(ABC):
    """A run as its log has it.

    The frames are made when they are first asked for, and kept: who changes one changes it for
    all who hold this object.

    Attributes:
        folder: Where it lies.
        manifest: Everything that decided it: settings, data, device, versions.
        verdict: What the figures are good for, with all reasons. INVALID and INCOMPLETE runs
            have figures, too.
        headline: The one number that stands for the run, with its interval.
        device: `NPU`, `GPU`, `CPU` or `SERVICE`.
        num_done: Samples of `eval`, or blocks of `perf`, that the log has.
        num_planned: All of them.
        torn: Segments of the log whose last line is incomplete and was left out.
    """

    folder: Path
    manifest: Mapping[str, Any]
    verdict: Verdict
    headline: Headline
    device: str
    num_done: int
    num_planned: int
    torn: tuple[str, ...]

    @property
    def run_id(self) -> str:
        """`HHMMSS-<6 hex>`."""
        return str(self.manifest["place"]["run_id"])

    @property
    def command(self) -> str:
        """`eval` or `perf`."""
        return str(self.manifest["command"])

    @cached_property
    def results(self) -> pandas.DataFrame:
        """The figures.

        Of `eval` one row per subset and metric, the columns of `*_result.csv`; of `perf` one row
        per batch size and mode, the columns of `benchmark.csv`.
        """
        return self._results()

    @cached_property
    def samples(self) -> pandas.DataFrame:
        """The replies.

        Of `eval` one row per sample, the columns of `*_samples.csv`; of `perf` one row per reply
        that was kept: `batch_size`, `mode`, `pass`, `sample_id`, `output`.
        """
        return self._samples()

    @cached_property
    def timings(self) -> pandas.DataFrame:
        """The times, seconds.

        Of `eval` one row per sample: `sample_id`, `audio_s` (what the model heard),
        `input_tokens`, `output_tokens`, `e2e_s` (of the sample's batch, which shares it).

        Of `perf` one row per batch in the order of measuring. `batch_size`, `mode` and `pass`
        name its block; `kind` what filled it: `copies` of one clip or `distinct` ones. `start_s`
        is its round's, by a clock that starts anywhere; the stages follow, `decode_s` being all
        steps behind the first token; tokens and errors are the batch's sums.
        """
        return self._timings()

    @abstractmethod
    def markdown(self) -> str:
        """The block that `modeltest report RUN --md` prints."""

    @abstractmethod
    def _results(self) -> pandas.DataFrame: ...

    @abstractmethod
    def _samples(self) -> pandas.DataFrame: ...

    @abstractmethod
    def _timings(self) -> pandas.DataFrame: ...

    def _repr_markdown_(self) -> str:
        """What a notebook shows."""
        return self.markdown()

    def __repr__(self) -> str:
        """Id, command, verdict and headline."""
        return f"<Run {self.run_id}, {self.command}: {self.verdict.validity}, {self.headline}>"


class _AccuracyRun(Run):
    def __init__(self, folder: Path) -> None:
        self._content: RunContent = read_run(folder)
        self._summary: Summary = summarise(self._content)
        self.folder, self.manifest = folder, self._content.manifest
        self.verdict = self._summary.verdict
        self.headline = accuracy_headline(self._summary)
        self.device = str(self.manifest["place"]["device_label"])
        self.num_done, self.num_planned = self._summary.num_done, self._summary.num_planned
        self.torn = self._content.torn

    def markdown(self) -> str:
        return markdown.accuracy_markdown(self._content, self._summary)

    def _results(self) -> pandas.DataFrame:
        return frames.frame(RESULT_COLUMNS, result_rows(self._content, self._summary))

    def _samples(self) -> pandas.DataFrame:
        return frames.frame(SAMPLE_COLUMNS, sample_rows(self._content, self._summary))

    def _timings(self) -> pandas.DataFrame:
        return frames.frame(frames.TIMING_COLUMNS, frames.timing_rows(self._content.samples))


class _Sweep(Run):
    def __init__(self, folder: Path) -> None:
        self._content: SweepContent = read_sweep(folder)
        self._summary: SweepSummary = summarise_sweep(self._content)
        self.folder, self.manifest = folder, self._content.manifest
        self.verdict = self._summary.verdict
        self.headline = sweep_headline(self._summary)
        self.device = self._summary.device
        self.num_done = len(self._content.blocks)
        self.num_planned = len(self._content.points) * int(self.manifest["sweep"]["num_passes"])
        self.torn = self._content.torn

    def markdown(self) -> str:
        return markdown.sweep_markdown(self._content, self._summary)

    def _results(self) -> pandas.DataFrame:
        return frames.frame(BENCHMARK_COLUMNS, benchmark_rows(self._summary))

    def _samples(self) -> pandas.DataFrame:
        return frames.frame(frames.REPLY_COLUMNS, frames.reply_rows(self._content.outputs))

    def _timings(self) -> pandas.DataFrame:
        return frames.frame(frames.BATCH_COLUMNS, frames.batch_rows(self._content.rounds))


def open_run(folder: Path) -> Run:
    """Reads a run; every line's checksum is verified, and nothing is written.

    Raises:
        DataError: The manifest or the log cannot be read.
    """
    of_sweep = read_manifest(folder).get("command") == COMMAND
    return _Sweep(folder) if of_sweep else _AccuracyRun(folder)
