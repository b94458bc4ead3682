import re
from datetime import datetime
from pathlib import Path

import pytest

from modeltest.errors import DataError
from modeltest.runlog.find import run_folders
from modeltest.runlog.layout import PerformancePlace, RunPlace, new_run_id
from modeltest.runlog.manifest import performance_place_from, place_from, place_record

ROOT = "/out/2025-03-09/modeltest/qwen2_audio/precision_result"
TAIL = "NPU/precision_test/vocalsound/bf16/qwen2_audio"
STEM = "vocalsound_transformers_batch8_tp1_174503-0a1b2c"

PLACE = RunPlace(
    output_dir=Path("/out"),
    date="2025-03-09",
    run_id="174503-0a1b2c",
    model="qwen2_audio",
    task="vocalsound",
    backend="transformers",
    device_label="NPU",
    dtype="bf16",
    batch_size=8,
    tp=1,
)


def test_every_path_is_that_of_the_contract():
    assert str(PLACE.index_file) == "/out/index.csv"
    assert str(PLACE.result_file("result")) == f"{ROOT}/results/{TAIL}/{STEM}_result.csv"
    assert str(PLACE.result_file("confusion")) == f"{ROOT}/results/{TAIL}/{STEM}_confusion.csv"
    assert str(PLACE.result_file("samples")) == f"{ROOT}/results/{TAIL}/{STEM}_samples.csv"
    assert str(PLACE.output_file) == f"{ROOT}/debug/{TAIL}/output_174503-0a1b2c.txt"
    assert str(PLACE.run_folder) == f"{ROOT}/runs/174503-0a1b2c"


def test_a_run_id_is_the_local_time_and_six_hex_digits():
    now = datetime(2025, 3, 9, 7, 5, 3, 999_999)
    assert re.fullmatch(r"070503-[0-9a-f]{6}", new_run_id(now))


def test_runs_of_the_same_second_differ():
    now = datetime(2025, 3, 9, 7, 5, 3)
    assert len({new_run_id(now) for _ in range(8)}) > 1


def test_a_run_that_was_moved_is_found_where_it_lies(tmp_path):
    folder = tmp_path / PLACE.run_folder.relative_to("/out")
    record = place_record(PLACE)
    assert "/out" not in map(str, record.values())
    place = place_from({"place": record}, folder)
    assert place.output_dir == tmp_path.resolve()
    assert place.run_folder == folder.resolve()
    assert place.result_file("result").name == f"{STEM}_result.csv"


def test_a_sweep_has_one_folder_for_everything(tmp_path):
    place = PerformancePlace(Path("/out"), "2025-03-09", "174503-0a1b2c", "qwen2_audio")
    root = "2025-03-09/modeltest/qwen2_audio/performance_result/174503-0a1b2c"
    assert str(place.run_folder) == f"/out/{root}"
    assert str(place.index_file) == "/out/index.csv"
    moved = performance_place_from(
        {"command": "perf", "place": place_record(place)}, tmp_path / root
    )
    assert moved.output_dir == tmp_path.resolve()
    assert moved.run_folder == (tmp_path / root).resolve()


def test_runs_of_one_command_are_not_the_others():
    folder = PLACE.run_folder
    with pytest.raises(DataError, match="is a run of `modeltest eval`"):
        performance_place_from({"command": "eval", "place": {}}, folder)
    with pytest.raises(DataError, match="is a run of `modeltest perf`"):
        place_from({"command": "perf", "place": {}}, folder)


def test_runs_of_all_commands_are_found_oldest_first(tmp_path):
    names = [
        "2025-03-08/modeltest/b/performance_result/235959-000000",
        "2025-03-09/modeltest/b/precision_result/runs/070000-000000",
        "2025-03-09/modeltest/a/performance_result/080000-000000",
        "2025-03-09/modeltest/c/precision_result/runs/090000-000000",
    ]
    for name in reversed(names):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "manifest.json").write_text("{}")
    assert [str(path.relative_to(tmp_path)) for path in run_folders(tmp_path)] == names
