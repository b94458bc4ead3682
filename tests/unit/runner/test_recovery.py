"""Out of memory, lost devices and bounds, on a scripted backend with a capacity."""

import pytest

from modeltest.devices.cpu import CpuDevice
from modeltest.errors import DeviceError, ModelError, SettingsError
from modeltest.records import Generation, Prompt, Request, Response
from modeltest.reports.summary import summarise
from modeltest.runner.recovery import generate_surviving, load


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

        def generate(requests, prepared=None, on_text=None):
            if len(requests) > largest:
                backend.batches.append([request.sample_id for request in requests])
                raise OutOfMemory("tried to allocate")
            return whole(requests, prepared)

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
    assert summary.verdict.reasons[0] == "3 batches were split (out of memory)"


class Talking:
    """Tells each reply letter by letter and runs out of memory above so many requests."""

    def __init__(self, largest, letters_before=0):
        self.largest = largest
        self.letters_before = letters_before

    def generate(self, requests, prepared=None, on_text=None):
        fails = len(requests) > self.largest
        for row, request in enumerate(requests):
            for letter in request.sample_id[: self.letters_before if fails else None]:
                on_text(row, letter)
        if fails:
            raise OutOfMemory("tried to allocate")
        return [Response(request.sample_id, request.sample_id) for request in requests]


@pytest.mark.parametrize("letters_before", [0, 1, 3])
@pytest.mark.parametrize("largest", [1, 2, 3, 5])
def test_text_is_told_once_and_by_the_places_in_the_whole_batch(largest, letters_before):
    names = ["one", "two", "three", "four", "five"]
    requests = [Request(name, (), Prompt("", "raw"), Generation(1)) for name in names]
    told = [""] * len(names)

    def tell(row, piece):
        told[row] += piece

    replies = generate_surviving(
        Talking(largest, letters_before), SmallDevice(), requests, lambda *_: None, on_text=tell
    )
    assert told == names
    assert [reply.text for reply in replies] == names


def test_what_is_prepared_is_for_the_whole_batch_only(run_script, capacity):
    backend = capacity(2)
    run_script(backend, batch_size=4, device=SmallDevice())
    # Batches of 4 (halved) and 1: the halves are prepared anew, by the backend itself.
    assert backend.prepared == [None, None, ["m0002_0_laughter"]]


def test_without_prefetch_the_backend_prepares_for_itself(run_script, scripted):
    backend = scripted()
    run_script(backend, batch_size=2, prefetch=False)
    assert backend.prepared == [None] * 3


def test_a_failure_to_prepare_is_met_where_the_batch_is_answered(run_script, scripted):
    backend = scripted()
    backend.max_audio_s = 30.0

    def prepare(requests):
        if requests[0].sample_id == "m0002_0_cough":
            raise ValueError("bad")

    backend.prepare = prepare
    run = run_script(backend, batch_size=2)
    assert replies(run) == ["C: Cough", "E: Sneeze", "C", "laughter", "F: Sniff"]
    assert [(s["size"], s["reason"]) for s in run.splits] == [(2, "ValueError: bad")]


def test_what_concerns_the_run_ends_it_from_prepare_too(run_script, scripted, model_error):
    backend = scripted()

    def prepare(_requests):
        raise model_error

    backend.prepare = prepare
    with pytest.raises(ModelError, match="dropped"):
        run_script(backend)


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


def test_a_clip_that_changed_meanwhile_is_an_error(run_script, scripted, settings, progress):
    backend = scripted()
    backend.max_audio_s = 30.0
    folder = settings.local_dataset_path
    other = (folder / "m0002_0_sniff.flac").read_bytes()

    def start(total, label):  # behind the data check, before the first clip is decoded
        if label == "evaluating":
            (folder / "m0002_0_laughter.flac").write_bytes(other)

    progress.start = start
    run = run_script(backend, batch_size=1)
    errors = {r["sample_id"]: r["response"]["error"] for r in run.samples}
    assert "changed since the run began" in errors.pop("m0002_0_laughter")
    assert set(errors.values()) == {""}


def test_replies_for_other_samples_are_never_taken(run_script, scripted):
    backend = scripted()
    whole = backend.generate
    backend.generate = lambda requests, *_: whole(requests)[::-1]
    with pytest.raises(Exception, match="the backend answered"):
        run_script(backend, batch_size=2)


class BrokenDevice(SmallDevice):
    """A device whose context is lost: every call raises, as torch does."""

    torch_name = "cuda:0"

    def __init__(self, answers=False):
        super().__init__()
        self.answers = answers

    def free_memory(self):
        raise RuntimeError("CUDA error: device-side assert triggered")

    def is_alive(self):
        if not self.answers:
            raise RuntimeError("CUDA error: unspecified launch failure")
        return True


def test_a_lost_device_that_refuses_every_call_is_one_error_and_exit_5(run_script, capacity):
    with pytest.raises(DeviceError, match="does not answer any more") as caught:
        run_script(capacity(1), batch_size=4, device=BrokenDevice())
    assert caught.value.exit_code == 5


def test_a_device_that_only_cannot_free_memory_goes_on(run_script, capacity):
    run = run_script(capacity(1), batch_size=4, device=BrokenDevice(answers=True))
    assert replies(run) == ["C: Cough", "E: Sneeze", "C", "laughter", "F: Sniff"]


class Loading:
    """A backend whose weights do not come."""

    def __init__(self, error):
        self.error = error

    def load(self):
        raise self.error


def test_a_model_that_does_not_fit_is_one_line_and_exit_5():
    device = SmallDevice()
    with pytest.raises(DeviceError, match="does not fit into the memory of cpu") as caught:
        load(Loading(OutOfMemory("tried to allocate 16 GiB\nOf the allocated memory …")), device)
    assert caught.value.exit_code == 5
    assert len(str(caught.value).splitlines()) == 1
    assert device.freed == 1


def test_a_device_that_dies_while_the_model_loads_is_one_error():
    with pytest.raises(DeviceError, match="does not answer any more"):
        load(Loading(RuntimeError("CUDA error")), BrokenDevice())


def test_other_failures_of_loading_are_told_as_they_are():
    with pytest.raises(ValueError, match="a bug"):
        load(Loading(ValueError("a bug")), SmallDevice())
    with pytest.raises(SettingsError):
        load(Loading(SettingsError("mend it")), SmallDevice())
