"""Where the files of a parity check go."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from modeltest.runlog.layout import PerformancePlace, new_run_id


@dataclass(frozen=True, slots=True)
class ParityPlace(PerformancePlace):
    """As of a speed measurement, in a folder of another name."""

    @property
    def run_folder(self) -> Path:
        """Holds parity.csv, parity_samples.csv and parity.json."""
        model_folder = self.output_dir / self.date / "modeltest" / self.model
        return model_folder / "parity_result" / self.run_id


def plan_parity_place(model: str, output_dir: Path) -> ParityPlace:
    """Where a check that starts now would put its files; nothing is made."""
    now = datetime.now()
    return ParityPlace(output_dir.resolve(), f"{now:%Y-%m-%d}", new_run_id(now), model)
