import json
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modeltest.runlog.segment import SegmentWriter, encode_line, read_segment

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text()
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def write(path, records):
    with SegmentWriter(path) as segment:
        for record in records:
            segment.append(record)


def test_a_line_is_crc_space_json_newline():
    line = encode_line({"type": "sample", "text": "é"})
    assert line == b'%08x {"type":"sample","text":"\\u00e9"}\n' % zlib.crc32(
        b'{"type":"sample","text":"\\u00e9"}'
    )


@given(st.lists(st.dictionaries(st.text(), JSON, max_size=3), max_size=4))
def test_what_was_written_is_read(tmp_path_factory, records):
    path = tmp_path_factory.mktemp("log") / "a.jsonl"
    write(path, records)
    content = read_segment(path)
    assert list(content.records) == json.loads(json.dumps(records))
    assert not content.torn
    assert not content.damaged


def test_every_cut_keeps_the_whole_records_before_it(tmp_path):
    path = tmp_path / "a.jsonl"
    records = [{"n": n, "text": "x" * n} for n in range(5)]
    lines = [encode_line(record) for record in records]
    whole = b"".join(lines)
    for cut in range(len(whole) + 1):
        path.write_bytes(whole[:cut])
        content = read_segment(path)
        ends = [sum(map(len, lines[: n + 1])) for n in range(5)]
        assert list(content.records) == records[: sum(end <= cut for end in ends)]
        assert content.torn == (cut not in {0, *ends})
        assert not content.damaged


def test_every_flipped_bit_in_an_inner_line_is_damage(tmp_path):
    path = tmp_path / "a.jsonl"
    lines = [encode_line({"n": n}) for n in range(3)]
    for position in range(len(lines[0]), len(lines[0]) + len(lines[1]) - 1):
        for bit in range(8):
            content = bytearray(b"".join(lines))
            content[position] ^= 1 << bit
            if content[position] == ord("\n"):
                continue  # the line splits in two broken ones; covered by the next test
            path.write_bytes(bytes(content))
            read = read_segment(path)
            assert [record["n"] for record in read.records] == [0]
            assert read.damaged


def test_a_line_split_by_a_newline_is_damage(tmp_path):
    path = tmp_path / "a.jsonl"
    lines = [encode_line({"n": n}) for n in range(3)]
    path.write_bytes(lines[0] + lines[1].replace(b":", b"\n") + lines[2])
    assert read_segment(path).damaged


def test_an_existing_segment_is_never_opened(tmp_path):
    path = tmp_path / "a.jsonl"
    write(path, [{"n": 1}])
    with pytest.raises(FileExistsError):
        SegmentWriter(path)
    assert len(read_segment(path).records) == 1


def test_a_symlink_is_not_followed(tmp_path):
    target = tmp_path / "target"
    (tmp_path / "a.jsonl").symlink_to(target)
    with pytest.raises(FileExistsError):
        SegmentWriter(tmp_path / "a.jsonl")
    assert not target.exists()


def test_nan_is_refused(tmp_path):
    with SegmentWriter(tmp_path / "a.jsonl") as segment, pytest.raises(ValueError, match="JSON"):
        segment.append({"value": float("nan")})
