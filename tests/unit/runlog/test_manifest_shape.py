"""Manifests with a right digest and a wrong shape."""

import pytest

from modeltest.errors import DataError
from modeltest.runlog.digests import digest
from modeltest.runlog.manifest import read_manifest, write_manifest
from modeltest.runlog.run_log import read_run

PATHS = [
    ("command",), ("started",), ("labels",), ("dp",), ("place",), ("task",), ("task", "name"),
    ("task", "settings"), ("task", "settings", "metrics"), ("task", "settings", "slices"),
    ("task", "settings", "slices", "by"), ("task", "overrides"), ("model",),
    ("model", "settings", "attention"), ("prompt",), ("data",), ("data", "num_samples"),
    ("data", "warnings"), ("device", "name"), ("packages",), ("tool",), ("tool", "version"),
    ("identity_sha256",),
]  # fmt: skip


def put(value, path, part):
    key, *rest = path
    left = {name: each for name, each in value.items() if name != key}
    if rest:
        return {**left, key: put(value[key], rest, part)}
    return left if part is ... else {**left, key: part}


def test_a_whole_one_is_read(tmp_path, eval_manifest):
    write_manifest(tmp_path, eval_manifest)
    assert read_run(tmp_path).samples == ()


@pytest.mark.parametrize("part", [..., None, 5.5, ["x", 1], [["x"]], {"x": "\x1b[2J"}])
@pytest.mark.parametrize("path", PATHS, ids=".".join)
def test_a_part_that_is_missing_or_something_else_is_one_line(tmp_path, eval_manifest, path, part):
    if path in {("place",), ("packages",)} and part == {"x": "\x1b[2J"}:
        return  # their own readers look at what is in them
    write_manifest(tmp_path, put(eval_manifest, path, part))
    with pytest.raises(DataError) as caught:
        read_run(tmp_path)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("mark", [None, 0, "no", ["x"]])
def test_the_mark_of_a_simulated_device_is_a_truth_or_missing(tmp_path, eval_manifest, mark):
    device = {**eval_manifest["device"], "simulated": mark}
    write_manifest(tmp_path, {**eval_manifest, "device": device})
    with pytest.raises(DataError, match=r"device\.simulated"):
        read_run(tmp_path)


PUBLISHED = {"value": 0.936, "model": "m", "source": "s", "note": ""}


def with_published(manifest, published):
    return put(manifest, ("task", "settings", "published"), published)


@pytest.mark.parametrize("published", [[], [PUBLISHED], [{**PUBLISHED, "value": 1}]])
def test_published_figures_may_be_there(tmp_path, eval_manifest, published):
    write_manifest(tmp_path, with_published(eval_manifest, published))
    assert read_run(tmp_path).samples == ()


@pytest.mark.parametrize(
    "published",
    [
        None, "x", PUBLISHED, [None], [[PUBLISHED]],
        *([{**PUBLISHED, **part}] for part in (
            {"value": 93.6}, {"value": -0.1}, {"value": True}, {"value": "0.9"}, {"value": None},
            {"model": ""}, {"model": 3}, {"source": ""}, {"source": None}, {"note": 1},
        )),
        [{"value": 0.9, "model": "m"}],
    ],
)  # fmt: skip
def test_published_figures_are_shares_with_a_source(tmp_path, eval_manifest, published):
    write_manifest(tmp_path, with_published(eval_manifest, published))
    with pytest.raises(
        DataError, match=r"task\.settings\.published is .*, not a list of published"
    ):
        read_run(tmp_path)


def test_another_commands_run_is_refused(tmp_path, eval_manifest):
    write_manifest(tmp_path, {**eval_manifest, "command": "perf"})
    with pytest.raises(DataError, match="no run of modeltest eval"):
        read_run(tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        b"[" * 200_000,
        b'{"a":' * 200_000,
        b'{"schema_version": 1, "a": 1, "a": 2}',
        b'{"schema_version": 1, "a": NaN}',
        b'{"schema_version": 1, "a": -Infinity}',
        b'{"schema_version": 1, "a": 1' + b"0" * 5000 + b"}",
        b"5",
        b'"x"',
        b"null",
        b"\xff",
    ],
    ids=lambda content: content[:30].decode("latin-1"),
)
def test_extreme_json_is_one_line(tmp_path, content):
    (tmp_path / "manifest.json").write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_manifest(tmp_path)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 500 + 2 * len(str(tmp_path))


def test_nested_nearly_too_deeply_is_one_line_too(tmp_path):
    for depth in range(100, 1200, 50):
        value = {"schema_version": 1}
        for _ in range(depth):
            value = {"a": value}
        text = '{"schema_version": 1, "x": ' + "[" * depth + "]" * depth
        (tmp_path / "manifest.json").write_text(text + f', "manifest_sha256": "{digest(1)}"}}')
        with pytest.raises(DataError):
            read_manifest(tmp_path)
