"""A recorded reference: written, read again, and refused when it is damaged or foreign."""

import json
import pickle
import struct

import numpy as np
import pytest
import torch
from safetensors.torch import load, save

from modeltest.errors import DataError
from modeltest.metrics.parity.traces import SampleTrace, StageValues, Trace
from modeltest.runlog.digests import digest
from modeltest.runner.parity.record import Asked, Record, read_record, write_record


def matrix(rows, width=4, seed=0):
    return np.random.default_rng(seed).normal(0, 1, (rows, width)).astype(np.float32)


@pytest.fixture
def record():
    whole = matrix(50)
    rounded = torch.from_numpy(whole).bfloat16().float().numpy()
    first = SampleTrace(
        "s0", "C: Cough", None, input_tokens=3, input_ids=(1, 2, 3), output_ids=(4, 5),
        margins=(0.5, 0.25), option_logits=(0.1, -0.2),
        stages={"log_mel": StageValues(whole, 50), "logits": StageValues(matrix(1), 1)},
        alone={"logits": StageValues(matrix(1, seed=2), 1)},
    )  # fmt: skip
    second = SampleTrace("=s1", "雪\x1b[31m", input_ids=(7,), stages=dict(first.stages))
    asked = Asked(
        "m", {"weights": "ab"}, "t", {"prompt": {}}, {"s0": ["00"], "=s1": ["11"]},
        {"device": "CPU"}, {"torch": "2"},
    )  # fmt: skip
    return Record(asked, Trace((first, second), "fp32"), {"s0": {"log_mel": rounded}})


@pytest.fixture
def file(record, tmp_path):
    path = tmp_path / "r.safetensors"
    write_record(path, record)
    return path


def test_what_is_written_is_read(record, file):
    found = read_record(file)
    assert found.asked == record.asked
    for a, b in zip(record.trace.samples, found.trace.samples, strict=True):
        for name in ("sample_id", "text", "input_tokens", "input_ids", "output_ids", "margins",
                     "option_logits", "error"):  # fmt: skip
            assert getattr(a, name) == getattr(b, name)
        assert list(a.stages) == list(b.stages)
    stage = found.trace.samples[0].stages["log_mel"]
    # 8 of 50 positions: every 7th from the first to the last.
    assert stage.num_positions == 50
    np.testing.assert_array_equal(stage.values, matrix(50)[::7])
    np.testing.assert_array_equal(found.given["s0"]["log_mel"], record.given["s0"]["log_mel"])
    assert list(found.given) == ["s0"]


def test_the_same_record_has_the_same_bytes(record, file, tmp_path):
    write_record(tmp_path / "again", record)
    assert (tmp_path / "again").read_bytes() == file.read_bytes()


def test_any_changed_byte_is_found(file):
    whole = file.read_bytes()
    for place in range(0, len(whole), 97):
        damaged = bytearray(whole)
        damaged[place] ^= 0x04
        file.write_bytes(damaged)
        with pytest.raises(DataError, match=r"not a whole parity record|cannot be read") as found:
            read_record(file)
        assert len(str(found.value).splitlines()) == 1


@pytest.mark.parametrize("kept", [0, 4, 8, 200, -1])
def test_a_part_of_it_is_refused(file, kept):
    file.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(DataError, match="not a whole parity record"):
        read_record(file)


@pytest.mark.parametrize(
    "content",
    [
        pickle.dumps({"a": 1}),
        b"RIFF....WAVEfmt ",
        struct.pack("<Q", 2**63) + b"{}",
        save({"a": torch.zeros(2)}),
        save({"a": torch.zeros(2)}, {"parity": "{}"}),
        save({"a": torch.zeros(2)}, {"parity": "[" * 100_000}),
        save({"a": torch.zeros(2)}, {"parity": '{"format": NaN}'}),
    ],
    ids=["pickle", "wave", "long", "model", "empty", "deep", "nan"],
)
def test_foreign_files_are_refused(tmp_path, content):
    path = tmp_path / "foreign"
    path.write_bytes(content)
    with pytest.raises(DataError, match="not a whole parity record of version 1"):
        read_record(path)


def test_no_regular_file_is_refused(tmp_path):
    with pytest.raises(DataError, match="cannot be read"):
        read_record(tmp_path)


def resealed(file, change):
    """The file as somebody who knows the format would forge it."""
    whole = file.read_bytes()
    length = struct.unpack("<Q", whole[:8])[0]
    content = json.loads(json.loads(whole[8 : 8 + length])["__metadata__"]["parity"])
    del content["seal"]
    change(content)
    text = json.dumps({**content, "seal": digest(content)})
    file.write_bytes(save(load(whole), {"parity": text}))


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content.update(version=2),
        lambda content: content.update(format="other"),
        lambda content: content.update(samples=[]),
        lambda content: content.update(samples={"a": 1}),
        lambda content: content.update(clips={}),
        lambda content: content.update(model=7),
        lambda content: content.pop("task"),
        lambda content: content["samples"][0].update(text=None),
        lambda content: content["samples"][0].update(margins=["x"]),
        lambda content: content["samples"][0].update(input_ids=[1.5]),
        lambda content: content["samples"][0]["stages"].append(["missing", 3]),
        lambda content: content["samples"][0].update(stages=[["log_mel"]]),
        lambda content: content.update(tensors_sha256="00"),
    ],
)
def test_what_is_sealed_but_wrong_is_refused(file, change):
    resealed(file, change)
    with pytest.raises(DataError, match="not a whole parity record") as found:
        read_record(file)
    assert len(str(found.value).splitlines()) == 1


def test_a_resealed_file_that_is_right_is_read(file):
    resealed(file, lambda content: content.update(data_type="bf16"))
    assert read_record(file).trace.data_type == "bf16"
