"""What `mutations.py` spoils, and what must hold for each kind. Imported once a checkout is."""

from __future__ import annotations

import csv
import functools
import json
import random
import shutil
import zlib
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from support.checkout import PROJECT, write_clips
from support.commands import null_eval, run_warm, warm_up
from support.mutate import hostile_reply, mutate_bytes, mutate_json, mutate_text
from support.mutated_data import rows
from support.runs import comparable, differences, report_files, run_folder


@dataclass(frozen=True)
class Base:
    """Good material: settings files, and two finished runs."""

    folder: Path
    settings: tuple[tuple[str, str], ...]
    run: Path
    segment: bytes
    other_segment: bytes
    manifest: bytes
    samples: str
    choices_task: Any
    task_settings: Any

    def own_run(self, process: int, kind: str = "") -> Path:
        """A copy of the run's tree for one process and kind; its run folder."""
        copy = self.folder / f"own{kind}-{process}"
        if not copy.exists():
            shutil.copytree(self.folder / "run", copy)
        found = run_folder(copy)
        if found is None:  # the manifest was spoilt
            [log] = copy.glob("outputs/*/modeltest/*/*_result/runs/*/log")
            return log.parent
        return found


def prepare(folder: Path) -> Base:
    """Makes the good material in a workspace."""
    from modeltest.settings.load import load_task
    from modeltest.tasks.factory import make_task

    data = write_clips(folder / "data", 12)
    done = warm_up(data, folder / "run")
    others = write_clips(folder / "others", 14, seed=1)
    other = run_warm(null_eval(others), folder / "other")
    if done.code or other.code:
        raise RuntimeError(f"the good runs ended {done.code} and {other.code}: {done.err}")
    run, other_run = run_folder(folder / "run"), run_folder(folder / "other")
    if run is None or other_run is None:
        raise RuntimeError("the good runs left no folder")
    _remember_intervals()
    task = load_task(str(folder / "data_task.yaml"))
    files = sorted((PROJECT / "config").glob("*/*.yaml"))
    return Base(
        folder=folder,
        settings=tuple((path.parent.name, path.read_text("utf-8")) for path in files),
        run=run,
        segment=_only_segment(run).read_bytes(),
        other_segment=_only_segment(other_run).read_bytes(),
        manifest=(run / "manifest.json").read_bytes(),
        samples=comparable(folder / "run")["samples"],
        choices_task=make_task(task.name, task.settings),
        task_settings=task.settings,
    )


def _remember_intervals() -> None:
    """A third of a report's time is the intervals, pure functions of a few numbers."""
    from modeltest.metrics import class_figures, intervals

    interval = intervals.totals_interval
    known: dict[tuple[bytes, bytes], tuple[float, float] | None] = {}

    def remembered(sums: Any, counts: Any) -> tuple[float, float] | None:
        key = (sums.tobytes(), counts.tobytes())
        if key not in known:
            known[key] = interval(sums, counts)
        return known[key]

    intervals.wilson = functools.lru_cache(intervals.wilson)
    intervals.totals_interval = class_figures.totals_interval = remembered


def _only_segment(run: Path) -> Path:
    [path] = run.glob("log/*.jsonl")
    return path


def settings(base: Base, pick: random.Random, process: int) -> str:
    from modeltest.settings.load import load_model, load_task
    from modeltest.tasks.factory import make_task

    kind, text = pick.choice(base.settings)
    _, other = pick.choice(base.settings)
    if pick.random() < 0.25:
        content = mutate_bytes(text.encode(), pick, other.encode())
    else:
        content = mutate_text(text, pick, other).encode("utf-8", "surrogatepass")
    path = base.folder / f"spoilt-{process}.yaml"
    path.write_bytes(content)
    if kind == "model":
        load_model(str(path))
    else:
        task = make_task("spoilt", load_task(str(path)).settings)
        task.prompt()
    return "accepted"


def logs(base: Base, pick: random.Random, process: int) -> str:
    run = base.own_run(process)
    (run / "manifest.json").write_bytes(base.manifest)
    for path in run.glob("log/*"):
        path.unlink()
    segments = {"h-0-1.jsonl": base.segment}
    if pick.random() < 0.3:
        segments["h-0-2.jsonl"] = pick.choice((base.segment, base.other_segment))
    spoilt = pick.choice(sorted(segments))
    segments[spoilt] = mutate_bytes(segments[spoilt], pick, base.other_segment)
    for name, content in segments.items():
        (run / "log" / name).write_bytes(content)
    validity = _report(run, pick)
    if validity == "VALID":
        told = differences({"samples": base.samples}, comparable(run.parents[5].parent))
        assert not told, f"VALID with other samples: {told[0]}"
    return validity


def manifests(base: Base, pick: random.Random, process: int) -> str:
    run = base.own_run(process)
    if pick.random() < 0.5:
        content = mutate_bytes(base.manifest, pick, base.manifest)
    else:
        spoilt = mutate_json(json.loads(base.manifest), pick)
        content = json.dumps(spoilt, indent=2, sort_keys=True).encode() + b"\n"
    (run / "manifest.json").write_bytes(content)
    validity = _report(run, pick)
    # The log names the manifest by its bytes, so that even other white space is another run.
    assert content == base.manifest or validity != "VALID", "VALID all the same"
    return validity


def resealed(base: Base, pick: random.Random, process: int) -> str:
    """A manifest that was changed by somebody who made its own digest anew, not the log's."""
    from modeltest.runlog.manifest import write_manifest

    run = base.own_run(process, "-resealed")
    manifest = json.loads(base.manifest)
    del manifest["manifest_sha256"]
    spoilt = mutate_json(manifest, pick)
    write_manifest(run, spoilt if isinstance(spoilt, dict) else manifest)
    validity = _report(run, pick)
    same = (run / "manifest.json").read_bytes() == base.manifest
    assert same or validity != "VALID", "VALID all the same"
    return validity


def rechecked(base: Base, pick: random.Random, process: int) -> str:
    """Records that were changed by somebody who made their checksums anew."""
    from modeltest.runlog.segment import decode_line

    run = base.own_run(process, "-rechecked")
    lines = base.segment.split(b"\n")[:-1]
    at = pick.randrange(len(lines))
    spoilt = decode_line(lines[at])
    for _ in range(pick.choice((1, 1, 2))):
        spoilt = mutate_json(spoilt, pick)
    text = json.dumps(spoilt, separators=(",", ":")).encode()
    line = b"%08x %s" % (zlib.crc32(text), text)
    lines[at : at + pick.randrange(2)] = [line]
    for path in run.glob("log/*"):
        path.unlink()
    (run / "log" / "h-0-1.jsonl").write_bytes(b"".join(line + b"\n" for line in lines))
    return _report(run, pick)


def replies(base: Base, pick: random.Random, process: int) -> str:
    from modeltest.records import Response
    from modeltest.runlog.segment import decode_line, encode_line

    run = base.own_run(process)
    (run / "manifest.json").write_bytes(base.manifest)
    lines = []
    texts = []
    for line in base.segment.split(b"\n")[:-1]:
        record = decode_line(line)
        if record and record["type"] == "sample":
            text = hostile_reply(pick)
            texts.append(text)
            error = hostile_reply(pick) if pick.random() < 0.1 else ""
            response = Response(record["sample_id"], text, error=error)
            sample = _Sample(record["truth"])
            score = base.choices_task.score(sample, response)
            assert score.answer in (None, *base.choices_task.labels), f"answer {score.answer!r}"
            record["response"].update(text=text, error=error)
            record["score"] = {name: getattr(score, name) for name in score.__slots__}
        lines.append(encode_line(record or {}))
    for path in run.glob("log/*"):
        path.unlink()
    (run / "log" / "h-0-1.jsonl").write_bytes(b"".join(lines))
    validity = _report(run, pick)
    files = report_files(run.parents[5].parent)
    csv.field_size_limit(1 << 30)
    with files["samples"].open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(texts), f"{len(rows)} rows for {len(texts)} samples"
    assert all(row["validity"] == validity for row in rows), "a row without its mark"
    cells = [cell for row in rows for cell in row.values()]
    assert not any(cell.startswith(("=", "+", "@", "\t", "\r")) for cell in cells), "a formula"
    for name in ("replies", "report"):
        shown = files[name].read_text("utf-8").replace("\n", "")
        assert shown.isprintable(), f"{name} holds characters that steer a terminal"
    return validity


def torn(base: Base, pick: random.Random, process: int) -> str:
    from modeltest.runlog.segment import decode_line, read_segment

    whole = base.segment
    lines = whole.split(b"\n")[:-1]
    records = [decode_line(line) for line in lines]
    spoilt, at = _spoilt(whole, pick)
    path = base.folder / f"torn-{process}.jsonl"
    path.write_bytes(spoilt)
    content = read_segment(path)
    num_before = whole[:at].count(b"\n")
    if at < len(spoilt) and len(spoilt) >= len(whole):  # a flip: its line is gone, no other
        behind = lines[num_before + (2 if whole[at : at + 1] == b"\n" else 1) :]
        assert content.damaged == bool(behind), f"damaged is {content.damaged}"
        assert content.torn, "not reported as torn"
    else:
        assert not content.damaged, "a torn tail is no damage"
        assert content.torn == (spoilt[-1:] != b"\n" and spoilt != b""), "torn is wrong"
    assert list(content.records) == records[:num_before], (
        f"{len(content.records)} records before byte {at}, not {num_before}"
    )
    return "damaged" if content.damaged else "torn" if content.torn else "whole"


def _spoilt(whole: bytes, pick: random.Random) -> tuple[bytes, int]:
    """A segment with one fault, and the first byte that is not as written."""
    at = pick.randrange(len(whole))
    fault = pick.randrange(3)
    if fault == 0:  # a power cut: the tail was never written
        return whole[:at], at
    if fault == 1:  # a power cut: the tail's pages hold anything
        tail = pick.choice((bytes(len(whole) - at - 1), pick.randbytes(pick.randrange(1, 300))))
        tail = tail.replace(b"\n", b"\r")[: max(len(whole) - at - 1, 0)]
        return whole[:at] + tail, at if tail[:1] != whole[at : at + 1] else at + 1
    flipped = bytearray(whole)
    flipped[at] ^= 1 << pick.randrange(8)
    return bytes(flipped), at


@dataclass(frozen=True)
class _Sample:
    truth: str


def _report(run: Path, pick: random.Random) -> str:
    """Writes all reports, of every third case the page, too: it takes as long as all the others."""
    from modeltest.reports import files
    from modeltest.reports.summary import summarise
    from modeltest.runlog.run_log import read_run

    content = read_run(run)
    summary = summarise(content)
    no_page = mock.patch.object(files, "report_html", return_value=b"")
    with nullcontext() if pick.random() < 1 / 3 else no_page:
        files.write_reports(content, summary)
    return str(summary.verdict.validity)


# The quick ones first: all share one time limit.
KINDS: dict[str, Callable[[Base, random.Random, int], str]] = {
    "torn": torn,
    "rows": rows,
    "manifests": manifests,
    "resealed": resealed,
    "settings": settings,
    "replies": replies,
    "rechecked": rechecked,
    "logs": logs,
}
