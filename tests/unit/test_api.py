"""The Python interface: keywords, errors, what it leaves alone, and the frames of a run.

Whole runs from Python are in tests/end_to_end/test_api.py.
"""

import asyncio
import inspect
import json
import signal
from pathlib import Path

import pandas
import pytest

import modeltest
from modeltest.cli import evaluate as evaluate_command
from modeltest.cli import perf as perf_command
from modeltest.cli.keywords import parse


def evaluate_options(**keywords):
    return parse(("evaluate", "eval"), evaluate_command, ["t", "m"], keywords)


def perf_options(**keywords):
    return parse(("measure", "perf"), perf_command, ["m"], keywords, {"bs": "batch_sizes"})


def test_keywords_are_the_options_with_underscores():
    parsed = evaluate_options(
        bs=4, limit=9, fail_on_error="5%", certified=True, stop_at_answer=False, seed=None,
        output_dir=Path("/o ut"), resume="last",
    )  # fmt: skip
    assert (parsed.task, parsed.model, parsed.bs, parsed.limit) == ("t", "m", 4, 9)
    assert (parsed.certified, parsed.stop_at_answer, parsed.seed) == (True, False, 0)
    assert (parsed.output_dir, parsed.resume) == (Path("/o ut"), "last")
    assert float(parsed.fail_on_error) == 0.05


def test_defaults_are_the_command_lines():
    from modeltest.cli.main import build_parser

    shell = vars(build_parser().parse_args(["eval", "t", "m"]))
    python = vars(evaluate_options())
    assert python.pop("started_as") == ["modeltest", "eval", "t", "m"]
    shell.pop("execute")
    assert python == shell


@pytest.mark.parametrize(
    ("value", "yaml"),
    [("chat", '"chat"'), ("1", '"1"'), (1, "1"), (True, "true"), ("打", '"打"'), ([1], "[1]"),
     (Path("/w"), '"/w"')],
)  # fmt: skip
def test_set_takes_python_values(value, yaml):
    assert evaluate_options(set={"task.key": value}).overrides == [f"task.key={yaml}"]


def test_set_takes_the_words_of_the_command_line():
    assert evaluate_options(set=["a=1", "b=2"]).overrides == ["a=1", "b=2"]


@pytest.mark.parametrize(
    ("sizes", "words"), [([1, 2], "1,2"), (8, "8"), ((4,), "4"), (range(1, 4), "1,2,3")]
)
def test_batch_sizes_are_numbers(sizes, words):
    assert perf_options(batch_sizes=sizes).batch_sizes == words


@pytest.mark.parametrize(
    ("keyword", "nearest"),
    [("batchsize", "bs"), ("limits", "limit"), ("max_failures", "fail_on_error"), ("sett", "set")],
)
def test_an_unknown_keyword_names_the_nearest(keyword, nearest):
    with pytest.raises(TypeError, match=rf"evaluate\(\) has no option '{keyword}'") as raised:
        modeltest.evaluate("vocalsound_mini", "null", **{keyword: 1})
    assert nearest in str(raised.value)


@pytest.mark.parametrize("keyword", ["dry_run", "help", "h"])
def test_what_only_prints_is_no_keyword(keyword):
    with pytest.raises(TypeError, match="has no option"):
        modeltest.evaluate("vocalsound_mini", "null", **{keyword: True})


def test_measure_names_batch_sizes_for_bs():
    with pytest.raises(TypeError, match="did you mean 'batch_sizes'"):
        modeltest.measure("null", bs=3)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: modeltest.evaluate("vocalsound_mini", "null", bs=0), "--bs: must be at least 1"),
        (lambda: modeltest.evaluate("vocalsound_mini", "null", device="tpu"), "--device"),
        (lambda: modeltest.evaluate("vocalsound_mini", "null", tp=2), "modeltest eval … --tp 2"),
        (lambda: modeltest.evaluate("nosuch", "null"), "unknown task 'nosuch'"),
        (lambda: modeltest.measure("null", batch_sizes=[1, 1]), "stands twice"),
        (lambda: modeltest.load_run("123456-abcdef"), "no run '123456-abcdef'"),
    ],
)
def test_a_mistake_is_a_modeltest_error_of_one_line(call, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(modeltest.ModeltestError) as raised:
        call()
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)
    assert capsys.readouterr().out == ""
    assert list(tmp_path.iterdir()) == []


def test_every_error_is_exported():
    from modeltest import errors

    subclasses = {each.__name__ for each in errors.ModeltestError.__subclasses__()}
    public = {name for name in subclasses if getattr(errors, name, None)}
    assert public | {"ModeltestError"} <= set(modeltest.__all__)
    assert all(getattr(modeltest, name) for name in modeltest.__all__)
    assert "evaluate" in dir(modeltest)
    with pytest.raises(AttributeError, match="nosuch"):
        modeltest.nosuch  # noqa: B018  (the access is what raises)


def test_the_functions_are_documented_and_typed():
    for function in (modeltest.evaluate, modeltest.measure, modeltest.load_run):
        assert inspect.getdoc(function)
        assert inspect.signature(function).return_annotation == "Run"


@pytest.fixture(scope="module")
def short_run(tmp_path_factory):
    """Nine samples answered by no model, from within a running loop as a notebook has it."""
    output_dir = tmp_path_factory.mktemp("runs")
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]

    async def cell():
        return modeltest.evaluate("vocalsound_mini", "null", limit=9, bs=4, output_dir=output_dir)

    run = asyncio.run(cell())
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
    return run


def test_a_run_has_the_columns_of_its_files(short_run):
    [results, samples] = (
        pandas.read_csv(next(short_run.folder.parents[1].glob(f"results/**/*_{kind}.csv")))
        for kind in ("result", "samples")
    )
    assert list(short_run.results.columns) == list(results.columns)
    assert list(short_run.samples.columns) == list(samples.columns)
    assert short_run.results["value"].tolist() == pytest.approx(
        results["value"].tolist(), nan_ok=True
    )
    assert list(short_run.samples["sample_id"]) == list(samples["sample_id"])
    assert (short_run.samples["correct"] == samples["correct"]).all()


def test_a_frame_has_types_whatever_was_measured(short_run):
    types = short_run.samples.dtypes.astype(str)
    assert types["output"] == "string"
    assert types["correct"] == "boolean"
    assert types["output_tokens"] == "Int64"
    assert types["e2e_s"] == "float64"


def test_a_run_has_times_verdict_and_headline(short_run):
    timings = short_run.timings
    assert list(timings.columns) == [
        "sample_id", "audio_s", "input_tokens", "output_tokens", "e2e_s",
    ]  # fmt: skip
    assert len(timings) == short_run.num_done == short_run.num_planned == 9
    assert short_run.verdict.validity in {"LIMITED", "INVALID"}
    shown = (short_run.samples["truth"] == short_run.samples["answer"]).mean()
    assert short_run.headline.value == pytest.approx(shown)
    assert short_run.run_id in repr(short_run)
    assert short_run.markdown() == short_run._repr_markdown_()


def test_the_manifest_has_the_command_that_says_the_same(short_run):
    argv = short_run.manifest["argv"]
    assert argv[:4] == ["modeltest", "eval", "vocalsound_mini", "null"]
    assert "--limit=9" in argv
    assert "modeltest eval vocalsound_mini null --limit=9 --bs=4" in short_run.markdown()


def test_it_is_found_again(short_run):
    output_dir = short_run.folder.parents[5]
    by_id = modeltest.load_run(short_run.run_id, output_dir)
    last = modeltest.load_run("last", str(output_dir))
    assert by_id.folder == last.folder == modeltest.load_run(short_run.folder).folder
    assert by_id.verdict == short_run.verdict
    pandas.testing.assert_frame_equal(by_id.samples, short_run.samples)


def test_the_index_has_it(short_run):
    [row] = pandas.read_csv(short_run.folder.parents[5] / "index.csv").to_dict("records")
    assert row["run"] == short_run.run_id
    assert row["value"] == pytest.approx(short_run.headline.value)


def test_text_is_as_the_model_wrote_it_and_nothing_is_mistaken_for_missing():
    from modeltest.reports.frames import frame

    cells = ["=1+1", "NA", "", "null", None]
    made = frame(("output",), [{"output": text} for text in cells])
    assert made["output"].isna().tolist() == [False] * 4 + [True]
    assert made["output"].tolist()[:4] == cells[:4]


def test_an_interrupt_keeps_the_log_and_says_how_to_go_on(tmp_path, monkeypatch, capsys):
    from modeltest.backends.null import NullBackend

    def stop(*_args, **_options):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(NullBackend, "generate", stop)
        with pytest.raises(KeyboardInterrupt):
            modeltest.evaluate("vocalsound_mini", "null", limit=3, output_dir=tmp_path)
    shown = capsys.readouterr()
    assert shown.out == ""
    begun = modeltest.load_run("last", tmp_path)
    assert begun.verdict.validity == "INCOMPLETE"
    assert f"resume={str(begun.folder)!r}" in shown.err
    [segment] = (begun.folder / "log").iterdir()
    records = [json.loads(line[9:]) for line in segment.read_text().splitlines()]
    assert [r["reason"] for r in records if r["type"] == "stop"] == ["interrupted by SIGINT"]
    run = modeltest.evaluate(
        "vocalsound_mini", "null", limit=3, output_dir=tmp_path, resume=begun.folder
    )
    assert (run.folder, run.num_done) == (begun.folder, 3)


def test_a_sweep_has_frames_too(tmp_path):
    run = modeltest.measure(
        "null", batch_sizes=[2], passes=3, min_seconds=0.001, max_output_length=2,
        modes=["natural"], output_dir=tmp_path,
    )  # fmt: skip
    assert run.command == "perf"
    assert list(run.results["batch_size"]) == [2]
    blocks = run.timings.groupby(["batch_size", "mode", "pass"]).size()
    assert len(blocks) == run.num_done == run.num_planned == 3
    assert (run.timings["e2e_s"] > 0).all()
    assert set(run.samples["batch_size"]) == {2}
    assert run.manifest["argv"][:3] == ["modeltest", "perf", "null"]
