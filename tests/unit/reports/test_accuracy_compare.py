"""Two accuracy runs side by side: figures by hand, refusals by name, verdicts, files."""

import csv
import io

import pytest
from accuracy_runs import Asked, as_service, replies, write_run

from modeltest.errors import UsageError
from modeltest.metrics.paired import BY_SPEAKER_AND_TANGO, tango_interval
from modeltest.reports.comparison.accuracy import compare_accuracy
from modeltest.reports.comparison.accuracy_files import figures_csv, flips_csv, write_comparison
from modeltest.reports.comparison.accuracy_text import accuracy_text
from modeltest.reports.summary import summarise
from modeltest.runlog.run_log import read_run

#        laughter, cough, sneeze, …
FIRST = "++++++--?"
SECOND = "+-+-++-+-"  # two regressions, one improvement; sample 9 has an answer now
BIG = 600


@pytest.fixture(autouse=True)
def no_colours(monkeypatch):
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    monkeypatch.setenv("NO_COLOR", "1")


@pytest.fixture
def summed(tmp_path):
    """Writes a run and reads it back, with its figures."""

    def make(asked, side="a", **options):
        asked = replies(asked) if isinstance(asked, str) else asked
        run_id = {"a": "174503-0a1b2c", "b": "181200-ffffff"}[side]
        output_dir = tmp_path / f"outputs {len(list(tmp_path.iterdir()))}"
        run = read_run(write_run(output_dir, asked, run_id, **options))
        return run, summarise(run)

    return make


@pytest.fixture
def compared(summed):
    """Compares two runs of the samples with B's manifest changed."""

    def make(first=FIRST, second=SECOND, margin=0.01, change=lambda _: None, **options):
        b = summed(second, "b", change=change)
        return compare_accuracy(summed(first), b, margin, **options)

    return make


def rows(content):
    text = (content if isinstance(content, bytes) else b"".join(content)).decode("utf-8")
    return list(csv.DictReader(io.StringIO(text, newline="")))


class TestFigures:
    def test_by_hand(self, compared):
        comparison = compared()
        overall = comparison.overall
        assert overall.accuracies == (6 / 9, 5 / 9)
        assert overall.difference == pytest.approx(-1 / 9)
        assert (overall.num_regressions, overall.num_improvements) == (2, 1)
        assert (overall.interval.low, overall.interval.high) == tango_interval(1, 2, 9)
        assert overall.p_value == 1.0  # of three coins two or more are always alike
        assert comparison.discordance == pytest.approx(3 / 9)
        assert (comparison.first.unparsed, comparison.second.unparsed) == (1, 0)
        assert comparison.num_same_replies == 5
        assert comparison.design_effect == 1

    def test_classes_by_hand(self, compared):
        found = {
            each.subset: (each.total, each.num_regressions, each.num_improvements)
            for each in compared().subsets
        }
        assert found == {
            "class=laughter": (3, 1, 0),  # samples 1, 4, 7
            "class=cough": (3, 1, 1),
            "class=sneeze": (3, 0, 0),
            "gender=female": (9, 2, 1),
        }

    def test_what_changed_comes_regressions_first(self, compared):
        changed = compared().changed
        assert [(each.change, each.index) for each in changed] == [
            ("regression", 1),
            ("regression", 3),
            ("improvement", 7),
            ("other_answer", 8),
        ]
        assert [each.is_flip for each in changed] == [True, True, True, False]

    def test_speakers_make_the_interval(self, compared):
        first = replies("+" * BIG, speakers=6)
        regressing = "".join("-" if place % 60 < 6 else "+" for place in range(BIG))
        comparison = compared(first, replies(regressing, speakers=6))
        interval = comparison.overall.interval
        assert interval.method == BY_SPEAKER_AND_TANGO
        assert interval.low < tango_interval(0, 60, BIG)[0]
        assert comparison.design_effect == pytest.approx(6 * 100 / 99)
        # One clip of each speaker in a class: nothing to resample together.
        plain = next(each for each in comparison.subsets if each.subset == "class=cough")
        assert (plain.total, plain.num_regressions) == (200, 20)

    def test_p_values_of_a_key_are_adjusted_together(self, compared):
        # Of the class laughter ten regress, of the others none.
        second = "".join("-" if place < 30 and place % 3 == 0 else "+" for place in range(90))
        comparison = compared("+" * 90, second)
        found = {each.subset: (each.p_value, each.p_adjusted) for each in comparison.subsets}
        assert found["class=laughter"] == pytest.approx((2 / 2**10, 3 * 2 / 2**10))
        assert found["class=cough"] == (1.0, 1.0)
        assert found["gender=female"] == pytest.approx((2 / 2**10, 2 / 2**10))
        assert comparison.overall.p_adjusted is None

    def test_margins_of_the_options_logits(self, compared):
        first = [Asked("f1_0_cough", "cough", logits=(1.5, 4.0, -2.0))]
        second = [Asked("f1_0_cough", "sneeze", logits=(1.5, 3.0, 3.25))]
        [changed] = compared(first, second).changed
        assert (changed.first.option_margin, changed.second.option_margin) == (2.5, 0.25)

    def test_failed_samples_stay_in_the_denominator(self, compared):
        comparison = compared("+++", "+!+")
        assert (comparison.overall.total, comparison.second.errors) == (3, 1)
        assert comparison.overall.num_regressions == 1
        assert comparison.changed[0].second.error == "boom"


class TestVerdict:
    def test_pass(self, compared):
        comparison = compared("+" * BIG, "+" * BIG)
        assert comparison.outcome == "PASS"
        text = accuracy_text(comparison).splitlines()
        assert text[0] == "PASS: B is not more than 1 point less accurate than A"
        assert "which does not make the runs equal" in "\n".join(text)

    def test_fail(self, compared):
        comparison = compared("+" * BIG, "-" * 60 + "+" * (BIG - 60))
        assert comparison.outcome == "FAIL"
        text = accuracy_text(comparison)
        assert text.startswith("FAIL: B is more than 1 point less accurate than A\n")
        assert "B is less accurate than A: the interval is below 0" in text

    def test_inconclusive_says_how_many_samples_decide(self, compared):
        comparison = compared("+" * 120, "+" * 120)
        assert comparison.outcome == "INCONCLUSIVE"
        assert comparison.needed[0].if_equal == 381  # see test_power
        text = accuracy_text(comparison)
        assert "these samples do not tell whether B is more than 1 point less accurate" in text
        assert "80 % or 90 % certainty: 381 or 381 if B is as accurate as A" in text

    def test_a_significant_loss_within_the_margin_passes_and_is_told(self, compared):
        comparison = compared("+" * BIG, "-" * 12 + "+" * (BIG - 12), margin=0.05)
        assert comparison.outcome == "PASS"
        assert "B is less accurate than A, by less than the margin" in accuracy_text(comparison)

    def test_a_gain_is_told(self, compared):
        text = accuracy_text(compared("-" * 40 + "+" * BIG, "+" * (BIG + 40)))
        assert text.startswith("PASS")
        assert "B is more accurate than A: the interval is above 0" in text

    @pytest.mark.parametrize("size", [9, BIG])
    def test_no_verdict_calls_runs_equal(self, compared, size):
        for second in ("+" * size, "-" + "+" * (size - 1)):
            text = accuracy_text(compared("+" * size, second))
            words = text.replace("does not make the runs equal", "").lower()
            assert "equal" not in words
            assert "no difference was shown" in words

    @pytest.mark.parametrize(
        ("change", "reason"),
        [
            (
                lambda m: m["data"].update(num_available=5000),
                "B is LIMITED: 600 of 5000 samples",
            ),
            (lambda m: m["tool"].update(dirty=True), "B is INVALID: modeltest's own source"),
            (lambda m: m["device"].update(simulated=True), "B is INVALID: simulated device"),
        ],
    )
    def test_a_run_that_is_not_valid_withholds_it(self, summed, change, reason):
        second = summed("-" * 60 + "+" * (BIG - 60), "b", change=change)
        comparison = compare_accuracy(summed("+" * BIG), second, 0.01)
        assert comparison.outcome == "INCONCLUSIVE"
        assert comparison.withheld[0].startswith(reason)
        text = accuracy_text(comparison)
        assert text.startswith(f"INCONCLUSIVE: no verdict: {reason}")
        assert "B - A: -10.00 points" in text

    def test_failed_samples_withhold_it(self, compared):
        comparison = compared("+" * BIG, "!" + "+" * (BIG - 1))
        assert comparison.withheld == ("B is INVALID: 1 of 600 samples failed",)

    def test_an_incomplete_run_is_compared_as_far_as_it_is(self, summed):
        second = summed(SECOND, "b", num_logged=4)
        comparison = compare_accuracy(summed(FIRST), second, 0.01)
        assert comparison.overall.total == 4
        assert comparison.withheld == ("B is INCOMPLETE: 4 of 9 samples evaluated",)
        assert "5 samples of A are not in the other run" in accuracy_text(comparison)

    def test_without_a_common_sample(self, summed):
        with pytest.raises(UsageError, match="no evaluated sample in common"):
            compare_accuracy(summed(FIRST), summed(SECOND, "b", num_logged=0), 0.01)


class TestRefusals:
    @pytest.mark.parametrize(
        ("change", "said"),
        [
            (lambda m: m["task"].update(name="u"), "task: A has t, B has u"),
            (
                lambda m: m["task"]["settings"].update(version="2"),
                "task version: A has 1.0, B has 2",
            ),
            (
                lambda m: m["task"]["settings"].update(prompt="Which?"),
                r"prompt: A has What sound\?, B has Which\?",
            ),
            (
                lambda m: m["task"]["settings"].update(raw_prompt="{prompt}{audio}"),
                "raw_prompt: A has {audio}{prompt}, B has {prompt}{audio}",
            ),
            (
                lambda m: m["task"]["settings"].update(answer="words"),
                "answer: A has letter_or_name, B has words",
            ),
            (lambda m: m["task"]["settings"].update(choices=[]), "choices: A has "),
            (
                lambda m: m["identity"].update(max_new_tokens=5),
                "max_new_tokens: A has 65, B has 5",
            ),
            (lambda m: m["identity"].update(stop_pattern="C"), "stop_pattern: A has , B has C"),
            (
                lambda m: m["identity"].update(long_audio="truncate"),
                "long_audio: A has error, B has truncate",
            ),
            (lambda m: m["identity"].update(audio_rule="x"), "audio_rule: A has float32, B has x"),
            (
                lambda m: m["identity"]["backend"]["generation"].update(repetition_penalty=1.1),
                r"generation.repetition_penalty: A has 1\.0, B has 1\.1",
            ),
            (
                lambda m: m["data"].update(sha256="e" * 64),
                "data: A has 9 samples, sha256 [0-9a-f]{12}, B has 9 samples, sha256 e{12}",
            ),
            (
                lambda m: m["identity"]["backend"]["model"]["files"].pop("config.json"),
                "model file config.json: A has it, B has none",
            ),
            (
                lambda m: m["identity"]["backend"]["model"]["files"].update(
                    {"model.safetensors": {"header_sha256": "a" * 64, "blocks_sha256": "d" * 64}}
                ),
                "model file model.safetensors: A has b{12}, B has d{12}",
            ),
            (
                lambda m: m["prompt"].update(rendered="<s>What sound?"),
                "prompt as rendered: A has .*, B has <s>What sound",
            ),
            (
                lambda m: m["identity"].update(backend={"name": "null"}),
                "model: A has files, B has the backend null",
            ),
        ],
    )
    def test_what_has_to_be_the_same_is_named(self, compared, change, said):
        with pytest.raises(UsageError, match=f"differ in {said}") as caught:
            compared(change=change)
        assert "\n" not in str(caught.value)

    def test_every_difference_is_named(self, compared):
        def change(manifest):
            manifest["task"]["settings"]["version"] = "2"
            manifest["identity"]["max_new_tokens"] = 5

        said = "differ in task version: A has 1.0, B has 2; max_new_tokens: A has 65, B has 5$"
        with pytest.raises(UsageError, match=said):
            compared(change=change)

    def test_another_truth_or_audio_of_a_limited_run_is_found(self, summed):
        def change(manifest):
            manifest["data"]["num_available"] = 9

        first = summed(FIRST)
        other_name = [Asked("f0000_0_cough", "cough")]
        with pytest.raises(UsageError, match="sample 1 is not the same in both: sample: A has f0"):
            compare_accuracy(first, summed(other_name, "b", change=change), 0.01)

    def test_the_first_samples_of_the_same_data_are_compared(self, summed):
        limited = summed(SECOND[:4], "b", change=lambda m: m["data"].update(num_available=9))
        comparison = compare_accuracy(summed(FIRST), limited, 0.01)
        assert comparison.overall.total == 4
        assert comparison.withheld == ("B is LIMITED: 4 of 9 samples",)

    def test_a_changed_citation_changes_no_measurement(self, compared):
        def change(manifest):
            manifest["task"]["settings"]["published"] = [
                {"value": 0.9, "model": "m", "source": "a paper", "note": ""}
            ]

        assert compared(change=change).overall == compared().overall

    def test_a_difference_is_one_line_that_forges_nothing(self, compared):
        with pytest.raises(UsageError) as caught:
            compared(change=lambda m: m["task"].update(name="u\n\x1b[31mPASS"))
        assert "u\\n\\x1b[31mPASS" in str(caught.value)


class TestOtherModels:
    def test_they_are_refused_with_the_way_out(self, compared):
        with pytest.raises(UsageError, match=r"; --other-model compares two models$"):
            compared(change=other_model)

    def test_they_are_compared_when_asked_for(self, compared):
        comparison = compared(change=other_model, other_model=True)
        assert ("model file config.json", "c" * 12, "d" * 12) in comparison.different
        assert ("generation.eos_token_id", "[1]", "[7]") in comparison.different
        assert any(name == "prompt as rendered" for name, _, _ in comparison.different)

    def test_another_prompt_is_refused_even_then(self, compared):
        def change(manifest):
            other_model(manifest)
            manifest["task"]["settings"]["prompt"] = "Which?"

        with pytest.raises(UsageError, match="differ in prompt: ") as caught:
            compared(change=change, other_model=True)
        assert "model file" not in str(caught.value)


def other_model(manifest):
    backend = manifest["identity"]["backend"]
    backend["model"]["files"]["config.json"] = {"sha256": "d" * 64}
    backend["generation"]["eos_token_id"] = [7]
    manifest["prompt"]["rendered"] = "<s>What sound?"


class TestWhatMayDiffer:
    def test_it_is_told(self, compared):
        def change(manifest):
            manifest["device"]["name"] = "NVIDIA A100"
            manifest["place"].update(dtype="fp32", batch_size=1, tp=2)
            manifest["identity"]["backend"].update(dtype="fp32", engine="stock", attention="eager")
            manifest["model"]["settings"]["attention"] = "eager"
            manifest["identity"]["seed"] = manifest["seed"] = 3
            manifest["dp"] = 4
            manifest["packages"]["torch"] = "2.9.0"
            manifest["tool"]["version"] = "0.2.0"

        assert compared(change=change).different == (
            ("device", "Ascend 910B4", "NVIDIA A100"),
            ("dtype", "bf16", "fp32"),
            ("engine", "fast", "stock"),
            ("attention", "sdpa", "eager"),
            ("batch size", "8", "1"),
            ("tp", "1", "2"),
            ("dp", "1", "4"),
            ("seed", "0", "3"),
            ("modeltest", "0.1.0", "0.2.0"),
            ("torch", "2.6.0", "2.9.0"),
        )

    def test_whole_hashes_of_a_certified_run_stand_in_nobodys_way(self, compared):
        def change(manifest):
            files = manifest["identity"]["backend"]["model"]["files"]
            files["model.safetensors"] = {**files["model.safetensors"], "sha256": "e" * 64}

        assert compared(change=change).different == ()

    @pytest.mark.parametrize("name", ["configuration.json", "README.txt", "generation_config.json"])
    def test_files_that_decide_no_reply_may_be_missing(self, compared, name):
        def change(manifest):
            manifest["identity"]["backend"]["model"]["files"][name] = {"sha256": "e" * 64}

        assert compared(change=change).different == ()

    def test_a_service_against_this_process(self, compared):
        comparison = compared(change=as_service)
        assert ("backend", "transformers", "openai") in comparison.different
        text = accuracy_text(comparison)
        assert "not compared: the model's files: a service does not show them" in text
        assert "not compared: the prompt as rendered" in text
        assert "not compared: do_sample, eos_token_id, pad_token_id, temperature: " in text

    def test_a_service_that_samples_otherwise_is_refused(self, compared):
        def change(manifest):
            as_service(manifest)
            manifest["identity"]["backend"]["generation"]["repetition_penalty"] = 1.2

        with pytest.raises(UsageError, match=r"differ in generation\.repetition_penalty"):
            compared(change=change)

    def test_two_services_of_one_name_on_two_machines(self, summed):
        def elsewhere(manifest):
            as_service(manifest)
            manifest["identity"]["backend"]["base_url"] = "http://10.0.0.1:8000"

        first = summed(FIRST, change=as_service)
        comparison = compare_accuracy(first, summed(FIRST, "b", change=elsewhere), 0.01)
        assert comparison.different == (
            ("address", "http://127.0.0.1:8000", "http://10.0.0.1:8000"),
        )
        assert comparison.unknown[-1].startswith("the model's files: services do not show them")


def test_two_services_with_other_names_of_their_model(tmp_path):
    def renamed(manifest):
        as_service(manifest)
        manifest["identity"]["backend"]["model"]["name"] = "n"

    runs = [
        read_run(write_run(tmp_path / str(number), replies(FIRST), change=change))
        for number, change in enumerate((as_service, renamed))
    ]
    with pytest.raises(UsageError, match="differ in model: A has m, B has n; --other-model"):
        compare_accuracy(*((run, summarise(run)) for run in runs), margin=0.01)


class TestFiles:
    def test_figures(self, compared):
        table = rows(figures_csv(compared()))
        assert {row["verdict"] for row in table} == {"INCONCLUSIVE"}
        assert {(row["run_a"], row["run_b"]) for row in table} == {
            ("174503-0a1b2c", "181200-ffffff")
        }
        found = {(row["subset"], row["figure"]): row for row in table}
        difference = found["all", "difference"]
        assert float(difference["value"]) == (1 - 2) / 9  # every digit
        low, high = tango_interval(1, 2, 9)
        assert (float(difference["ci_low"]), float(difference["ci_high"])) == (low, high)
        assert difference["ci_method"] == "tango"
        for figure, value in (
            ("accuracy_a", repr(6 / 9)), ("regressions", "2"), ("improvements", "1"),
            ("p_mcnemar", "1.0"), ("unparsed_a", "1"), ("errors_b", "0"), ("other_answers", "1"),
            ("same_replies", "5"), ("design_effect", "1.0"), ("discordance", repr(3 / 9)),
        ):  # fmt: skip
            assert found["all", figure]["value"] == value
        assert found["class=cough", "improvements"]["value"] == "1"
        assert found["class=cough", "p_mcnemar_holm"]["value"] == "1.0"

    def test_flips(self, compared):
        table = rows(flips_csv(compared()))
        assert [row["change"] for row in table] == [
            "regression", "regression", "improvement", "other_answer",
        ]  # fmt: skip
        first = table[0]
        assert first["sample_id"] == "f0001_1_cough"
        assert (first["audio"], first["truth"]) == ("clips/f0001_1_cough.wav", "cough")
        assert (first["answer_a"], first["answer_b"]) == ("cough", "sneeze")
        assert (first["reply_a"], first["reply_b"]) == ("It is a cough.", "It is a sneeze.")
        assert (first["speaker"], first["gender"]) == ("f0001", "female")
        assert (first["option_margin_a"], first["error_a"]) == ("", "")
        assert first["verdict"] == "INCONCLUSIVE"

    def test_hostile_replies_are_inert(self, compared):
        text = '=HYPERLINK("x")\r\n+1,"\x00'
        first = [Asked("f1_0_cough", "cough", metadata={"=1+1": "@x", "reply_a": "no"})]
        second = [Asked("f1_0_cough", None, text=text, metadata={"=1+1": "@x", "reply_a": "no"})]
        [row] = rows(flips_csv(compared(first, second)))
        assert row["reply_b"] == '\'=HYPERLINK("x")\r\n+1,"\\x00'
        assert row["'=1+1"] == "'@x"
        assert row["reply_a"] == "It is a cough."

    def test_nothing_is_overwritten(self, summed, tmp_path):
        a, b, out = summed(FIRST), summed(SECOND, "b"), tmp_path / "out"
        comparison, runs = compare_accuracy(a, b, 0.01), (a[0], b[0])
        first = write_comparison(comparison, runs, out)
        assert first["flips"] == out / "comparison" / "174503-0a1b2c-181200-ffffff" / "flips.csv"
        before = {path: path.read_bytes() for path in first.values()}
        second = write_comparison(comparison, runs, out)
        assert second["figures"].parent.name == "174503-0a1b2c-181200-ffffff-2"
        assert {path: path.read_bytes() for path in first.values()} == before
        assert [path.read_bytes() for path in second.values()] == list(before.values())

    def test_an_id_out_of_a_manifest_stays_below_the_folder(self, tmp_path):
        def change(manifest):
            manifest["place"]["run_id"] = "../../../x/\n" + "y" * 300

        runs = [
            read_run(write_run(tmp_path / name, replies(FIRST), "1-a", change=change))
            for name in "ab"
        ]
        comparison = compare_accuracy(*((run, summarise(run)) for run in runs), margin=0.01)
        written = write_comparison(comparison, tuple(runs), tmp_path / "out")
        folder = written["flips"].parent
        assert folder.parent == tmp_path / "out" / "comparison"
        assert len(folder.name) < 100

    def test_the_table_keeps_to_80_columns(self, compared):
        comparison = compared("+" * BIG, "-" * BIG)
        lines = accuracy_text(comparison, columns=80).splitlines()
        assert max(map(len, lines)) <= 80, lines
