"""Each rule of validity, forced once, and the verdict that follows."""

import pytest

from modeltest.reports.performance.judge import limits
from modeltest.reports.performance.summary import summarise_sweep
from modeltest.runlog.sweep_log import read_sweep


@pytest.fixture
def judged(make_sweep, rounds_of):
    """Reasons of batch size 2 in fixed mode after a change of its rounds, and the verdict."""

    def judge(change=None, manifest_change=None, each=None):
        def apply(manifest, logged):
            if manifest_change:
                manifest_change(manifest)
            if each:
                for record in rounds_of(logged, 2):
                    each(record)
            if change:
                change(logged)

        summary = summarise_sweep(make_sweep(apply))
        [row] = [r for r in summary.rows if (r.batch_size, r.mode) == (2, "fixed")]
        assert row.valid == (not row.reasons)
        return row, summary.verdict

    return judge


def invalid(outcome, *said):
    row, verdict = outcome
    assert verdict.validity == "INVALID"
    assert len(row.reasons) == len(said), row.reasons
    for reason, part in zip(row.reasons, said, strict=True):
        assert part in reason
        assert f"bs 2 fixed: {reason}" in verdict.reasons


def drop(logged, **wanted):
    logged[:] = [r for r in logged if any(r.get(k) != v for k, v in wanted.items())]


def slow(record, factor):
    for batch in record["batches"]:
        for name, value in batch.items():
            if name.endswith("_s") and name != "audio_s":
                batch[name] = [factor * s for s in value] if name == "step_s" else factor * value
    record["end_s"] = record["start_s"] + record["batches"][0]["e2e_s"]


def test_a_sound_sweep_is_valid(judged):
    row, verdict = judged()
    assert (row.reasons, row.notes) == ((), ())
    assert str(verdict) == "VALID"


def test_too_few_rounds(judged):
    def change(logged):
        logged[:] = [
            r for r in logged
            if not (r["type"] == "round" and r["batch_size"] == 2 and r["mode"] == "fixed"
                    and r["kind"] == "copies" and (r["number"] < 3 or r["pass"] > 3))
        ]  # fmt: skip

    invalid(
        judged(change, lambda manifest: manifest["sweep"].update(min_seconds=0.1)),
        "4 rounds, fewer than 5",
    )


def test_too_short(judged):
    outcome = judged(manifest_change=lambda manifest: manifest["sweep"].update(min_seconds=10.0))
    invalid(outcome, "2.8 s measured, less than 10 s")


def test_too_few_passes(judged):
    def change(logged):
        logged[:] = [r for r in logged if r.get("pass", 0) < 2]

    outcome = judged(change, lambda m: m["sweep"].update(num_passes=2, min_seconds=0.1))
    invalid(outcome, "2 passes, fewer than 3")


def test_missing_passes_make_the_run_incomplete(judged):
    row, verdict = judged(lambda logged: drop(logged, batch_size=2, mode="fixed", **{"pass": 4}))
    assert row.reasons == ("4 of 5 passes measured",)
    assert (verdict.validity, verdict.reasons) == ("INCOMPLETE", ("1 of 30 blocks missing",))


def test_nothing_measured_yet(judged):
    row, verdict = judged(lambda logged: logged.clear())
    assert row.figures is None
    assert row.reasons == ("0 of 5 passes measured",)
    assert (verdict.validity, verdict.reasons) == ("INCOMPLETE", ("30 of 30 blocks missing",))


def test_passes_differ(judged):
    # The first and the last third are alike, so nothing drifts.
    outcome = judged(each=lambda r: slow(r, (1.0, 1.25, 1.4, 0.85, 1.0)[r["pass"]]))
    invalid(outcome, "coefficient of variation")
    assert "limit 10 %" in outcome[0].reasons[0]


def test_drift(judged):
    def each(record):
        slow(record, 1 + 0.03 * record["pass"])

    # Speeds 1, 1/1.03, … 1/1.12: 4.7 % spread; thirds of 6 rounds lie around 1 and 1/1.12.
    invalid(judged(each=each), "throughput drifts by -1")


def test_certified_limits_are_stricter(judged):
    def each(record):
        slow(record, 1 + 0.015 * record["pass"])

    assert judged(each=each)[0].valid
    row, _ = judged(each=each, manifest_change=lambda manifest: manifest.update(certified=True))
    assert row.reasons[0].startswith("throughput drifts by -5")
    assert row.reasons[0].endswith("limit 3 %")


def test_the_limits_are_named_in_the_report():
    assert "up to 10 %" in limits({"certified": False})[1]
    assert "up to 3 %" in limits({"certified": True})[1]


def test_outliers(judged):
    outcome = judged(each=lambda r: slow(r, 3) if (r["pass"], r["number"]) == (2, 1) else None)
    invalid(outcome, "1 of 20 rounds are outliers")


def test_few_rounds_have_no_outliers(judged):
    # 15 rounds in five passes: their spread is judged pass by pass, but no single one of them.
    def change(logged):
        drop(logged, number=3, kind="copies", batch_size=2)
        for record in logged:
            if (record.get("pass"), record.get("number"), record.get("kind")) == (2, 1, "copies"):
                slow(record, 3)

    row, _ = judged(change)
    assert row.reasons == ()
    assert row.figures.outliers == 1


@pytest.mark.parametrize(("scale", "factor"), [(1.0, 1.02), (0.01, 1.05)], ids=["2 %", "70 µs"])
def test_a_small_difference_is_no_outlier(judged, scale, factor):
    def each(record):
        odd = (record["pass"], record["number"]) == (2, 1)
        seconds = 0.14 * scale * (factor if odd else 1 + 1e-6 * record["number"])
        slow(record, seconds / record["batches"][0]["e2e_s"])

    row, _ = judged(each=each)
    assert row.figures.outliers == 0


def test_rounds_of_microseconds_are_not_judged_by_their_spread(judged):
    row, _ = judged(
        each=lambda r: slow(r, 1e-4 * (1.0, 1.5, 2.0, 0.5, 3.0)[r["pass"]]),
        manifest_change=lambda manifest: manifest["sweep"].update(min_seconds=1e-6),
    )
    assert row.valid
    assert "rounds below 1 ms: spread, drift and outliers not judged" in row.notes
    assert "cache check: rounds below 1 ms tell nothing" in row.notes


def test_suspension(judged):
    outcome = judged(each=lambda r: r.update(suspended_s=1.5 if r["number"] == 1 else 0.0))
    invalid(outcome, "suspended for 1.5 s, limit 1 s")


def test_a_gap_between_rounds(judged):
    def each(record):
        if (record["pass"], record["number"]) == (1, 0):
            record["start_s"] -= 2.0
            record["end_s"] -= 2.0

    row, _ = judged(each=each)
    [reason] = row.reasons
    assert reason.startswith("a gap of 2.36")
    assert reason.endswith("s between two rounds of a pass, limit 1 s")


def test_time_between_passes_is_no_gap(sweep):
    # They are 1000 s apart.
    assert all(row.valid for row in summarise_sweep(sweep).rows)


def test_other_load(judged):
    invalid(judged(each=lambda r: r.update(other_load=0.35)), "other processes used 35 %")


def test_unknown_load_is_told_and_not_taken_for_none(judged):
    row, verdict = judged(each=lambda r: r.update(other_load=None))
    assert row.valid
    assert row.notes == ("other load on the machine: not checked",)
    assert verdict.reasons == ("bs 2 fixed: other load on the machine: not checked",)


def test_failed_requests(judged):
    def each(record):
        if (record["pass"], record["number"]) == (0, 0):
            record["batches"][0]["errors"] = ["ValueError: boom"]

    invalid(judged(each=each), "1 of 50 requests failed, the first one with: ValueError: boom")


def test_out_of_memory_limits_the_run(judged):
    def change(logged):
        drop(logged, batch_size=2, mode="fixed")
        logged.append({"type": "point_failure", "batch_size": 2, "mode": "fixed",
                       "reason": "out of memory"})  # fmt: skip

    row, verdict = judged(change)
    assert row.figures is None
    assert row.reasons == ("out of memory",)
    assert str(verdict) == "LIMITED: bs 2 fixed: out of memory"


def test_figures_before_an_out_of_memory_are_not_shown(judged):
    failure = {"type": "point_failure", "batch_size": 2, "mode": "fixed",
               "reason": "out of memory"}  # fmt: skip
    row, _ = judged(lambda logged: logged.append(failure))
    assert row.figures is None


def test_any_other_failure_makes_the_run_invalid(judged):
    failure = {"type": "point_failure", "batch_size": 2, "mode": "fixed",
               "reason": "RuntimeError: boom"}  # fmt: skip
    invalid(judged(lambda logged: logged.append(failure)), "RuntimeError: boom")


def test_a_sweep_that_fits_nowhere_is_invalid(judged):
    def change(logged):
        logged[:] = [
            {"type": "point_failure", "batch_size": size, "mode": mode, "reason": "out of memory"}
            for size in (1, 2, 4)
            for mode in ("fixed", "natural")
        ]

    _, verdict = judged(change)
    assert verdict.validity == "INVALID"
    assert "no point could be measured" in verdict.reasons


def test_fixed_replies_of_another_length(judged):
    def each(record):
        if (record["pass"], record["number"]) == (0, 0):
            record["batches"][0]["output_tokens"] = [8, 7]

    invalid(judged(each=each), "1 of 50 replies do not have 8 tokens, the first one has 7")


def test_replies_that_differ_between_rounds(judged):
    def each(record):
        if record["number"] == 2:
            record["batches"][0]["outputs_sha256"] = "another"

    invalid(judged(each=each), "nondeterministic: outputs differ between rounds (5 differ)")


def test_replies_that_differ_between_passes(judged):
    def change(logged):
        for record in logged:
            key = (record["type"], record.get("batch_size"), record.get("mode"))
            if key == ("outputs", 2, "fixed") and record["pass"] == 3:
                record["items"][1][1] = "another"

    invalid(judged(change), "nondeterministic: outputs differ between rounds (1 differ)")


def test_a_hidden_cache(judged):
    # Repeated clips take 1/1.25 of what distinct ones do.
    invalid(
        judged(each=lambda record: slow(record, 0.8)),
        "repeated clips are 25 % faster than distinct ones (95 % interval +24.",
    )


def test_what_disturbed_the_machine_comes_first(judged):
    def each(record):
        slow(record, (1.0, 1.25, 1.4, 0.85, 1.0)[record["pass"]])
        record["other_load"] = 0.5

    invalid(judged(each=each), "other processes used 50 %", "coefficient of variation")


def test_a_cache_check_that_did_not_run_is_told(judged):
    row, verdict = judged(
        lambda logged: logged.__setitem__(
            slice(None), [r for r in logged if r.get("kind") != "distinct"]
        )
    )
    assert row.valid
    assert row.notes == ("cache check: not run",)
    notes = ["cache check: not run" in reason for reason in verdict.reasons]
    assert notes == [True]


def test_degraded(judged):
    record = {"type": "degraded", "batch_size": 2, "mode": "fixed", "reason": "batch split"}
    invalid(judged(lambda logged: logged.append(record)), "degraded: batch split")


def test_time_that_belongs_to_no_stage_is_a_note(judged):
    row, verdict = judged(each=lambda r: r["batches"][0].update(encoder_s=0.0))
    assert row.valid
    [note] = row.notes
    assert note.startswith("unattributed: 11.0 %")
    assert verdict.validity == "VALID"


def test_local_changes_of_the_tool(judged):
    _, verdict = judged(manifest_change=lambda manifest: manifest["tool"].update(dirty=True))
    assert str(verdict) == "INVALID: modeltest's own source has local changes"


def simulated(manifest):
    manifest["device"] = {"kind": "npu", "name": "Simulated NPU", "simulated": True}


def test_a_simulated_device_stands_against_every_row_and_is_said_once(make_sweep):
    summary = summarise_sweep(make_sweep(lambda manifest, _: simulated(manifest)))
    assert str(summary.verdict) == "INVALID: simulated device: Simulated NPU"
    assert {row.reasons for row in summary.rows} == {("simulated device: Simulated NPU",)}
    assert summary.best is None


def test_a_simulated_device_stays_before_what_is_graver(judged):
    row, verdict = judged(lambda logged: drop(logged, **{"pass": 4}), simulated)
    assert row.reasons == ("simulated device: Simulated NPU", "4 of 5 passes measured")
    assert (verdict.validity, verdict.reasons) == (
        "INCOMPLETE",
        ("simulated device: Simulated NPU", "6 of 30 blocks missing"),
    )


def test_a_simulated_device_without_enough_memory(judged):
    failure = {"type": "point_failure", "batch_size": 2, "mode": "fixed",
               "reason": "out of memory"}  # fmt: skip
    _, verdict = judged(lambda logged: logged.append(failure), simulated)
    assert str(verdict) == ("INVALID: simulated device: Simulated NPU; bs 2 fixed: out of memory")


@pytest.mark.parametrize("device", [{"simulated": False}, {}])
def test_other_devices_are_judged_by_their_figures(judged, device):
    def change(manifest):
        manifest["device"] = {"kind": "npu", "name": "Ascend910B4", **device}

    row, verdict = judged(manifest_change=change)
    assert (row.valid, verdict.validity) == (True, "VALID")


NOTHING_READ = "heat, throttling and other users of the device: not checked"
REST = "heat in between, throttling and other users of the device: not checked"


def reading(when, **health):
    return {"type": "health", "when": when, "rank": 0, "health": health}


@pytest.mark.parametrize(
    ("kind", "readings", "note"),
    [
        ("npu", [], NOTHING_READ),
        ("cuda", [reading("before", tool="nvidia-smi", unknown="not found")], NOTHING_READ),
        ("cuda", [reading("before", tool="nvidia-smi", temperature_c=None)], NOTHING_READ),
        (
            "cuda",
            [
                reading("before", tool="nvidia-smi", temperature_c=41.0),
                reading("after", tool="nvidia-smi", temperature_c=63.0),
            ],
            f"41 to 63 °C before and after the sweep, by nvidia-smi; {REST}",
        ),
        (
            "npu",
            [
                reading("before", tool="npu-smi", health="OK", temperature_c=45),
                reading("after", tool="npu-smi", health="ok", temperature_c=45),
            ],
            f"health OK, ok, 45 °C before and after the sweep, by npu-smi; {REST}",
        ),
        (
            "npu",
            [
                reading(when, tool="npu-smi", health=word, temperature_c=None)
                for when in ("before", "after")
                for word in ("NA", "UNKNOWN", "-", "", None)
            ],
            NOTHING_READ,
        ),
        (
            "npu",
            [
                reading("before", tool="npu-smi", health="OK", other_processes=None),
                reading("after", tool="npu-smi", health="OK", other_processes=[]),
            ],
            f"health OK before and after the sweep, by npu-smi; {NOTHING_READ}",
        ),
        (
            "cuda",
            [
                reading(when, tool="nvidia-smi", temperature_c=41, slowdowns=[], other_processes=[])
                for when in ("before", "after")
            ],
            "41 °C, no slowdown, no other process before and after the sweep, by nvidia-smi; heat, "
            "throttling and other users of the device in between: not checked",
        ),
        (
            "cuda",
            [reading("after", tool="nvidia-smi", slowdowns=[])],
            "no slowdown after the sweep, by nvidia-smi; throttling in between, heat and other "
            "users of the device: not checked",
        ),
        (
            "npu",
            [reading("before", tool="npu-smi", health="OK", temperature_c=None)],
            f"health OK before the sweep, by npu-smi; {NOTHING_READ}",
        ),
    ],
)
def test_what_nobody_looked_at_on_a_device_is_never_taken_for_good(judged, kind, readings, note):
    def change(manifest):
        manifest["device"] = {"kind": kind, "name": "a card"}

    row, verdict = judged(lambda logged: logged.extend(readings), change)
    assert row.notes == (note,)
    assert verdict.reasons == (note,)  # once for all points
    assert (row.valid, verdict.validity) == (True, "VALID")


SLOW = "hardware thermal slowdown"


@pytest.mark.parametrize(
    ("kind", "before", "after", "said"),
    [
        *(
            ("npu", {"health": "OK"}, {"health": word}, f"NPU 0 reports health {word}")
            for word in ("Warning", "Alarm", "Critical", "Offline")
        ),
        ("npu", {"health": "Alarm"}, {"health": "OK"}, "NPU 0 reports health Alarm"),
        ("npu", {}, {"other_processes": [77]}, "another process (pid 77) uses NPU 0"),
        ("cuda", {"other_processes": [77]}, {}, "another process (pid 77) uses GPU 0"),
        (
            "cuda",
            {"other_processes": [9, 1]},
            {"other_processes": [1, 2, 3, 4, 5, 6]},
            "other processes (pid 1, 2, 3, 4, 5 and 2 more) use GPU 0",
        ),
        ("cuda", {"slowdowns": []}, {"slowdowns": [SLOW]}, f"GPU 0 reports {SLOW} after the sweep"),
        ("cuda", {"slowdowns": [SLOW]}, {}, f"GPU 0 reports {SLOW} before the sweep"),
        (
            "cuda",
            {"uncorrected_errors": 2.0},
            {"uncorrected_errors": 5.0},
            "uncorrected memory errors of GPU 0 rose from 2 to 5",
        ),
    ],
)
def test_an_accelerator_that_is_unwell_or_shared(judged, kind, before, after, said):
    def change(manifest):
        manifest["device"] = {"kind": kind, "name": "a card", "index": 0}

    readings = [reading("before", **before), reading("after", **after)]
    invalid(judged(lambda logged: logged.extend(readings), change), said)


@pytest.mark.parametrize(
    "counts",
    [
        [("before", 2.0), ("after", 2.0)],
        [("before", None), ("after", 3.0)],
        [("before", 3.0), ("after", 0.0)],  # the driver was loaded anew
        # Between the two processes of a sweep that was resumed.
        [("before", 2.0), ("after", 2.0), ("before", 3.0), ("after", 3.0)],
    ],
)
def test_memory_errors_that_did_not_rise_at_work(judged, counts):
    def change(manifest):
        manifest["device"] = {"kind": "cuda", "name": "a card", "index": 0}

    readings = [reading(when, uncorrected_errors=count) for when, count in counts]
    assert judged(lambda logged: logged.extend(readings), change)[0].valid


@pytest.mark.parametrize(
    "device", [{"kind": "cpu"}, {"kind": "service"}, {"kind": "npu", "simulated": True}]
)
def test_other_devices_have_no_tool_to_believe(judged, device):
    row, _ = judged(
        lambda logged: logged.append(reading("after", health="Alarm", other_processes=[7])),
        lambda manifest: manifest.update(device={"name": "a card", **device}),
    )
    assert not any("Alarm" in text or "pid" in text for text in (*row.reasons, *row.notes))


def test_a_device_without_a_number(judged):
    invalid(
        judged(
            lambda logged: logged.append(reading("after", health="Alarm")),
            lambda manifest: manifest.update(device={"kind": "npu", "name": "a card"}),
        ),
        "the NPU reports health Alarm",
    )


def test_the_host_has_a_rule_of_its_own(judged):
    health = reading("before", load_1min=0.1, temperature_c=50.0)
    assert judged(lambda logged: logged.append(health))[0].notes == ()


@pytest.mark.parametrize(
    "odd", [None, [], "hot", 1e300, True, {}, {"temperature_c": "hot", "health": 1}]
)
def test_a_reading_may_be_anything(judged, odd):
    def change(manifest):
        manifest["device"] = {"kind": "cuda", "name": "a card"}

    names = ("temperature_c", "health", "uncorrected_errors", "slowdowns", "other_processes")
    for health in (odd, dict.fromkeys(names, odd), {"slowdowns": [odd], "other_processes": [odd]}):
        record = {"type": "health", "when": odd, "health": health}
        row, _ = judged(lambda logged, record=record: logged.append(record), change)
        is_a_word = isinstance(odd, str) and health is not odd
        assert row.valid is not is_a_word
        assert "not checked" in row.notes[0]


def test_part_of_a_task_is_limited(judged):
    def change(manifest):
        manifest["sweep"]["clip_source"] = "task"
        manifest["data"].update(num_samples=10)

    assert str(judged(manifest_change=change)[1]) == "LIMITED: 10 of 60 samples"


def test_warnings_and_settings_stand_among_the_reasons(judged):
    def change(manifest):
        manifest["data"]["warnings"] = ["odd clip"]
        manifest["model"]["overrides"] = ["model.system_prompt=x"]

    _, verdict = judged(manifest_change=change)
    assert verdict.validity == "VALID"
    assert verdict.reasons == ("warning: odd clip", "settings changed: system_prompt=x")


def test_damage_is_invalid_whatever_is_missing(make_sweep):
    content = make_sweep(lambda _, logged: drop(logged, batch_size=2, **{"pass": 4}))
    [path] = (content.folder / "log").iterdir()
    lines = path.read_bytes().split(b"\n")
    lines[3] = lines[3].replace(b"type", b"tyqe")
    path.write_bytes(b"\n".join(lines))
    verdict = summarise_sweep(read_sweep(content.folder)).verdict
    assert verdict.validity == "INVALID"
    assert any("damaged inside" in reason for reason in verdict.reasons)
