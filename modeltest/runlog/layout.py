"""Where a run's files go. The names are part of the contract with users' scripts."""

from __future__ import annotations

import secrets
import tempfile
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from modeltest.errors import DataError, one_line

MANIFEST_NAME = "manifest.json"
PARITY_NAME = "parity.json"
LOG_FOLDER = "log"


@dataclass(frozen=True, slots=True)
class RunPlace:
    """What an accuracy run's paths are made of; kept in the manifest.

    Attributes:
        output_dir: The folder above everything, absolute.
        date: `YYYY-MM-DD`, local.
        run_id: `HHMMSS-<6 hex>`, local time.
        model: Name of the model.
        task: Name of the task.
        backend: Name of the backend.
        device_label: `NPU`, `GPU` or `CPU`.
        dtype: `bf16`, `fp16` or `fp32`.
        batch_size: Requests per batch.
        tp: Tensor-parallel ranks.
    """

    output_dir: Path
    date: str
    run_id: str
    model: str
    task: str
    backend: str
    device_label: str
    dtype: str
    batch_size: int
    tp: int

    @property
    def root(self) -> Path:
        """`…/<date>/modeltest/<model>/precision_result`."""
        return self.output_dir / self.date / "modeltest" / self.model / "precision_result"

    @property
    def run_folder(self) -> Path:
        """Holds the manifest, the log, run.log and report.html."""
        return self.root / "runs" / self.run_id

    @property
    def results_folder(self) -> Path:
        """Holds the CSV files."""
        return self.root / "results" / self._tail

    @property
    def debug_folder(self) -> Path:
        """Holds the text file with every reply."""
        return self.root / "debug" / self._tail

    @property
    def index_file(self) -> Path:
        """One line per run of the whole output folder."""
        return self.output_dir / "index.csv"

    def result_file(self, kind: str) -> Path:
        """The CSV file of a kind: `result`, `confusion`, `slices`, `samples` or `pairs`."""
        stem = f"{self.task}_{self.backend}_batch{self.batch_size}_tp{self.tp}_{self.run_id}"
        return self.results_folder / f"{stem}_{kind}.csv"

    @property
    def output_file(self) -> Path:
        """Every reply as text."""
        return self.debug_folder / f"output_{self.run_id}.txt"

    @property
    def _tail(self) -> Path:
        return Path(self.device_label, "precision_test", self.task, self.dtype, self.model)


@dataclass(frozen=True, slots=True)
class PerformancePlace:
    """What the paths of a speed measurement are made of; kept in the manifest.

    Attributes:
        output_dir: The folder above everything, absolute.
        date: `YYYY-MM-DD`, local.
        run_id: `HHMMSS-<6 hex>`, local time.
        model: Name of the model.
    """

    output_dir: Path
    date: str
    run_id: str
    model: str

    @property
    def run_folder(self) -> Path:
        """Holds everything: manifest, log, run.log, tables, plots and report.html."""
        model_folder = self.output_dir / self.date / "modeltest" / self.model
        return model_folder / "performance_result" / self.run_id

    @property
    def index_file(self) -> Path:
        """One line per run of the whole output folder."""
        return self.output_dir / "index.csv"


def refuse_links(output_dir: Path, path: Path) -> None:
    """Makes sure that nothing between the output folder and a path is a symbolic link.

    The output folder itself may be one: that is its owner's choice.

    Raises:
        DataError: The link; results would be written to another place than it seems.
    """
    for step in (path, *path.parents):
        if step == output_dir:
            return
        if step.is_symlink():
            raise DataError(
                one_line(f"{step}: is a symbolic link; results are not written through links, ")
                + "remove it"
            )


def check_writable(output_dir: Path) -> None:
    """Makes sure that results can be written, before anything slow happens; makes nothing.

    Raises:
        DataError: The folder cannot be made or written.
    """
    try:
        wanted = output_dir.absolute()
        there = next(folder for folder in (wanted, *wanted.parents) if folder.exists())
        with tempfile.TemporaryFile(dir=there) as probe:
            probe.write(b"\0")
    except OSError as error:
        raise DataError(
            one_line(f"--output-dir {output_dir}: cannot be written ({error.strerror})")
            + "; choose another folder"
        ) from error


def new_run_id(now: datetime) -> str:
    """A run id that no other run has: local time and six random hex digits."""
    return f"{now:%H%M%S}-{secrets.token_hex(3)}"
