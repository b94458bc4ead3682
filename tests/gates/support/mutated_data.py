"""Data folders whose lists are spoilt: splits, class lists, speakers, label tables, saved sets."""

from __future__ import annotations

import csv
import io
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from support.checkout import LABELS
from support.mutate import mutate_bytes, mutate_json, mutate_text

NUM_CLIPS = 8
CLASS_IDS = {
    "laughter": "/m/01j3sz", "sigh": "/m/07plz5l", "cough": "/m/01b_21",
    "throatclearing": "/m/0dl9sf8", "sneeze": "/m/01hsr_", "sniff": "/m/07ppn3j",
}  # fmt: skip
NAMES = {**{label: label.capitalize() for label in LABELS}, "throatclearing": "Throat clearing"}
SPLIT, CLASSES, SPEAKERS = "datafiles/te.json", "class_labels_indices_vs.csv", "meta/te_meta.json"
TABLE, SPLITS = "labels.csv", "dataset_dict.json"


def stems() -> list[str]:
    return [f"{'fm'[i % 2]}{i:04d}_0_{LABELS[i % len(LABELS)]}" for i in range(NUM_CLIPS)]


def good_lists() -> dict[str, bytes]:
    """The lists of a release tree, of a folder with a table, and of a saved data set."""
    clips = [(stem, stem.rsplit("_", 1)[1]) for stem in stems()]
    split = [{"wav": f"/data/{stem}.wav", "labels": CLASS_IDS[label]} for stem, label in clips]
    speakers = [[stem[:5], stem[0], "27", "China", "Chinese", "no"] for stem, _ in clips]
    classes = [
        ["index", "mid", "display_name"],
        *([i, CLASS_IDS[label], NAMES[label]] for i, label in enumerate(LABELS)),
    ]
    table = [["audio", "label", "gender"], *([f"{stem}.wav", la, stem[0]] for stem, la in clips)]
    return {
        SPLIT: json.dumps({"data": split}, indent=1).encode(),
        SPEAKERS: json.dumps(speakers, indent=1).encode(),
        CLASSES: _csv(classes),
        TABLE: _csv(table),
        SPLITS: json.dumps({"splits": ["train", "test"]}).encode(),
    }


def rows(base: Any, pick: random.Random, process: int) -> str:
    """A spoilt list: refused, or every sample has a label of the task and a name of its own."""
    from modeltest.tasks.data import find_samples

    good = good_lists()
    name = pick.choice(sorted(good))
    root = base.folder / f"rows-{process}-{_layout(name)}"
    if not root.exists():
        _make_folder(root, _layout(name), good)
    (root / name).write_bytes(_spoilt(good[name], pick))
    try:
        listing = find_samples(_settings(base.task_settings, root, _layout(name)))
    finally:
        (root / name).write_bytes(good[name])
    ids = [sample.sample_id for sample in listing.samples]
    assert len(set(ids)) == len(ids), "an id stands twice"
    assert all(sample.truth in LABELS for sample in listing.samples), "a label of no choice"
    assert all(sample.sample_id.isprintable() for sample in listing.samples), "an id that steers"
    told = [*listing.warnings, *(f"{p.name}: {p.what}" for p in listing.problems)]
    assert all(line.isprintable() for line in told), "a message that steers a terminal"
    return "with problems" if listing.problems else "listed"


def _layout(name: str) -> str:
    return {TABLE: "table", SPLITS: "saved"}.get(name, "release")


def _make_folder(root: Path, layout: str, good: dict[str, bytes]) -> None:
    folder = root / "audio_16k" if layout == "release" else root
    folder.mkdir(parents=True)
    for stem in stems():
        (folder / f"{stem}.wav").touch()
    for name, content in good.items():
        if _layout(name) == layout:
            (root / name).parent.mkdir(exist_ok=True)
            (root / name).write_bytes(content)


def _settings(settings: Any, root: Path, layout: str) -> Any:
    changed: dict[str, Any] = {"local_dataset_path": root, "expected_samples": NUM_CLIPS}
    if layout == "table":
        label = settings.label.model_copy(update={"source": "table", "table": TABLE})
        changed["label"] = label
    return settings.model_copy(update=changed)


def _spoilt(good: bytes, pick: random.Random) -> bytes:
    changes: list[Callable[[], bytes]] = [
        lambda: mutate_bytes(good, pick, good),
        lambda: mutate_text(good.decode(), pick, good.decode()).encode("utf-8", "surrogatepass"),
    ]
    if good[:1] in b"{[":
        changes += [lambda: json.dumps(mutate_json(json.loads(good), pick)).encode()] * 2
    return pick.choice(changes)()


def _csv(table: list[list[Any]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text).writerows(table)
    return text.getvalue().encode()
