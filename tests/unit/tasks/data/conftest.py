"""Data folders of every layout, small enough to build for each test."""

import io
from pathlib import Path

import numpy as np
import pytest
import soundfile

from modeltest.settings.schema import TaskSettings

CHOICES = [
    {"letter": "A", "label": "laughter", "text": "Laughter"},
    {"letter": "B", "label": "sigh", "text": "Sigh"},
    {"letter": "C", "label": "cough", "text": "Cough"},
    {"letter": "D", "label": "throatclearing", "text": "Throat clearing"},
    {"letter": "E", "label": "sneeze", "text": "Sneeze"},
    {"letter": "F", "label": "sniff", "text": "Sniff"},
]
BY_NAME = {
    "source": "file_name",
    "pattern": r"(?P<speaker>(?P<gender>[fm])\d+)_\d+_(?P<label>[a-z]+)",
    "rename": {"gender": {"f": "female", "m": "male"}},
}


@pytest.fixture(scope="session")
def flac() -> bytes:
    file = io.BytesIO()
    soundfile.write(file, np.zeros(160), 16_000, format="FLAC")
    return file.getvalue()


@pytest.fixture
def write(tmp_path, flac):
    """Writes clips (or other files) below the data folder and returns that folder."""

    def _write(*names: str, content: bytes = flac, root: Path = tmp_path / "data") -> Path:
        root.mkdir(exist_ok=True)
        for name in names:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(content)
        return root

    return _write


@pytest.fixture
def task():
    """Builds the settings of a task on a data folder."""

    def _task(root: Path | None, label: dict | None = None, **others: object) -> TaskSettings:
        return TaskSettings(
            local_dataset_path=root,
            prompt="{choices}",
            choices=CHOICES,
            label=label or BY_NAME,
            **others,
        )

    return _task
