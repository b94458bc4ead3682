"""`modeltest report --embed-audio`: the clips of the run and no others, or one line why not."""

import shutil

import pytest

from modeltest.audio.decode import inspect
from modeltest.cli.embedded_clips import embedded_clips
from modeltest.cli.outcome import PageOptions, write_outcome
from modeltest.errors import AudioError, DataError, UsageError
from modeltest.runlog.manifest import write_manifest
from modeltest.runlog.run_log import RunContent
from modeltest.settings.load import load_task
from modeltest.settings.recorded import recorded_task
from modeltest.tasks.data import find_samples


@pytest.fixture
def run(mini_clips, tmp_path):
    """A run of three clips whose data folder was named relative to where it was started."""
    data = tmp_path / "data"
    data.mkdir()
    for clip in mini_clips[:3]:
        shutil.copy(clip, data)
    settings = load_task("vocalsound_mini").settings.model_dump(mode="json")
    manifest = {
        "task": {"settings": {**settings, "local_dataset_path": "data"}},
        "working_directory": str(tmp_path),
    }
    records = [
        {
            "sample_id": sample.sample_id,
            "clips": [
                {"sha256": inspect(source).sha256, "container": "FLAC/PCM_16"}
                for source in sample.audio
            ],
        }
        for sample in find_samples(recorded_task(manifest)).samples
    ]
    return RunContent(tmp_path, manifest, tuple(records))


def clip_of(run, number):
    return run.folder / "data" / f"{run.samples[number]['sample_id']}.flac"


def test_every_clip_is_read_from_the_data_folder(run, tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    found = list(embedded_clips(run))
    assert [clip.encoded for clip in found] == [clip_of(run, n).read_bytes() for n in range(3)]
    assert [clip.sha256 for clip in found] == [each["clips"][0]["sha256"] for each in run.samples]


def test_a_clip_of_several_samples_is_embedded_once(run):
    twice = RunContent(run.folder, run.manifest, (*run.samples, run.samples[0]))
    assert len(list(embedded_clips(twice))) == 3


def test_a_changed_clip_is_refused(run):
    shutil.copy(clip_of(run, 0), clip_of(run, 1))
    with pytest.raises(DataError, match=r"_\w+\.flac: is not the clip of the run"):
        list(embedded_clips(run))


def test_a_missing_clip_is_refused(run):
    clip_of(run, 2).unlink()
    with pytest.raises(DataError, match=r"has no sample .* any more"):
        list(embedded_clips(run))


def test_a_clip_that_cannot_be_read_is_refused(run):
    clips = embedded_clips(run)
    next(clips)
    clip_of(run, 1).unlink()
    with pytest.raises(AudioError, match="does not exist"):
        list(clips)


def test_a_missing_folder_is_refused(run):
    shutil.rmtree(run.folder / "data")
    with pytest.raises(DataError, match="data: does not exist"):
        list(embedded_clips(run))


def test_settings_of_another_version_are_refused(run):
    run.manifest["task"]["settings"]["kind"] = "singing"
    with pytest.raises(DataError, match="task settings are not those of this modeltest: kind"):
        list(embedded_clips(run))


def test_a_measurement_of_speed_has_none(tmp_path):
    write_manifest(tmp_path, {"schema_version": 2, "command": "perf"})
    with pytest.raises(UsageError, match="--embed-audio"):
        write_outcome(tmp_path, page=PageOptions(embed_audio=True))
