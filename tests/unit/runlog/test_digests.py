import hashlib

import pytest

from modeltest.runlog.digests import RowsDigest, digest, short_digest


@pytest.mark.parametrize(
    "rows", [[], [["a", "cough", ["00"]]], [["ü\ud800", 1.5], {"b": 1, "a": None}, "x"]]
)
def test_row_by_row_is_the_digest_of_the_list(rows):
    found = RowsDigest()
    for row in rows:
        found.add(row)
    assert found.hexdigest() == digest(rows)


def test_it_may_be_asked_between_rows():
    found = RowsDigest()
    found.add(1)
    assert found.hexdigest() == hashlib.sha256(b"[1]").hexdigest()
    found.add([])
    assert found.hexdigest() == hashlib.sha256(b"[1,[]]").hexdigest()


def test_short_digests_tell_texts_apart():
    texts = ["", "a", "b", "\ud800", "a\0"]
    assert len({short_digest(text) for text in texts}) == len(texts)
    assert {len(short_digest(text)) for text in texts} == {16}
