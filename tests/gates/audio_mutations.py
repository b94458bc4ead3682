"""Feeds mutated clips to the decoder: nothing but audio or an AudioError may come out.

    python tests/gates/audio_mutations.py [--count N] [--seed S] [--seconds T] [--processes P]

Every process decodes in a watched child, which is replaced when it dies or hangs. A clip
whose tail was cut must be refused, or decode to all of the uncut clip's samples, bit by bit.
An MP3 without a length header cut between two frames cannot be told from a whole one; it
must carry the note that says so. One line of counts; exit status 1 after a violation.
Mutation number I of seed S is the same everywhere: `--only I` repeats it.
"""

from __future__ import annotations

import argparse
import io
import mmap
import os
import random
import resource
import signal
import sys
import time
import traceback
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[2]))

import numpy as np
import soundfile
from support.counts import add_at_least, enough, short_of

from modeltest.audio.decode import decode, inspect
from modeltest.audio.mpeg import UNPROVEN_END
from modeltest.errors import AudioError
from modeltest.records import Audio, AudioSource

HANG_S = 10.0
POLL_S = 0.05
MEMORY_BYTES = 2 << 30
RATE_HZ = 8_000
COUNTERS = ("next", "done", "decoded", "refused", "cuts", "whole", "unprovable", "violations")
NEXT, DONE, DECODED, REFUSED, CUTS, WHOLE, UNPROVABLE, VIOLATIONS = range(len(COUNTERS))
ODD_NUMBERS = (0, 1, 2, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF)


def encoded(num_frames: int, container: str, subtype: str, **options: object) -> bytes:
    noise = np.random.default_rng(num_frames).normal(0, 0.2, num_frames).clip(-1, 1)
    file = io.BytesIO()
    soundfile.write(file, noise, RATE_HZ, format=container, subtype=subtype, **options)
    return file.getvalue()


def valid_clips() -> list[bytes]:
    """Small valid clips of every accepted container; FLAC and OGG of several frames."""
    fixed_rate = {"bitrate_mode": "CONSTANT", "compression_level": 0.5}
    tagged = encoded(1000, "MP3", "MPEG_LAYER_III", **fixed_rate)
    return [
        encoded(900, "WAV", "PCM_16"),
        encoded(700, "WAV", "PCM_24", endian="BIG"),
        encoded(801, "WAVEX", "PCM_U8"),
        encoded(600, "RF64", "PCM_16"),
        encoded(600, "WAV", "FLOAT"),
        encoded(900, "FLAC", "PCM_16"),
        encoded(5000, "FLAC", "PCM_S8"),
        encoded(800, "FLAC", "PCM_24"),
        tagged,
        encoded(1500, "MP3", "MPEG_LAYER_III", bitrate_mode="VARIABLE", compression_level=0.5),
        tagged[tagged.index(tagged[:2], 2) :],
        encoded(900, "OGG", "VORBIS"),
        encoded(1200, "OGG", "OPUS"),
        encoded(700, "AIFF", "PCM_16"),
        encoded(700, "AU", "PCM_16"),
    ]


def cut(data: bytearray, pick: random.Random, _: list[bytes]) -> None:
    # Some just before the end, some where fixed-rate MP3 frames end.
    end = pick.choice((pick.randrange(len(data)), -pick.randrange(1, 40), pick.randrange(20) * 72))
    del data[end:]


def flip_bits(data: bytearray, pick: random.Random, _: list[bytes]) -> None:
    for _ in range(pick.choice((1, 1, 2, 8, 64))):
        data[pick.randrange(len(data))] ^= 1 << pick.randrange(8)


def edit_header(data: bytearray, pick: random.Random, _: list[bytes]) -> None:
    size = pick.choice((1, 2, 4, 8))
    number = pick.choice((*ODD_NUMBERS, len(data), pick.getrandbits(32)))
    at = pick.randrange(min(len(data), 96))
    number &= (1 << 8 * size) - 1
    data[at : at + size] = number.to_bytes(size, pick.choice(("little", "big")))


def splice(data: bytearray, pick: random.Random, clips: list[bytes]) -> None:
    other = pick.choice(clips)
    data[pick.randrange(len(data)) :] = other[pick.randrange(len(other)) :]


def remove(data: bytearray, pick: random.Random, _: list[bytes]) -> None:
    at = pick.randrange(len(data))
    del data[at : at + pick.choice((1, 2, 4, 27, 144, 500))]


def insert(data: bytearray, pick: random.Random, _: list[bytes]) -> None:
    at = pick.randrange(len(data) + 1)
    data[at:at] = pick.choice((pick.randbytes(pick.randrange(1, 64)), bytes(64), data[:200]))


def blank(data: bytearray, pick: random.Random, _: list[bytes]) -> None:
    at = pick.randrange(len(data))
    end = min(at + pick.choice((1, 4, 32, 256)), len(data))
    data[at:end] = bytes(end - at)


OTHERS = (flip_bits, edit_header, splice, remove, insert, blank)


def mutation(seed: int, index: int, clips: list[bytes]) -> tuple[int, bytes, bool]:
    """The clip's number, its mutated bytes, and whether only its tail was cut."""
    pick = random.Random(f"{seed}:{index}")
    number = pick.randrange(len(clips))
    data = bytearray(clips[number])
    if pick.random() < 0.3:
        cut(data, pick, clips)
        return number, bytes(data), len(data) < len(clips[number])
    for _ in range(pick.choice((1, 1, 1, 2, 3))):
        if data:
            pick.choice(OTHERS)(data, pick, clips)
    return number, bytes(data), False


def judge(data: bytes, whole: Audio, is_cut: bool, look_first: bool) -> tuple[int, ...]:
    """Decodes; returns which counters go up."""
    source = AudioSource("clip", read=lambda: data)
    try:
        if look_first:
            inspect(source)
        audio = decode(source, RATE_HZ)
    except AudioError as error:
        bad = "\n" in str(error) or not str(error).startswith("clip: ")
        return (REFUSED, VIOLATIONS) if bad else (REFUSED,)
    if audio.waveform.dtype != np.float32 or not np.isfinite(audio.waveform).all():
        return DECODED, VIOLATIONS
    if not is_cut:
        return (DECODED,)
    if audio.waveform.tobytes() == whole.waveform.tobytes():
        return DECODED, WHOLE
    return (DECODED, UNPROVABLE if UNPROVEN_END in audio.note else VIOLATIONS)


def work(
    counts: memoryview, options: argparse.Namespace, clips: list[bytes], whole: list[Audio]
) -> None:
    """Decodes mutations `counts[NEXT]`, `+ processes`, … until the count or the parent stops it."""
    errors = os.fdopen(os.dup(2), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # libmpg123 comments on every bad frame
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    while (index := counts[NEXT]) < options.count:
        number, data, is_cut = mutation(options.seed, index, clips)
        try:
            raised = judge(data, whole[number], is_cut, index % 8 == 0)
        except Exception:
            traceback.print_exc(file=errors)
            raised = (VIOLATIONS,)
        for counter in (*raised, DONE, *((CUTS,) if is_cut else ())):
            counts[counter] += 1
        if VIOLATIONS in raised:
            print(f"violation: --seed {options.seed} --only {index}", file=errors, flush=True)
        counts[NEXT] = index + options.processes


class Watched:
    """A decoding child, replaced behind the mutation at which it died or hung."""

    def __init__(
        self, first: int, options: argparse.Namespace, clips: list[bytes], whole: list[Audio]
    ) -> None:
        self.counts = memoryview(mmap.mmap(-1, 8 * len(COUNTERS))).cast("q")
        self.counts[NEXT] = first
        self.options, self.clips, self.whole = options, clips, whole
        self.crashes = self.hangs = 0
        self.running = False
        self.start()

    def start(self) -> None:
        self.seen, self.since_s = self.counts[NEXT], time.monotonic()
        self.pid = os.fork()
        if self.pid == 0:
            work(self.counts, self.options, self.clips, self.whole)
            os._exit(0)
        self.running = True

    def watch(self) -> None:
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        if pid and os.waitstatus_to_exitcode(status) == 0:
            self.running = False
        elif pid:
            self.crashes += 1
            self.skip("crash")
        elif self.counts[NEXT] != self.seen:
            self.seen, self.since_s = self.counts[NEXT], time.monotonic()
        elif time.monotonic() - self.since_s > HANG_S:
            self.stop()
            self.hangs += 1
            self.skip("hang")

    def skip(self, what: str) -> None:
        index = self.counts[NEXT]
        print(f"{what}: --seed {self.options.seed} --only {index}", file=sys.stderr)
        self.counts[NEXT] = index + self.options.processes
        self.counts[DONE] += 1
        self.start()

    def stop(self) -> None:
        if self.running:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            self.running = False


def run(options: argparse.Namespace) -> int:
    clips = valid_clips()
    whole = [decode(AudioSource("clip", read=lambda data=data: data), RATE_HZ) for data in clips]
    start_s = time.monotonic()
    children = [Watched(first, options, clips, whole) for first in range(options.processes)]
    while any(child.running for child in children):
        time.sleep(POLL_S)
        for child in children:
            if child.running:
                child.watch()
        if time.monotonic() - start_s > options.seconds:
            for child in children:
                child.stop()
    wall_s = time.monotonic() - start_s
    total = {
        name: sum(child.counts[number] for child in children)
        for number, name in enumerate(COUNTERS)
    }
    crashes = sum(child.crashes for child in children)
    hangs = sum(child.hangs for child in children)
    print(
        f"audio mutations: {total['done']} of {options.count}, seed {options.seed}, "
        f"{wall_s:.1f} s, {total['done'] / wall_s:.0f}/s; decoded {total['decoded']}, refused "
        f"{total['refused']}; cuts {total['cuts']}, of these whole {total['whole']}, noted as "
        f"unprovable {total['unprovable']}; decoder crashes {crashes}, hangs {hangs}, "
        f"violations {total['violations']}"
    )
    short = short_of("audio mutations", total["done"], enough(options.count, options), options)
    return int(bool(total["violations"] or hangs or short))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=100_000, help="mutations")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=150.0, help="stop after so long")
    parser.add_argument("--processes", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--only", type=int, help="repeat this mutation in this process")
    add_at_least(parser)
    options = parser.parse_args()
    if options.only is None:
        return run(options)
    clips = valid_clips()
    number, data, is_cut = mutation(options.seed, options.only, clips)
    whole = decode(AudioSource("clip", read=lambda: clips[number]), RATE_HZ)
    raised = judge(data, whole, is_cut, look_first=True)
    print(f"clip {number}, {len(data)} bytes:", *(COUNTERS[counter] for counter in raised))
    return int(VIOLATIONS in raised)


if __name__ == "__main__":
    sys.exit(main())
