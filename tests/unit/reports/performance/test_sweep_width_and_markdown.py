"""A sweep on a narrow terminal, and as a block of Markdown."""

import re
from dataclasses import replace

import pytest

from modeltest.records import Verdict
from modeltest.reports.markdown import sweep_markdown
from modeltest.reports.performance.console import sweep_text
from modeltest.reports.performance.summary import summarise_sweep
from modeltest.reports.terminal import cells


@pytest.fixture(autouse=True)
def plain(monkeypatch):
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    monkeypatch.setenv("NO_COLOR", "1")


def test_it_fits_whatever_it_says(sweep):
    summary = summarise_sweep(sweep)
    many = tuple(f"bs {n} fixed: 其他进程占用了机器的一半以上，" + "x " * 60 for n in range(5))
    text = sweep_text(replace(summary, verdict=Verdict("INVALID", many)), 80)
    assert max(map(cells, text.splitlines())) <= 80
    assert text.count("其他进程") == 3 + 5


def test_columns_without_any_figure_make_room(make_sweep):
    def fast(_, logged):
        logged[:] = [record for record in logged if record["type"] not in {"work", "peaks"}]
        for record in logged:
            for batch in record.get("batches", ()):
                batch.update(e2e_s=batch["e2e_s"] * 1e-6, step_s=None)
                batch.update(dict.fromkeys(("feature_s", "encoder_s", "prefill_s", "ttft_s")))
                record["end_s"] = record["start_s"] + batch["e2e_s"]

    text = sweep_text(summarise_sweep(make_sweep(fast)))
    _, blank, _, head, _, *rows = text.splitlines()
    assert blank == ""
    assert head.split() == ["bs", "mode", "valid", "tokens/s", "(95", "%)", "/s", "p50/p90", "GiB"]
    assert max(map(len, rows[:6])) <= 80


def test_the_block_says_what_is_good_for_what_and_how_to_repeat_it(make_sweep):
    def begin(manifest, _logged):
        manifest["argv"] = ["/x/bin/modeltest", "perf", "m", "--bs", "1,2,4", "--resume", "last",
                            "--output-dir=/tmp/o"]  # fmt: skip

    content = make_sweep(begin)
    text = sweep_markdown(content, summarise_sweep(content))
    lines = text.splitlines()
    assert lines[0] == "### speed · m"
    assert lines[2] == "**VALID**"
    # Batch size 4: 32 tokens in 0.18 s in fixed mode, 20 tokens in 0.144 s in natural mode.
    headline = re.search(r"\*\*output_tokens_per_s: 178\*\* \(95 % interval 178–178, block", text)
    assert headline
    assert "best valid point: bs 4 fixed." in text
    assert "```bash\nmodeltest perf m --bs 1,2,4\n```" in text
    rows = [line for line in lines if re.match(r"\| \d+ \|", line)]
    assert [row.split(" | ")[0].strip("| ") for row in rows] == ["1", "2", "4"] * 2
    assert {row.count("|") for row in rows} == {11}
    assert "`174503-0a1b2c`" in text


def test_without_a_valid_point_the_block_says_so(make_sweep):
    def load(_, logged):
        for record in logged:
            if record["type"] == "round":
                record["other_load"] = 0.9

    content = make_sweep(load)
    text = sweep_markdown(content, summarise_sweep(content))
    assert "**INVALID**" in text
    assert "**output_tokens_per_s**: no valid point." in text
    assert "To reproduce" not in text
