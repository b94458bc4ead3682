"""What the run log costs: microseconds per written sample, records per second replayed.

    python benchmarks/bench_runlog.py [--samples 20000] [--rounds 5] [--folder DIR]

Writes realistic records (a VocalSound sample with its prompt and reply) as a run does, synced
every 64 records, and reads them back with `read_run`. Prints medians over the rounds; the
targets are at most 60 µs per sample and at least 50,000 records per second.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from modeltest.records import Response, Sample, Score, Timing
from modeltest.runlog.manifest import write_manifest
from modeltest.runlog.run_log import open_segment, read_run, sample_record

PROMPT = (
    "<|audio_bos|><|AUDIO|><|audio_eos|>In this audio, what kind of sound can you hear? "
    "A: Laughter, B: Sigh, C: Cough, D: Throat clearing, E: Sneeze, F: Sniff, Please select "
    "the one closest to the correct answer. ASSISTANT:"
)


def manifest(num_samples: int) -> dict[str, Any]:
    """What `read_run` asks of an accuracy run's manifest."""
    settings = {"version": "1", "metrics": ["acc"], "slices": {"by": ["gender"]}}
    data = {"num_samples": num_samples, "num_available": num_samples, "warnings": []}
    return {
        "schema_version": 1,
        "command": "eval",
        "started": "",
        "labels": ["cough"],
        "dp": 1,
        "place": {"run_id": ""},
        "task": {"name": "", "overrides": [], "settings": settings},
        "model": {"name": "", "overrides": [], "settings": {"attention": ""}},
        "prompt": {"rendered": PROMPT},
        "identity_sha256": "",
        "data": {**data, "sha256": ""},
        "device": {"name": ""},
        "packages": {"torch": None, "transformers": None},
        "tool": {"version": "", "commit": None, "dirty": None},
    }


def write(folder: Path, num_samples: int) -> float:
    """Writes a run; returns microseconds per sample, building the record included."""
    start_s = time.perf_counter()
    with open_segment(folder) as segment:
        for index in range(num_samples):
            name = f"f{index:05d}_0_cough"
            metadata = {"speaker": name[:6], "gender": "female", "age": "27"}
            clip = {
                "name": f"audio_16k/{name}.wav", "sha256": f"{index:064x}", "duration_s": 4.16,
                "heard_s": 4.16, "sampling_rate_hz": 16_000, "num_channels": 1,
                "container": "WAV/PCM_16", "note": "",
            }  # fmt: skip
            segment.append(
                sample_record(
                    index,
                    f"{index:064x}",
                    Sample(name, (), "cough", metadata),
                    ("class=cough", "gender=female", "age=26-48"),
                    (clip,),
                    Response(name, "C: Cough", PROMPT, 164, 4, "stop", Timing(0.71)),
                    Score("cough", True, "cough", True),
                )
            )
    return (time.perf_counter() - start_s) / num_samples * 1e6


def replay(folder: Path, num_samples: int) -> float:
    """Reads the run back; returns records per second."""
    start_s = time.perf_counter()
    found = len(read_run(folder).samples)
    seconds = time.perf_counter() - start_s
    if found != num_samples:
        raise SystemExit(f"read {found} of {num_samples} records")
    return num_samples / seconds


def main() -> None:
    """Prints one line per figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=20_000, metavar="N")
    parser.add_argument("--rounds", type=int, default=5, metavar="N")
    parser.add_argument("--folder", type=Path, help="where to write (default: a temporary folder)")
    options = parser.parse_args()
    writes, replays = [], []
    for _ in range(options.rounds):
        with tempfile.TemporaryDirectory(dir=options.folder) as name:
            folder = Path(name)
            write_manifest(folder, manifest(options.samples + 1))
            writes.append(write(folder, options.samples))
            replays.append(replay(folder, options.samples))
    print(f"write   {statistics.median(writes):8.1f} µs per sample (target 60)")
    print(f"replay  {statistics.median(replays):8.0f} records per second (target 50000)")


if __name__ == "__main__":
    main()
