"""The embedded clips and model are what their cards say; training and test share nothing."""

import csv
import hashlib
import importlib
import json
import sys
from collections import Counter

import numpy as np
import pytest
import soundfile

MEGABYTE = 1_000_000
LABELS = ("laughter", "sigh", "cough", "throatclearing", "sneeze", "sniff")


@pytest.fixture(scope="module")
def tools(project):
    """The modules of `tools/`, which import one another by bare names."""
    sys.path.insert(0, str(project / "tools"))
    yield importlib.import_module
    sys.path.remove(str(project / "tools"))


@pytest.fixture(scope="module")
def mini(mini_clips):
    return {clip.stem: soundfile.read(clip, dtype="int16")[0] for clip in mini_clips}


def folder_size(folder):
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_the_assets_stay_small(tiny_model, mini_clips):
    assert folder_size(tiny_model) <= 12 * MEGABYTE
    assert folder_size(mini_clips[0].parents[1]) <= 10 * MEGABYTE


def test_the_clips_have_vocalsounds_names_and_format(mini_clips):
    speakers = Counter(clip.stem.split("_")[0] for clip in mini_clips)
    classes = Counter(clip.stem.split("_")[2] for clip in mini_clips)
    assert len(speakers) == 20
    assert set(speakers.values()) == {6}
    assert classes == dict.fromkeys(LABELS, 20)
    lengths = []
    for clip in mini_clips:
        facts = soundfile.info(clip)
        assert (facts.samplerate, facts.channels, facts.subtype) == (16_000, 1, "PCM_16")
        lengths.append(facts.duration)
    assert 0.65 <= min(lengths) <= max(lengths) <= 11.5
    assert 2.0 <= np.mean(lengths) <= 3.0


def test_lists_and_speaker_data_agree_with_the_clips(mini_clips):
    root = mini_clips[0].parents[1]
    with (root / "class_labels_indices_vs.csv").open(newline="") as stream:
        names = {row["mid"]: row["display_name"] for row in csv.DictReader(stream)}
    entries = json.loads((root / "datafiles" / "te.json").read_text())["data"]
    listed = {entry["wav"].rsplit("/", 1)[-1]: names[entry["labels"]] for entry in entries}
    assert {name: label.lower().replace(" ", "") for name, label in listed.items()} == {
        clip.name: clip.stem.split("_")[2] for clip in mini_clips
    }
    for speaker, gender, age, *rest in json.loads((root / "meta" / "te_meta.json").read_text()):
        assert gender == {"f": "female", "m": "male"}[speaker[0]]
        assert 18 <= int(age) <= 80
        assert len(rest) == 3


def test_the_clips_can_be_made_again(tools, mini, tmp_path):
    synthesis = tools("vocal_synthesis")
    split = tools("synthesize_clips").SPLIT
    for number in (3, 136):
        speaker = synthesis.Speaker.from_seed(split, number)
        for label in LABELS:
            path = tmp_path / "clip.flac"
            soundfile.write(path, synthesis.synthesize(speaker, label, 0), 16_000, "PCM_16")
            again = soundfile.read(path, dtype="int16")[0].astype(int)
            shipped = mini[f"{speaker.speaker_id}_0_{label}"].astype(int)
            # Another numpy or scipy may round the last bit otherwise.
            assert len(again) == len(shipped)
            assert np.abs(again - shipped).max() <= 1


def test_training_draws_from_other_random_streams(tools, mini, monkeypatch):
    """Every stream is keyed by its population, so other populations share no draw."""
    synthesis, train = tools("vocal_synthesis"), tools("train_tiny")
    keys = []
    real = synthesis._generator

    def recorded(*key):
        keys.append(key)
        return real(*key)

    monkeypatch.setattr(synthesis, "_generator", recorded)
    digests = {hashlib.sha256(samples.tobytes()).hexdigest() for samples in mini.values()}
    mini_speakers = {name.split("_")[0] for name in mini}
    for split, numbers in train.POPULATIONS.items():
        assert split != tools("synthesize_clips").SPLIT
        assert not {f"{number:04d}" for number in numbers} & {s[1:] for s in mini_speakers}
        for number in list(numbers)[:4]:
            speaker = synthesis.Speaker.from_seed(split, number)
            for label in LABELS:
                waveform = synthesis.synthesize(speaker, label, 0)
                samples = np.round(waveform * 32767).astype(np.int16)
                assert hashlib.sha256(samples.tobytes()).hexdigest() not in digests
                for name, other in mini.items():
                    if name.endswith(label):
                        assert similarity(samples, other) < 0.9, (speaker.speaker_id, name)
    assert keys
    assert all(set(key) & set(train.POPULATIONS) for key in keys)


def similarity(one, other):
    """Largest normalised cross-correlation of two clips at any shift."""
    from scipy.signal import correlate

    a, b = one.astype(float), other.astype(float)
    return np.abs(correlate(a, b, method="fft")).max() / (np.linalg.norm(a) * np.linalg.norm(b))
