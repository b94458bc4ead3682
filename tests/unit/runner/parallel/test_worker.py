"""What a worker logs of a batch of which the log has some replies."""

from pathlib import Path

import pytest

from modeltest.devices.factory import Choice
from modeltest.errors import ModelError
from modeltest.runlog.digests import short_digest
from modeltest.runner.batches import Batch, Member
from modeltest.runner.parallel import worker
from modeltest.runner.parallel.deck import Deal
from modeltest.runner.parallel.worker import ANSWERED, Job, Worker
from modeltest.runner.plan import check_data
from modeltest.settings.load import Loaded
from modeltest.settings.schema import ModelSettings


class Log:
    def __init__(self):
        self.records = []

    def append(self, record):
        self.records.append(record)


@pytest.fixture
def work(settings, scripted, progress, monkeypatch):
    """A worker answers a batch of a cough, which is missing, and a sneeze, which is not."""

    data = check_data(Loaded("t", settings, ((Path("t.yaml"), ""),), (), {}), 2, progress)

    def answered(logged_text, **script):
        script.setdefault("f0001_0_cough", "C")
        backend = scripted(**script)
        monkeypatch.setattr(worker, "make_backend", lambda *_: backend)
        null = ModelSettings(backend="null").model_dump_json()
        log, said = Log(), []
        job = Job("t", settings.model_dump_json(), null, Choice("cpu", ""), 0)
        digest = short_digest(logged_text) if logged_text else b""
        (cough, of_cough), (sneeze, of_sneeze) = zip(data.samples, data.facts, strict=True)
        missing = Member(0, cough, of_cough, "key 0", True)
        batch = Batch([missing, Member(1, sneeze, of_sneeze, "key 1", False, digest)])
        Worker(job, 0, log, said.append).run([], [Deal(7, batch)], lambda: None)
        assert backend.batches[0] == ["f0001_0_cough", "f0001_0_sneeze"]  # it is run whole
        [report] = [words for words in said if words["event"] == ANSWERED]
        samples = [record for record in log.records if record["type"] == "sample"]
        return [record["response"]["text"] for record in samples], report

    return answered


@pytest.mark.parametrize(
    ("logged", "reply", "texts"),
    [
        ("E", "E", ["C"]),
        ("E", RuntimeError("boom"), ["C"]),
        ("", "E", ["C"]),  # the log has a failure
        ("E", "F", ["C", "F"]),
    ],
    ids=["the same reply", "a failure beside a reply", "a reply beside a failure", "another reply"],
)
def test_only_another_reply_than_the_logs_is_logged_beside_what_is_missing(
    work, logged, reply, texts
):
    found, report = work(logged, f0001_0_sneeze=reply)
    assert sorted(found) == texts
    assert report == {"event": ANSWERED, "batch": 7, "num_failed": 0}


def test_a_failure_of_what_is_missing_is_logged_and_counted(work):
    found, report = work("E: Sneeze", f0001_0_cough=RuntimeError("boom"))
    assert found == [""]
    assert report["num_failed"] == 1


def test_another_model_than_the_drivers_is_the_models_error(settings):
    """Not its device's, for which a worker would be given up at once: it is tried again."""
    null = ModelSettings(backend="null").model_dump_json()
    job = Job("t", settings.model_dump_json(), null, Choice("cpu", ""), 0, backend_sha256="0" * 64)
    with pytest.raises(ModelError, match=r"the model at its path, .* is not the driver's"):
        Worker(job, 0, Log(), lambda _: None)
