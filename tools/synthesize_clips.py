#!/usr/bin/env python3
"""Writes vocalsound_mini: 120 synthetic clips in the layout of VocalSound's 16 kHz release.

Usage:
    python tools/synthesize_clips.py --output modeltest/assets/vocalsound_mini
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from pathlib import Path

import numpy as np
import soundfile
from vocal_source import SAMPLE_RATE_HZ
from vocal_synthesis import LABELS, Speaker, synthesize

SPLIT = "test"
# VocalSound numbers its speakers with gaps; odd numbers are women here, even ones men.
SPEAKER_NUMBERS = tuple(range(3, 143, 7))
CLASSES = (
    ("/m/01j3sz", "Laughter"),
    ("/m/07plz5l", "Sigh"),
    ("/m/01b_21", "Cough"),
    ("/m/0dl9sf8", "Throat clearing"),
    ("/m/01hsr_", "Sneeze"),
    ("/m/07ppn3j", "Sniff"),
)

_CARD = """# vocalsound_mini

{count} synthetic clips of six vocal sounds in the file layout of VocalSound's 16 kHz release,
for trying the harness, a model's plumbing and a device without downloading anything.

| | |
| --- | --- |
| origin | synthesised by `tools/synthesize_clips.py`; no real person was recorded |
| speakers | {women} synthetic women and {men} synthetic men, 18 to 80 years old |
| classes | laughter, sigh, cough, throat clearing, sneeze, sniff: one clip a speaker each |
| format | 16 kHz, mono, 16-bit FLAC, {size_mb:.1f} MB in all |
| duration | {shortest_s:.2f} to {longest_s:.2f} s, mean {mean_s:.2f} s, median {median_s:.2f} s, \
total {total_s:.0f} s |
| peak level | {quietest_db:.1f} to {loudest_db:.1f} dB of full scale |
| licence | Apache-2.0 |

Every speaker has a vocal tract, a pitch, a roughness and habits of their own, and every clip a
room, a background noise, a microphone and a level. Some takes are made hard to tell apart on
purpose: restrained sneezes are near coughs, breathy sighs near sniffs, short throat clearings
near coughs.

Fit for: checking that loading, batching, prompting, parsing, scoring and a device work.

Not fit for: judging a real model. A score on these clips says nothing about real recordings.
Countries, languages and health conditions in `meta/te_meta.json` are made up and have no effect
on the sound, except that a cold adds some hoarseness.

## Files

- `audio_16k/<speaker>_0_<class>.flac`: the clips.
- `datafiles/te.json`: the list of clips with their AudioSet label.
- `class_labels_indices_vs.csv`: index, AudioSet label and name of each class.
- `meta/te_meta.json`: speaker, gender, age, country, native language, health condition.

Made again, byte for byte with the same numpy, scipy and libsndfile, by:

    python tools/synthesize_clips.py --output modeltest/assets/vocalsound_mini
"""


def write_clips(folder: Path, speakers: list[Speaker]) -> dict[str, float]:
    """Writes every speaker's clips.

    Args:
        folder: Root of the data set.
        speakers: Who to record.

    Returns:
        The statistics that the card states.
    """
    audio_folder = folder / "audio_16k"
    audio_folder.mkdir(parents=True, exist_ok=True)
    durations_s, peaks, size_bytes = [], [], 0
    for speaker in speakers:
        for label in LABELS:
            samples = synthesize(speaker, label, 0)
            path = audio_folder / f"{speaker.speaker_id}_0_{label}.flac"
            soundfile.write(path, samples, SAMPLE_RATE_HZ, format="FLAC", subtype="PCM_16")
            durations_s.append(len(samples) / SAMPLE_RATE_HZ)
            peaks.append(float(np.max(np.abs(samples))))
            size_bytes += path.stat().st_size
    peaks_db = 20.0 * np.log10(peaks)
    return {
        "count": len(durations_s),
        "size_mb": size_bytes / 1e6,
        "shortest_s": min(durations_s),
        "longest_s": max(durations_s),
        "mean_s": float(np.mean(durations_s)),
        "median_s": float(np.median(durations_s)),
        "total_s": float(np.sum(durations_s)),
        "quietest_db": float(np.min(peaks_db)),
        "loudest_db": float(np.max(peaks_db)),
    }


def write_lists(folder: Path, speakers: list[Speaker]) -> None:
    """Writes the clip list, the class table and the speakers' data."""
    (folder / "datafiles").mkdir(parents=True, exist_ok=True)
    (folder / "meta").mkdir(parents=True, exist_ok=True)
    mids = dict(zip(LABELS, (mid for mid, _ in CLASSES), strict=True))
    clips = sorted(
        (f"audio_16k/{speaker.speaker_id}_0_{label}.flac", mids[label])
        for speaker in speakers
        for label in LABELS
    )
    data = {"data": [{"wav": wav, "labels": mid} for wav, mid in clips]}
    people = [
        [
            speaker.speaker_id,
            speaker.gender,
            str(speaker.age_years),
            speaker.country,
            speaker.native_language,
            speaker.health,
        ]
        for speaker in sorted(speakers, key=lambda speaker: speaker.speaker_id)
    ]
    _write_json(folder / "datafiles" / "te.json", data)
    _write_json(folder / "meta" / "te_meta.json", people)
    table = folder / "class_labels_indices_vs.csv"
    with table.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("index", "mid", "display_name"))
        writer.writerows((index, mid, name) for index, (mid, name) in enumerate(CLASSES))


def _write_json(path: Path, content: object) -> None:
    """Writes JSON with a closing line feed."""
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def main(arguments: list[str] | None = None) -> int:
    """Runs the tool; returns the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument(
        "--output",
        type=Path,
        required=True,
        metavar="DIR",
        help="folder to write; it is made if missing, and clips in it are overwritten",
    )
    folder = parser.parse_args(arguments).output
    if folder.exists() and not folder.is_dir():
        print(f"synthesize_clips: {folder} is not a folder", file=sys.stderr)
        return 2
    speakers = [Speaker.from_seed(SPLIT, number) for number in SPEAKER_NUMBERS]
    statistics = write_clips(folder, speakers)
    write_lists(folder, speakers)
    women = sum(speaker.gender == "female" for speaker in speakers)
    card = _CARD.format(women=women, men=len(speakers) - women, **statistics)
    (folder / "README.md").write_text(card, encoding="utf-8")
    print(
        f"{statistics['count']:.0f} clips, {statistics['size_mb']:.1f} MB, "
        f"mean {statistics['mean_s']:.2f} s, in {folder}"
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
