"""Task files beside folders of synthetic clips, for whole commands."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import soundfile

from support.clips import SAMPLING_RATE_HZ, Waveform

LABELS = ("cough", "laughter", "sigh", "sneeze", "sniff", "throatclearing")


def write_task(folder: Path, waveforms: Iterable[Waveform]) -> Path:
    """Writes clips and a task file that lets `modeltest eval` find and expect them.

    The labels take turns: what they say of the sounds is nothing.
    """
    clips = folder / "clips"
    clips.mkdir()
    num_clips = 0
    for num_clips, waveform in enumerate(waveforms, start=1):
        name = f"{'fm'[num_clips % 2]}{num_clips:06d}_0_{LABELS[num_clips % len(LABELS)]}.wav"
        soundfile.write(clips / name, waveform, SAMPLING_RATE_HZ)
    task = folder / "synthetic.yaml"
    task.write_text(
        f"extends: vocalsound\nlocal_dataset_path: {clips}\nexpected_samples: {num_clips}\n",
        encoding="utf-8",
    )
    return task
