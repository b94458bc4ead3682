"""`modeltest compare`: ratios with intervals, verdicts, refusals, exit codes, files."""

import os
from pathlib import Path

import pandas
import pytest

from modeltest.cli.main import main
from modeltest.errors import UsageError
from modeltest.reports.comparison.sweeps import compare_sweeps
from modeltest.reports.comparison.sweeps_files import points_csv
from modeltest.reports.comparison.sweeps_text import comparison_text
from modeltest.reports.performance.summary import summarise_sweep
from modeltest.runlog.manifest import write_manifest


@pytest.fixture(autouse=True)
def no_colours(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)  # a comparison is written below the working folder
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    monkeypatch.setenv("NO_COLOR", "1")


def slower(factor, batch_size=None):
    """A change that makes every round take longer, alike in each."""

    def change(_, logged):
        for record in logged:
            if record["type"] != "round" or batch_size not in {None, record["batch_size"]}:
                continue
            for batch in record["batches"]:
                batch["e2e_s"] *= factor
                for name in ("feature_s", "encoder_s", "prefill_s", "ttft_s", "detokenize_s"):
                    batch[name] *= factor
                batch["step_s"] = [factor * step for step in batch["step_s"]]

    return change


@pytest.fixture
def compared(make_sweep):
    """Compares the hand-made sweep with the same one after a change."""

    def compare(change, tolerance=0.05, first=lambda _manifest, _logged: None):
        sweeps = [make_sweep(first, output="a"), make_sweep(change, output="b")]
        return compare_sweeps(*((sweep, summarise_sweep(sweep)) for sweep in sweeps), tolerance)

    return compare


def test_equal_sweeps_pass(compared):
    comparison = compared(slower(1.0))
    assert comparison.outcome == "PASS"
    assert len(comparison.points) == 6
    for point in comparison.points:
        assert point.ratio == 1
        assert 0.99 < point.interval[0] <= 1 <= point.interval[1] < 1.01


def test_the_ratio_is_that_of_the_throughputs(compared):
    for point in compared(slower(1.25)).points:
        assert point.ratio == pytest.approx(0.8)
        assert point.interval[0] < 0.8 < point.interval[1]
        assert point.second == pytest.approx(0.8 * point.first)


@pytest.mark.parametrize(
    ("factor", "tolerance", "outcome"),
    [
        (1.03, 0.05, "PASS"),
        (1.25, 0.05, "FAIL"),
        (1.25, 0.30, "PASS"),
        (1 / 0.95, 0.05, "INCONCLUSIVE"),  # the interval holds the limit itself
        (0.8, 0.0, "PASS"),
    ],
)
def test_the_interval_decides(compared, factor, tolerance, outcome):
    comparison = compared(slower(factor), tolerance)
    assert {point.outcome for point in comparison.points} == {outcome}
    assert comparison.outcome == outcome


def test_the_worst_point_decides(compared):
    comparison = compared(slower(1.25, batch_size=2))
    assert [p.outcome for p in comparison.points] == ["PASS", "FAIL", "PASS"] * 2
    assert comparison.outcome == "FAIL"


def test_a_run_that_is_not_valid_withholds_the_verdict(compared):
    failure = {"type": "point_failure", "batch_size": 4, "mode": "fixed", "reason": "out of memory"}
    comparison = compared(lambda _, logged: logged.append(failure))
    assert comparison.outcome == "INCONCLUSIVE"
    assert comparison.withheld == ("B is LIMITED: bs 4 fixed: out of memory",)
    [lost] = [p for p in comparison.points if (p.batch_size, p.mode) == (4, "fixed")]
    assert (lost.ratio, lost.outcome, lost.reason) == (None, "INCONCLUSIVE", "not valid in B")


def test_a_simulated_device_is_never_a_pass(compared):
    def change(manifest, _):
        manifest["device"] = {"kind": "npu", "name": "Simulated NPU", "simulated": True}

    for comparison in (compared(change), compared(slower(1.0), first=change)):
        assert comparison.outcome == "INCONCLUSIVE"
        [reason] = comparison.withheld
        assert reason.endswith("is INVALID: simulated device: Simulated NPU")
        assert {point.outcome for point in comparison.points} == {"INCONCLUSIVE"}


def test_points_of_one_run_only_are_named(compared):
    comparison = compared(lambda manifest, _: manifest["sweep"].update(batch_sizes=[1, 2]))
    assert len(comparison.points) == 4
    assert comparison.only_one == ("bs 4 fixed is in A only", "bs 4 natural is in A only")
    assert comparison.outcome == "PASS"


def test_no_common_point_is_refused(compared):
    with pytest.raises(UsageError, match="no batch size in common"):
        compared(
            lambda manifest, _: manifest["sweep"].update(batch_sizes=[1]),
            first=lambda manifest, _: manifest["sweep"].update(batch_sizes=[2]),
        )


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda m: m["identity"]["backend"]["model"].update(sha256="2"), "model.backend.model"),
        (lambda m: m["identity"].update(long_audio="truncate"), "model.long_audio"),
        (lambda m: m["prompt"].update(rendered="other"), "prompt"),
        (lambda m: m["clips"][0].update(sha256="other"), "clips"),
        (lambda m: m["data"].update(sha256="other"), "data"),
        (lambda m: m["sweep"].update(modes=["fixed"]), "modes"),
        (lambda m: m["sweep"].update(max_new_tokens=9), "max_new_tokens"),
        (lambda m: m["sweep"].update(clip_source="audio"), "clip_source"),
    ],
)
def test_other_work_is_refused_by_name(compared, change, named):
    with pytest.raises(UsageError, match=rf"differ in {named}"):
        compared(lambda manifest, _: change(manifest))


def test_what_may_differ_is_told(compared):
    def change(manifest, _):
        manifest["device"] = {"kind": "npu", "name": "Ascend 910B4"}
        manifest.update(dtype="fp16", engine="stock", attention="eager")
        manifest["identity"]["backend"].update(dtype="fp16", engine="stock", attention="eager")
        manifest["identity"]["seed"] = 7

    assert compared(change).differing == (
        ("device", "EPYC", "Ascend 910B4"),
        ("dtype", "bf16", "fp16"),
        ("engine", "fast", "stock"),
        ("attention", "sdpa", "eager"),
    )


@pytest.mark.parametrize(
    ("factor", "code", "word"),
    [(1.0, 0, "PASS"), (1.25, 3, "FAIL"), (1 / 0.95, 4, "INCONCLUSIVE")],
)
def test_exit_codes(make_sweep, capsys, factor, code, word):
    first, second = make_sweep(output="a"), make_sweep(slower(factor), output="b")
    assert main(["compare", str(first.folder), str(second.folder)]) == code
    lines = capsys.readouterr().out.split("\n")
    assert lines[0] == word
    assert lines[2].split()[:2] == ["bs", "mode"]
    assert len([line for line in lines if " fixed " in line]) == 3
    assert max(map(len, lines[2:-5])) <= 80, lines
    folder = "outputs/comparison/174503-0a1b2c-174503-0a1b2c"
    figures, page = f"{folder}/comparison.csv", f"{folder}/compare.html"
    assert lines[-3:] == [f"figures  {figures}", f"page     {page}", ""]
    assert Path(page).is_file()
    assert set(pandas.read_csv(figures)["verdict"]) == {word}


def out_of_memory(_, logged):
    """Batch size 4 of fixed mode, and a reason for the whole run that is no short one."""
    reason = "out of memory: " + "the allocator had no block of that size left, " * 3
    logged.append({"type": "point_failure", "batch_size": 4, "mode": "fixed", "reason": reason})


def one_pass(manifest, logged):
    """A sweep that planned one pass, which is too few for an interval."""
    manifest["sweep"].update(num_passes=1)
    logged[:] = [record for record in logged if record.get("pass", 0) == 0]


def test_it_keeps_to_80_columns_whatever_the_reasons_are(compared):
    comparison = compared(out_of_memory, first=out_of_memory)
    lines = comparison_text(comparison, 80).splitlines()
    assert max(map(len, lines)) <= 80, lines
    assert lines[0].startswith("INCONCLUSIVE: A is LIMITED: bs 4 fixed: out of memory: the ")
    assert lines[1].startswith("  ")
    [row] = [line for line in lines if line.split()[:2] == ["4", "fixed"]]
    assert row.split() == ["4", "fixed", "-", "-", "-", "-", "INCONCLUSIVE"]
    assert "not valid in A and B: bs 4 fixed" in lines
    assert lines.index(row) < lines.index("not valid in A and B: bs 4 fixed")


def test_points_of_one_reason_share_a_line(compared):
    def few(manifest, logged):
        one_pass(manifest, logged)
        manifest["sweep"].update(min_seconds=0.1)

    comparison = compared(few)
    whole = comparison_text(comparison).splitlines()
    points = "; ".join(f"bs {size} {mode}" for mode in ("fixed", "natural") for size in (1, 2, 4))
    assert f"not valid in B: {points}" in whole
    folded = comparison_text(comparison, 80).splitlines()
    assert max(map(len, folded)) <= 80, folded


def test_a_script_gets_the_verdict_in_one_line(make_sweep, capsys):
    first, second = make_sweep(output="a"), make_sweep(out_of_memory, output="b")
    assert main(["compare", str(first.folder), str(second.folder)]) == 4
    verdict, blank, header, *_ = capsys.readouterr().out.split("\n")
    assert verdict.startswith("INCONCLUSIVE: B is LIMITED: bs 4 fixed: out of memory: ")
    assert (len(verdict) > 150, blank, header.split()[0]) == (True, "", "bs")


def test_a_terminal_gets_lines_that_fit(make_sweep, capsys, monkeypatch):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setattr("shutil.get_terminal_size", lambda: os.terminal_size((80, 24)))
    first, second = make_sweep(output="a"), make_sweep(out_of_memory, output="b")
    main(["compare", str(first.folder), str(second.folder)])
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80, lines
    assert "PASS: B has at least 0.95 of A's throughput" in " ".join(lines)


def test_a_row_per_point_for_scripts(compared, tmp_path):
    path = tmp_path / "comparison.csv"
    path.write_bytes(points_csv(compared(slower(1.25), 0.30), ("one", "two")))
    assert path.read_text().splitlines()[0] == (
        "run_a,run_b,verdict,reasons,tolerance,batch_size,mode,a_tokens_per_s,b_tokens_per_s,"
        "ratio,ci_low,ci_high,outcome,reason"
    )
    rows = pandas.read_csv(path)
    assert list(zip(rows["batch_size"], rows["mode"], strict=True)) == [
        (size, mode) for mode in ("fixed", "natural") for size in (1, 2, 4)
    ]
    # 8 tokens in 0.12 s of batch size 1, and 1.25 times as long: see conftest.py.
    assert rows["a_tokens_per_s"][0] == pytest.approx(8 / 0.12, rel=1e-4)
    assert rows["b_tokens_per_s"][0] == pytest.approx(8 / 0.15, rel=1e-4)
    assert list(rows["ratio"]) == pytest.approx([0.8] * 6)
    assert all((rows["ci_low"] < 0.8) & (rows["ci_high"] > 0.8))
    shared = rows[["run_a", "run_b", "verdict", "tolerance", "outcome"]].drop_duplicates()
    assert shared.to_numpy().tolist() == [["one", "two", "PASS", 0.3, "PASS"]]
    assert rows["reasons"].isna().all()
    assert rows["reason"].isna().all()


def test_what_was_not_compared_is_empty_and_has_its_reason(compared, tmp_path):
    path = tmp_path / "comparison.csv"
    path.write_bytes(points_csv(compared(out_of_memory), ("one", "two")))
    rows = pandas.read_csv(path).set_index(["batch_size", "mode"])
    lost = rows.loc[(4, "fixed")]
    assert (lost["outcome"], lost["reason"]) == ("INCONCLUSIVE", "not valid in B")
    assert lost[["b_tokens_per_s", "ratio", "ci_low", "ci_high"]].isna().all()
    assert lost["a_tokens_per_s"] == pytest.approx(32 / 0.18, rel=1e-4)
    assert set(rows["verdict"]) == {"INCONCLUSIVE"}
    assert rows["reasons"].str.startswith("B is LIMITED: bs 4 fixed: out of memory").all()


def test_the_tolerance_is_a_percentage(make_sweep, capsys):
    first, second = make_sweep(output="a"), make_sweep(slower(1.25), output="b")
    runs = [str(first.folder), str(second.folder)]
    assert main(["compare", *runs, "--tolerance", "30"]) == 0
    assert "at least 0.7 of A's" in capsys.readouterr().out
    for wrong in ("-1", "100", "nan", "much"):
        with pytest.raises(SystemExit) as caught:
            main(["compare", *runs, "--tolerance", wrong])
        assert caught.value.code == 2


def test_a_run_can_be_named_by_its_id(make_sweep, capsys):
    sweep = make_sweep(output="a")
    output = str(sweep.folder.parents[4])
    name = sweep.folder.name
    assert main(["compare", name, name, "--output-dir", output]) == 0


def test_runs_of_two_kinds_are_refused(make_sweep, capsys):
    sweep = make_sweep(output="a")
    other = make_sweep(output="b").folder
    write_manifest(other, {"schema_version": 1, "command": "eval"})
    assert main(["compare", str(sweep.folder), str(other)]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert "compares two runs of one kind" in line
    assert f"{sweep.folder} is one of performance, {other} one of accuracy" in line


@pytest.mark.parametrize("option", [["--margin", "1"], ["--other-model"]])
def test_options_of_accuracy_runs_are_refused(make_sweep, capsys, option):
    folder = str(make_sweep(output="a").folder)
    assert main(["compare", folder, folder, *option]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.endswith(f"{option[0]} is for runs of accuracy; these are runs of performance")


def test_a_difference_that_counts_is_exit_2(make_sweep, capsys):
    first = make_sweep(output="a")
    second = make_sweep(lambda m, _: m["prompt"].update(rendered="x\ny"), output="b")
    assert main(["compare", str(first.folder), str(second.folder)]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert "differ in prompt: A has <|AUDIO|>What sound?, B has x\\ny" in line
