import re
from datetime import datetime
from pathlib import Path

from modeltest.runlog.layout import RunPlace, new_run_id
from modeltest.runlog.manifest import place_from, place_record

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
