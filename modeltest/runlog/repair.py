"""Takes the whole records out of a damaged segment; the damaged file is kept beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from modeltest.runlog.layout import LOG_FOLDER, refuse_links
from modeltest.runlog.log_reader import HEAD, head_record, needs_heads
from modeltest.runlog.manifest import read_sealed
from modeltest.runlog.run_log import open_segment
from modeltest.runlog.segment import decode_line, read_lines, read_segment

DAMAGED_ENDING = ".damaged"


def repair(run_folder: Path) -> list[str]:
    """Rescues what is whole; samples whose records are lost are missing then.

    Every line has its own checksum, so a whole line behind a broken one can be trusted. The
    new segment says what it was made from. Where the head itself is lost, nothing tells whose
    records follow, and none is rescued; another run's head is kept, and the segment foreign.

    Returns:
        One line per repaired segment, for the user.
    """
    refuse_links(run_folder, run_folder / LOG_FOLDER)
    done = []
    for path in sorted((run_folder / LOG_FOLDER).glob("*.jsonl")):
        if read_segment(path).damaged:
            done.append(_repair_segment(run_folder, path))
    return done


def _repair_segment(run_folder: Path, path: Path) -> str:
    manifest, sha256 = read_sealed(run_folder)
    lines = [line for each in read_lines(path) if (line := each.rstrip(b"\n"))]
    records = [record for line in lines if (record := decode_line(line)) is not None]
    why = ""
    if needs_heads(manifest) and not _is_head(decode_line(lines[0])):
        records, why = [], " with the first one, which says whose they are"
    lost = len(lines) - len(records)
    own_head = head_record(sha256)
    rescued = [record for record in records if record != own_head]
    with open_segment(run_folder) as segment:
        segment.append({"type": "repair", "segment": path.name, "lines_lost": lost})
        for record in rescued:
            segment.append(record)
    path.rename(path.with_name(path.name + DAMAGED_ENDING))
    return f"{path.name}: {len(rescued)} records rescued, {lost} lines lost{why}"


def _is_head(record: dict[str, Any] | None) -> bool:
    return record is not None and record["type"] == HEAD
