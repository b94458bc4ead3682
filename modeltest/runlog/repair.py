"""Takes the whole records out of a damaged segment; the damaged file is kept beside it."""

from __future__ import annotations

from pathlib import Path

from modeltest.runlog.layout import LOG_FOLDER, refuse_links
from modeltest.runlog.run_log import open_segment
from modeltest.runlog.segment import decode_line, read_lines, read_segment

DAMAGED_ENDING = ".damaged"


def repair(run_folder: Path) -> list[str]:
    """Rescues what is whole; samples whose records are lost are missing then.

    Every line has its own checksum, so a whole line behind a broken one can be trusted. The
    new segment says what it was made from.

    Returns:
        One line per repaired segment, for the user.
    """
    refuse_links(run_folder, run_folder / LOG_FOLDER)
    done = []
    for path in sorted((run_folder / LOG_FOLDER).glob("*.jsonl")):
        if not read_segment(path).damaged:
            continue
        lines = [line for each in read_lines(path) if (line := each.rstrip(b"\n"))]
        records = [record for line in lines if (record := decode_line(line)) is not None]
        lost = len(lines) - len(records)
        with open_segment(run_folder) as segment:
            segment.append({"type": "repair", "segment": path.name, "lines_lost": lost})
            for record in records:
                segment.append(record)
        path.rename(path.with_name(path.name + DAMAGED_ENDING))
        done.append(f"{path.name}: {len(records)} records rescued, {lost} lines lost")
    return done
