"""Forces every rule of the verdict in a real run, and shows that clean runs stay VALID.

    python tests/gates/verdicts.py [--clean N] [--seed S]

Each rule: exit code, first line of the output, mark and reason in every report. One line of
counts; exit status 1 after a violation.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import functools
import json
import math
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from support import strace
from support.checkout import (
    add_source,
    copy_project,
    make_dirty,
    workspace,
    write_clip,
    write_clips,
)
from support.commands import (
    Finished,
    each_in_processes,
    null_eval,
    run_cold,
    run_warm,
    warm_up,
)
from support.odd_backends import (
    answer_unclearly,
    drop_the_audio,
    fail_behind,
    fit_none,
    fit_two,
    repeat_a_word,
    reply_all_but_one_the_same,
    reply_nothing,
    reply_the_same,
    swap_half,
)
from support.runs import report_files, run_folder

EXIT = {"VALID": 0, "LIMITED": 0, "INVALID": 3, "INCOMPLETE": 4}
NUM_CLIPS = 12
NUM_PROCESSES = 2


@dataclasses.dataclass(frozen=True)
class Forced:
    """A run with one thing wrong, and what must be said of it."""

    folder: Path
    done: Finished
    word: str
    reason: str


class Gate:
    """Makes the runs."""

    def __init__(self, root: Path, seed: int) -> None:
        self.root = root
        self.seed = seed
        self.data = write_clips(root / "data", NUM_CLIPS, seed)
        self.eval = null_eval(self.data)
        done = warm_up(self.data, root / "clean")
        if done.code:
            raise RuntimeError(f"the clean run ended {done.code}: {done.err}")

    def clean(self, number: int) -> Forced:
        """A run on clips of its own: the same ones again would give the same verdict."""
        folder = self.root / f"clean-{number}"
        data = write_clips(self.root / f"clean-data-{number}", NUM_CLIPS, self.seed + 1 + number)
        return Forced(folder, run_warm(null_eval(data), folder), "VALID", "")

    def failed_sample(self, name: str) -> Forced:
        data = self._clips(name)
        write_clip(data / "f0000_0_cough.wav", "long", 31.0)
        return self._run(name, null_eval(data), "INVALID", "1 of 12 samples failed")

    def too_many_failures(self, name: str) -> Forced:
        data = self._clips(name)
        write_clip(data / "f0000_0_cough.wav", "long", 31.0)
        command = null_eval(data, "--fail-on-error", "0")
        return self._run(name, command, "INCOMPLETE", "stopped after 1 failed samples")

    def unparsed_replies(self, name: str) -> Forced:
        return self._run(name, self.eval, "VALID", "1 of 12 replies unparsed", answer_unclearly)

    def limited(self, name: str) -> Forced:
        return self._run(name, [*self.eval, "--limit", "5"], "LIMITED", "5 of 12 samples")

    def damaged_log(self, name: str) -> Forced:
        def damage(lines: list[bytes]) -> list[bytes]:
            return [*lines[:6], b"?" + lines[6][1:], *lines[7:]]

        return self._rewritten(name, damage, "INVALID", "damaged inside")

    def contradicting_replies(self, name: str) -> Forced:
        def contradict(lines: list[bytes]) -> list[bytes]:
            record = _samples(lines)[3]
            record["response"]["text"] += "?"
            return [*lines, _line(record)]

        return self._rewritten(name, contradict, "INVALID", "two different replies for ")

    def foreign_samples(self, name: str) -> Forced:
        def replace(lines: list[bytes]) -> list[bytes]:
            records = _samples(lines)
            records[2]["sample_id"] = "f9999_0_cough"
            records[2]["key"] = self._key(name, records[2])
            return [lines[0], *(_line(record) for record in records)]

        return self._rewritten(name, replace, "INVALID", "not those of the manifest")

    def doubled_sample(self, name: str) -> Forced:
        def double(lines: list[bytes]) -> list[bytes]:
            record = _samples(lines)[2]
            record["truth"] = "cough"
            record["key"] = self._key(name, record)
            return [*lines, _line(record)]

        return self._rewritten(name, double, "INVALID", "not those of the manifest")

    def another_runs_samples(self, name: str) -> Forced:
        """The same clips' replies by another seed, as a copied log file brings them."""
        other = self.root / "other"
        run_warm([*self.eval, "--seed", "1"], other)
        [segment] = (run_folder(other) or other).glob("log/*.jsonl")
        lines = segment.read_bytes().split(b"\n")[:-1]
        return self._rewritten(name, lambda _: lines, "INVALID", "belong to another run")

    def another_runs_log(self, name: str) -> Forced:
        """The log of a run that was asked the same: none of its samples can tell."""
        reason = "belongs to another run, or manifest.json was changed"
        return self._rewritten(name, lambda _: self._asked_the_same(name), "INVALID", reason)

    def another_runs_log_beside(self, name: str) -> Forced:
        """The same, behind the run's own log in one file."""
        reason = "belongs to another run, or manifest.json was changed"
        more = self._asked_the_same(name)
        return self._rewritten(name, lambda lines: [*lines, *more], "INVALID", reason)

    def headless_log(self, name: str) -> Forced:
        reason = "belongs to another run, or manifest.json was changed"
        return self._rewritten(name, lambda lines: lines[1:], "INVALID", reason)

    def changed_manifest(self, name: str) -> Forced:
        """Another device by name, sealed again by whoever changed it."""
        from modeltest.runlog.manifest import read_manifest, write_manifest

        folder = self.root / name
        run_warm(self.eval, folder)
        run = run_folder(folder) or folder
        manifest = read_manifest(run)
        write_manifest(run, {**manifest, "device": {**manifest["device"], "name": "another"}})
        done = run_warm(["report", "last"], folder)
        return Forced(folder, done, "INVALID", "or manifest.json was changed")

    def missing_samples(self, name: str) -> Forced:
        reason = "9 of 12 samples evaluated"

        def before_the_last_three(lines: list[bytes]) -> list[bytes]:
            samples = [place for place, line in enumerate(lines) if b'"type":"sample"' in line]
            return lines[: samples[-3]]

        return self._rewritten(name, before_the_last_three, "INCOMPLETE", reason)

    def local_changes(self, name: str) -> Forced:
        dirty = self.root / "dirty"
        copy_project(self.root / "checkout", dirty)
        make_dirty(dirty)
        folder = self.root / name
        done = run_cold(self.eval, folder, PYTHONPATH=str(dirty))
        return Forced(folder, done, "INVALID", "local changes")

    def unchecked_source(self, name: str) -> Forced:
        """A working tree that git refuses: nobody knows whether it has local changes."""
        refused = self.root / "refused"
        copy_project(self.root / "checkout", refused)
        (refused / ".git").mkdir()
        folder = self.root / name
        done = run_cold(self.eval, folder, PYTHONPATH=str(refused))
        return Forced(folder, done, "INVALID", "could not be checked for local changes")

    def changed_clip(self, name: str) -> Forced:
        data = self._clips(name)
        folder = self.root / name

        def change() -> None:  # while the manifest's rename waits: behind the check of the clips
            strace.wait_for(lambda: any(folder.glob("outputs/*/modeltest/*/*/runs/*/.manifest*")))
            write_clip(data / "f0002_0_sigh.wav", "other", 0.1)

        done = strace.traced(
            null_eval(data),
            folder,
            self.root / f"{name}.trace",
            "rename:delay_enter=700000:when=1",
            meanwhile=change,
        )
        return Forced(folder, done, "INVALID", "1 of 12 samples failed")

    def batch_split(self, name: str) -> Forced:
        return self._run(name, self.eval, "VALID", "batches were split (out of memory)", fit_two)

    def out_of_memory(self, name: str) -> Forced:
        return self._run(name, self.eval, "INVALID", "12 of 12 samples failed", fit_none)

    def shared_audio(self, name: str) -> Forced:
        data = self._clips(name)
        shutil.copy(data / "f0000_0_cough.wav", data / "f0002_0_sigh.wav")
        return self._run(name, null_eval(data), "VALID", "2 samples share their audio bytes")

    def changed_setting(self, name: str) -> Forced:
        command = [*self.eval, "--set", "task.max_new_tokens=3"]
        return self._run(name, command, "VALID", "max_new_tokens=3")

    def grave_before_light(self, name: str) -> Forced:
        data = self._clips(name)
        write_clip(data / "f0000_0_cough.wav", "long", 31.0)
        command = null_eval(data, "--limit", "5")
        return self._run(name, command, "INVALID", "5 of 12 samples")

    def audio_dropped(self, name: str) -> Forced:
        reason = "the audio was not heard: 8 of 8 replies stay the same with silence"
        return self._run(name, self.eval, "INVALID", reason, drop_the_audio)

    def half_swapped(self, name: str) -> Forced:
        reason = "6 of 12 clips get another answer when asked alone"
        return self._run(name, self.eval, "INVALID", reason, swap_half)

    def constant_reply(self, name: str) -> Forced:
        reason = "all 12 replies are the same"
        return self._run(name, self.eval, "INVALID", reason, reply_the_same)

    def collapsed_class(self, name: str) -> Forced:
        reason = "laughter is 11 of 12 answers, and 17% of the truths"
        return self._run(name, self.eval, "INVALID", reason, reply_all_but_one_the_same)

    def repeated_words(self, name: str) -> Forced:
        reason = "4 of 12 replies repeat one piece of text"
        return self._run(name, self.eval, "INVALID", reason, repeat_a_word)

    def empty_replies(self, name: str) -> Forced:
        return self._run(name, self.eval, "INVALID", "4 of 12 replies are empty", reply_nothing)

    def probes_fail(self, name: str) -> Forced:
        # One request warms up.
        reason = "not checked: whether the audio was heard (0 probes, 4 needed: RuntimeError"
        return self._run(name, self.eval, "VALID", reason, fail_behind(1 + NUM_CLIPS))

    def probes_missing(self, name: str) -> Forced:
        def before_the_last_three(lines: list[bytes]) -> list[bytes]:
            probes = [place for place, line in enumerate(lines) if b'"type":"probe"' in line]
            return lines[: probes[-3]]

        return self._rewritten(
            name, before_the_last_three, "INCOMPLETE", "3 of 20 probes were not asked"
        )

    def too_few_to_judge(self, name: str) -> Forced:
        reason = "not checked: whether the audio was heard (3 probes, 4 needed)"
        return self._run(name, [*self.eval, "--limit", "3"], "LIMITED", reason)

    def _asked_the_same(self, name: str) -> list[bytes]:
        """The log of another run of the same command."""
        other = self.root / f"{name}-other"
        run_warm(self.eval, other)
        [segment] = (run_folder(other) or other).glob("log/*.jsonl")
        return segment.read_bytes().split(b"\n")[:-1]

    def _key(self, name: str, record: dict[str, Any]) -> str:
        from modeltest.runlog.keys import record_row, reply_key
        from modeltest.runlog.manifest import read_manifest

        manifest = read_manifest(run_folder(self.root / name) or self.root)
        return reply_key(record_row(record), manifest["identity_sha256"])

    def _clips(self, name: str) -> Path:
        return Path(shutil.copytree(self.data, self.root / f"{name}-data"))

    def _run(
        self,
        name: str,
        command: list[str],
        word: str,
        reason: str,
        before: Callable[[], object] | None = None,
    ) -> Forced:
        folder = self.root / name
        return Forced(folder, run_warm(command, folder, before), word, reason)

    def _rewritten(
        self, name: str, change: Callable[[list[bytes]], list[bytes]], word: str, reason: str
    ) -> Forced:
        """A finished run whose log's lines were changed, reported anew."""
        folder = self.root / name
        run_warm(self.eval, folder)
        [segment] = (run_folder(folder) or folder).glob("log/*.jsonl")
        lines = change(segment.read_bytes().split(b"\n")[:-1])
        segment.write_bytes(b"".join(line + b"\n" for line in lines))
        return Forced(folder, run_warm(["report", "last"], folder), word, reason)


def _samples(lines: list[bytes]) -> list[dict[str, Any]]:
    records = [json.loads(line[9:]) for line in lines]
    return [record for record in records if record["type"] == "sample"]


def _line(record: dict[str, Any]) -> bytes:
    from modeltest.runlog.segment import encode_line

    return encode_line(record)[:-1]


def judge(forced: Forced) -> Iterator[str]:
    """What is wrong with how a run was judged."""
    done = forced.done
    if done.code != EXIT[forced.word]:
        yield f"exit {done.code}, not {EXIT[forced.word]}: {done.err[-300:]}"
        return
    if done.has_traceback:
        yield f"traceback: {done.err[-300:]}"
    word, _, reasons = done.verdict.partition(": ")
    if word != forced.word or forced.reason not in reasons or (not forced.reason and reasons):
        yield f"first line {done.verdict!r}, not {forced.word}: …{forced.reason}…"
    files = report_files(forced.folder)
    for name in ("result", "confusion", "samples"):
        with files[name].open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        if not rows or {row["validity"] for row in rows} != {forced.word}:
            yield f"{name}: validity {sorted({row['validity'] for row in rows})}"
        if name == "result" and not all(forced.reason in row["reasons"] for row in rows):
            yield "the reason is not in every row of the result"
    replies = files["replies"].read_text("utf-8").partition("\n")[0]
    if not replies.startswith(forced.word) or forced.reason not in replies:
        yield f"first line of the replies: {replies!r}"
    page = files["report"].read_text("utf-8")
    if f"<strong>{forced.word}</strong>" not in page or forced.reason not in page:
        yield "report.html without the mark or the reason"


def clean_run(gate: Gate, number: int) -> list[str]:
    """What is wrong with one clean run."""
    return [f"clean run {number}: {problem}" for problem in judge(gate.clean(number))]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--clean", type=int, default=50, help="clean runs")
    parser.add_argument("--seed", type=int, default=0)
    add_source(parser)
    options = parser.parse_args()
    if problem := strace.missing_tool():
        print(f"verdicts: {problem}")
        return 1
    begin_s = time.monotonic()
    with workspace(options.source) as root:
        gate = Gate(root, options.seed)
        num_violations = num_clean = 0
        forced: list[Callable[[str], Forced]] = [
            gate.failed_sample, gate.too_many_failures, gate.unparsed_replies, gate.limited,
            gate.damaged_log, gate.contradicting_replies, gate.foreign_samples,
            gate.doubled_sample, gate.another_runs_samples, gate.another_runs_log,
            gate.another_runs_log_beside, gate.headless_log, gate.changed_manifest,
            gate.missing_samples,
            gate.local_changes, gate.unchecked_source, gate.changed_clip,
            gate.batch_split, gate.out_of_memory, gate.shared_audio, gate.changed_setting,
            gate.grave_before_light, gate.audio_dropped, gate.half_swapped, gate.constant_reply,
            gate.collapsed_class, gate.repeated_words, gate.empty_replies, gate.probes_fail,
            gate.probes_missing, gate.too_few_to_judge,
        ]  # fmt: skip
        for force in forced:
            for problem in judge(force(force.__name__)):
                num_violations += 1
                print(f"  VIOLATION {force.__name__}: {problem}", flush=True)
        print(f"  … {len(forced)} rules forced", flush=True)
        work = functools.partial(clean_run, gate)
        for problems in each_in_processes(work, range(options.clean), math.inf, NUM_PROCESSES):
            num_clean += not problems
            num_violations += len(problems)
            for problem in problems:
                print(f"  VIOLATION {problem}", flush=True)
    print(
        f"verdicts: {len(forced)} rules forced, {num_clean} of {options.clean} clean runs VALID, "
        f"{num_violations} violations, seed {options.seed}, {time.monotonic() - begin_s:.0f} s"
    )
    return int(num_violations > 0)


if __name__ == "__main__":
    sys.exit(main())
