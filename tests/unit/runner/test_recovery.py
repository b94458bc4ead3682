"""Out of memory, lost devices and bounds, on a scripted backend with a capacity."""

import pytest

from modeltest.devices.cpu import CpuDevice
from modeltest.errors import DeviceError
from modeltest.reports.summary import summarise


class OutOfMemory(RuntimeError):
    pass


class SmallDevice(CpuDevice):
    def __init__(self):
        self.alive = True
        self.freed = 0

    def is_out_of_memory(self, error):
        return isinstance(error, OutOfMemory)

    def free_memory(self):
        self.freed += 1

    def is_alive(self):
        return self.alive


@pytest.fixture
def capacity(scripted):
    """A backend that runs out of memory above so many requests."""

    def make(largest):
        backend = scripted()
        backend.max_audio_s = 30.0
        whole = backend.generate

        def generate(requests):
            if len(requests) > largest:
                backend.batches.append([request.sample_id for request in requests])
                raise OutOfMemory("tried to allocate")
            return whole(requests)

        backend.generate = generate
        return backend

    return make


def replies(run):
    return [record["response"]["text"] for record in run.samples]


def test_a_batch_that_does_not_fit_is_halved_and_gives_the_same_answers(run_script, capacity):
    device = SmallDevice()
    backend = capacity(1)
    run = run_script(backend, batch_size=4, device=device)
    assert [len(batch) for batch in backend.batches] == [4, 2, 1, 1, 2, 1, 1, 1]
    assert replies(run) == ["C: Cough", "E: Sneeze", "C", "laughter", "F: Sniff"]
    assert [(s["size"], s["reason"]) for s in run.splits] == [
        (4, "out of memory"), (2, "out of memory"), (2, "out of memory"),
    ]  # fmt: skip
    assert device.freed == 3
    summary = summarise(run)
    assert summary.verdict.validity == "VALID"
    assert summary.verdict.reasons == ("3 batches were split (out of memory)",)


def test_a_single_clip_that_does_not_fit_is_an_error_of_its_sample(run_script, capacity):
    run = run_script(capacity(0), batch_size=4, device=SmallDevice())
    assert {record["response"]["error"] for record in run.samples} == {"out of memory"}
    assert summarise(run).verdict.validity == "INVALID"


def test_a_device_that_is_gone_ends_the_run(run_script, capacity):
    device = SmallDevice()
    device.alive = False
    with pytest.raises(DeviceError, match="does not answer any more"):
        run_script(capacity(1), batch_size=4, device=device)


def test_too_many_failures_end_the_run(run_script, scripted):
    backend = scripted(f0001_0_cough=ValueError("a"), f0001_0_sneeze=ValueError("b"))
    run = run_script(backend, batch_size=1, max_failed=1)
    assert len(run.samples) == 2
    summary = summarise(run)
    assert summary.verdict.validity == "INCOMPLETE"
    assert summary.verdict.reasons == (
        "2 of 5 samples evaluated",
        "stopped after 2 failed samples (--fail-on-error)",
        "2 of 2 samples failed",
    )


def test_a_clip_that_changed_meanwhile_is_an_error(run_script, scripted, settings):
    backend = scripted()
    backend.max_audio_s = 30.0
    folder = settings.local_dataset_path
    other = (folder / "m0002_0_sniff.flac").read_bytes()
    whole = backend.generate

    def generate(requests):
        (folder / "m0002_0_laughter.flac").write_bytes(other)
        return whole(requests)

    backend.generate = generate
    run = run_script(backend, batch_size=1)
    errors = {r["sample_id"]: r["response"]["error"] for r in run.samples}
    assert "changed since the run began" in errors.pop("m0002_0_laughter")
    assert set(errors.values()) == {""}


def test_replies_for_other_samples_are_never_taken(run_script, scripted):
    backend = scripted()
    whole = backend.generate
    backend.generate = lambda requests: whole(requests)[::-1]
    with pytest.raises(Exception, match="the backend answered"):
        run_script(backend, batch_size=2)
