"""What the run log costs: microseconds per written sample, records per second replayed.

    python benchmarks/bench_runlog.py [--samples 20000] [--rounds 5] [--folder DIR]

Writes realistic records (a VocalSound sample with its prompt, reply and option logits) as a run
does, the sample's key included, synced every 64 records, and reads them back with `read_run`,
which checks everything: checksums, shapes, each record's key against the run's identity, and
the samples against the manifest's data. Prints medians over the rounds; the targets are at most
60 µs per sample and at least 50,000 records per second. Exit status 1 when one is missed.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from modeltest.records import AudioFacts, Response, Sample, Score, Timing
from modeltest.runlog.digests import digest
from modeltest.runlog.keys import data_sha256, sample_key, sample_row
from modeltest.runlog.manifest import SCHEMA_VERSION, write_manifest
from modeltest.runlog.run_log import open_segment, read_run, sample_record

MAX_WRITE_US = 60.0
MIN_REPLAY_PER_S = 50_000.0
PROMPT = (
    "<|audio_bos|><|AUDIO|><|audio_eos|>In this audio, what kind of sound can you hear? "
    "A: Laughter, B: Sigh, C: Cough, D: Throat clearing, E: Sneeze, F: Sniff, Please select "
    "the one closest to the correct answer. ASSISTANT:"
)
IDENTITY = digest({"prompt": PROMPT, "max_new_tokens": 65, "seed": 0})
LOGITS = (11.8125, 9.4375, 21.0625, 14.21875, 8.0, 12.53125)


def samples(count: int) -> Iterator[tuple[Sample, tuple[AudioFacts]]]:
    """Samples with the metadata of VocalSound, one clip each."""
    for index in range(count):
        name = f"f{index:05d}_0_cough"
        metadata = {"speaker": name[:6], "gender": "female", "age": "27", "country": "US"}
        clip = AudioFacts(f"{index:064x}", 133_164, 4.16, 16_000, 1, "WAV/PCM_16")
        yield Sample(name, (), "cough", metadata), (clip,)


def manifest(count: int) -> dict[str, Any]:
    """What `read_run` asks of an accuracy run's manifest, identity and data included."""
    rows = b"".join(sample_row(sample, clips) for sample, clips in samples(count))
    settings = {"version": "1", "metrics": ["acc"], "slices": {"by": ["gender"]}}
    data = {"num_samples": count, "num_available": count, "warnings": []}
    return {
        "schema_version": SCHEMA_VERSION,
        "command": "eval",
        "started": "",
        "labels": ["cough"],
        "dp": 1,
        "place": {"run_id": ""},
        "task": {"name": "", "overrides": [], "settings": settings},
        "model": {"name": "", "overrides": [], "settings": {"attention": ""}},
        "prompt": {"rendered": PROMPT},
        "identity_sha256": IDENTITY,
        "data": {**data, "sha256": data_sha256(rows)},
        "device": {"name": ""},
        "packages": {"torch": None, "transformers": None},
        "tool": {"version": "", "commit": None, "dirty": None},
    }


def write(folder: Path, count: int) -> float:
    """Writes a run; returns microseconds per sample, making key and record included."""
    asked = list(samples(count))
    start_s = time.perf_counter()
    with open_segment(folder) as segment:
        for index, (sample, clips) in enumerate(asked):
            clip = {
                "name": f"audio_16k/{sample.sample_id}.wav", "sha256": clips[0].sha256,
                "duration_s": 4.16, "heard_s": 4.16, "sampling_rate_hz": 16_000,
                "num_channels": 1, "container": "WAV/PCM_16", "note": "", "envelope": "Zz09" * 12,
            }  # fmt: skip
            response = Response(
                sample.sample_id, "C: Cough", PROMPT, 164, 4, "stop", Timing(0.71),
                option_logits=LOGITS,
            )  # fmt: skip
            segment.append(
                sample_record(
                    index,
                    sample_key(sample, clips, IDENTITY),
                    sample,
                    ("class=cough", "gender=female", "age=26-48"),
                    (clip,),
                    response,
                    Score("cough", True, "cough", True, "cough", True),
                )
            )
    return (time.perf_counter() - start_s) / count * 1e6


def replay(folder: Path, count: int) -> float:
    """Reads the run back; returns records per second.

    Raises:
        SystemExit: It is not what was written.
    """
    start_s = time.perf_counter()
    run = read_run(folder)
    seconds = time.perf_counter() - start_s
    if len(run.samples) != count or run.problems or run.torn:
        raise SystemExit(f"read {len(run.samples)} of {count} records: {run.problems}")
    return count / seconds


def main() -> int:
    """Prints one line per figure; 1 when a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=20_000, metavar="N")
    parser.add_argument("--rounds", type=int, default=5, metavar="N")
    parser.add_argument("--folder", type=Path, help="where to write (default: a temporary folder)")
    options = parser.parse_args()
    writes, replays = [], []
    for _ in range(options.rounds):
        with tempfile.TemporaryDirectory(dir=options.folder) as name:
            folder = Path(name)
            write_manifest(folder, manifest(options.samples))
            writes.append(write(folder, options.samples))
            replays.append(replay(folder, options.samples))
    write_us, per_s = statistics.median(writes), statistics.median(replays)
    print(f"write   {write_us:8.1f} µs per sample (target at most {MAX_WRITE_US:g})")
    print(f"replay  {per_s:8.0f} records per second (target at least {MIN_REPLAY_PER_S:g})")
    missed = write_us > MAX_WRITE_US or per_s < MIN_REPLAY_PER_S
    if missed:
        print("a target was missed", file=sys.stderr)
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
