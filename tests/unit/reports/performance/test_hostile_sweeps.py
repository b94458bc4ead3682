"""Manifests and records with right digests and wrong shapes: one line or damage, no traceback."""

import pytest

from modeltest.errors import ModeltestError
from modeltest.reports.comparison.sweeps import compare_sweeps
from modeltest.reports.comparison.sweeps_html import sweeps_html
from modeltest.reports.comparison.sweeps_text import comparison_text
from modeltest.reports.performance.console import sweep_text
from modeltest.reports.performance.csv_files import (
    atb_benchmark_csv,
    benchmark_csv,
    performance_csv,
    sweep_index_row,
)
from modeltest.reports.performance.html import performance_html
from modeltest.reports.performance.summary import summarise_sweep

ODD = [..., None, -1, 0, 1e300, 1 << 62, "\x1b[2J", [[]], {"x": {}}]
KINDS = ["round", "block", "outputs", "work", "peaks", "phase"]


def paths(value, at=()):
    """Of every part, the first of a list for all."""
    inner = value.items() if isinstance(value, dict) else enumerate(value[:1])
    for key, part in inner:
        yield (*at, key)
        if isinstance(part, (dict, list)):
            yield from paths(part, (*at, key))


def put(value, path, part):
    key, *rest = path
    if rest:
        put(value[key], rest, part)
    elif part is ... and isinstance(value, dict):
        del value[key]
    else:
        value[key] = None if part is ... else part


def use(content, sound):
    """All that `report`, `list runs` and `compare` do, but for drawing."""
    summary = summarise_sweep(content)
    for make in (benchmark_csv, performance_csv, atb_benchmark_csv, sweep_text):
        assert make(summary)
    assert performance_html(content, summary, {})
    assert sweep_index_row(content, summary, "p")
    of_sound = (sound, summarise_sweep(sound))
    for pair in (((content, summary), of_sound), (of_sound, (content, summary))):
        comparison = compare_sweeps(*pair, 0.05)
        comparison_text(comparison)
    assert sweeps_html(comparison, pair, content.folder)
    return summary


def one_line_or(work):
    """What the work returns, or None when it refuses in one line."""
    try:
        return work()
    except ModeltestError as error:
        told = str(error)
    assert told.isprintable()
    return None


@pytest.mark.parametrize("part", ODD, ids=repr)
def test_manifests(make_sweep, sweep, part):
    found: list = []
    make_sweep(lambda manifest, _: found.extend(paths(manifest)), "whole")
    # The folder is made of the place, and the version is read before.
    for path in sorted(set(found) - {("place",), ("place", "date"), ("schema_version",)}):

        def change(manifest, records, path=path):
            put(manifest, path, part)
            records.clear()

        one_line_or(lambda change=change: use(make_sweep(change, "odd"), sweep))


@pytest.mark.parametrize("part", [..., None, -1, 0, 1e300, "\x1b[2J", [[]], {"x": {}}], ids=repr)
@pytest.mark.parametrize("kind", KINDS)
def test_records(make_sweep, sweep, kind, part):
    def first(records):
        return next(record for record in records if record["type"] == kind)

    def work(path):
        def change(_manifest, records):
            put(first(records), path, part)
            records[:] = [r for r in records if r.get("batch_size", 1) in (1, part)]

        content = make_sweep(change, "odd")
        return content, use(content, sweep).verdict.validity

    found: list = []
    make_sweep(lambda _, records: found.extend(paths(first(records))), "whole")
    for path in found:
        done = one_line_or(lambda path=path: work(path))
        assert done is None or done[1] == "INVALID" or not done[0].problems


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "phase"])
def test_a_record_that_lacks_a_part_is_damage(make_sweep, kind):
    def change(_manifest, records):
        record = next(record for record in records if record["type"] == kind)
        del record[{"peaks": "flops_per_s", "work": "stages"}.get(kind, "pass")]

    [problem] = make_sweep(change).problems
    assert "damaged inside" in problem


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("batch_sizes", [0], "sweep.batch_sizes is"),
        ("batch_sizes", [2, 2], "sweep.batch_sizes names one twice"),
        ("num_passes", 1 << 50, "plans more than"),
        ("min_seconds", "1", "sweep.min_seconds is '1', not a number"),
        ("isolate", 1, "sweep.isolate is 1, not true or false"),
    ],
)
def test_a_plan_that_cannot_be_is_one_line(make_sweep, key, value, said):
    with pytest.raises(ModeltestError, match=said):
        make_sweep(lambda manifest, _: manifest["sweep"].update({key: value}))
