"""Folders saved by the `datasets` library."""

import json
import pickle
import socket
import sys

import pytest

from modeltest.errors import DataError
from modeltest.tasks.data import find_samples

datasets = pytest.importorskip("datasets")

COLUMN_ONLY = {"source": "folder"}
NAMES = ["laughter", "sigh", "cough", "Throat clearing", "sneeze", "sniff"]


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    """Fails any attempt to reach another machine."""

    def refuse(*args, **kwargs):
        raise AssertionError("touched the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.fixture
def save(tmp_path):
    """Saves columns as a data set and returns its folder."""

    def _save(columns, classes=None, name="saved set ü"):
        data = datasets.Dataset.from_dict(columns)
        data = data.cast_column("audio", datasets.Audio())
        if classes:
            data = data.cast_column(classes, datasets.ClassLabel(names=NAMES))
        data.save_to_disk(tmp_path / name)
        return tmp_path / name

    return _save


def embedded(data, *paths):
    return [{"bytes": data, "path": path} for path in paths]


def test_class_labels_ids_metadata_and_bytes(save, task, flac):
    clips = embedded(flac, "m0002_0_cough.flac", "f0001_0_throatclearing.flac")
    root = save(
        {
            "audio": clips,
            "label": [2, 3],
            "spk_id": ["m0002", "f0001"],
            "age": [31, None],
            "age_group": ["26-48", "18-25"],
            "scores": [[1], [2]],
        },
        classes="label",
    )
    listing = find_samples(task(root, expected_samples=2))
    assert [sample.sample_id for sample in listing.samples] == [
        "f0001_0_throatclearing",
        "m0002_0_cough",
    ]
    assert [sample.truth for sample in listing.samples] == ["throatclearing", "cough"]
    assert listing.samples[0].metadata == {
        "speaker": "f0001",
        "gender": "female",
        "age_group": "18-25",
    }
    assert listing.samples[1].metadata["age"] == "31"
    (clip,) = listing.samples[0].audio
    assert (clip.name, clip.path) == ("f0001_0_throatclearing.flac", None)
    assert clip.read() == flac
    assert pickle.loads(pickle.dumps(clip)).read() == flac
    assert (listing.layout, listing.problems, listing.warnings) == ("saved data set", (), ())


@pytest.mark.parametrize("name", ["label", "labels", "answer", "class", "category", "Label"])
def test_strings_as_labels(save, task, flac, name):
    root = save({"audio": embedded(flac, "1.flac"), name: ["Throat clearing"]})
    assert find_samples(task(root, COLUMN_ONLY)).samples[0].truth == "throatclearing"


def test_each_source_reads_its_own_row(save, task, flac):
    other = flac + b"tail"
    clips = [{"bytes": flac, "path": "b.flac"}, {"bytes": other, "path": "a.flac"}]
    root = save({"audio": clips, "label": ["sigh", "cough"]})
    first, second = find_samples(task(root, COLUMN_ONLY)).samples
    assert (first.sample_id, first.truth, first.audio[0].read()) == ("a", "cough", other)
    assert (second.sample_id, second.truth, second.audio[0].read()) == ("b", "sigh", flac)


@pytest.mark.parametrize("paths", [("a.flac", "a.flac"), (None, None), ("x/a.flac", "y/a.flac")])
def test_rows_are_numbered_where_paths_do_not_tell_them_apart(save, task, flac, paths):
    root = save({"audio": embedded(flac, *paths), "label": ["sigh", "cough"]})
    listing = find_samples(task(root, COLUMN_ONLY))
    assert [sample.sample_id for sample in listing.samples] == ["row-000000", "row-000001"]
    assert listing.samples[1].audio[0].name == "row-000001"
    assert listing.samples[1].audio[0].read() == flac


def test_paths_without_bytes_are_files(write, task, tmp_path):
    root = write("f0001_0_cough.flac")
    data = datasets.Dataset.from_dict(
        {"audio": [str(root / "f0001_0_cough.flac")], "label": ["cough"]}
    )
    data.save_to_disk(tmp_path / "saved")
    (sample,) = find_samples(task(tmp_path / "saved")).samples
    assert sample.audio[0].path == str(root / "f0001_0_cough.flac")
    assert sample.sample_id == "f0001_0_cough"


def test_names_tell_where_there_is_no_label_column(save, task, flac):
    root = save({"audio": embedded(flac, "f0001_0_cough.flac", "noise.flac")})
    listing = find_samples(task(root))
    assert [sample.truth for sample in listing.samples] == ["cough"]
    assert [problem.name for problem in listing.problems] == ["noise.flac"]


def test_column_and_name_must_agree(save, task, flac):
    root = save({"audio": embedded(flac, "f0001_0_cough.flac"), "label": ["sigh"]})
    (problem,) = find_samples(task(root)).problems
    assert problem.what == "labels disagree: the column says 'sigh', the name 'cough'"


def test_rows_without_label_or_audio_are_told(task, flac, tmp_path):
    clips = [*embedded(flac, "1.flac", "2.flac"), {"bytes": None, "path": None}, None]
    columns = {"audio": clips, "label": ["yawn", None, "sigh", "sigh"]}
    datasets.Dataset.from_dict(columns).save_to_disk(tmp_path / "saved")
    listing = find_samples(task(tmp_path / "saved"))
    assert len(listing.samples) == 0
    assert [(problem.name, problem.what.split(":")[0]) for problem in listing.problems] == [
        ("row-000000", "no label"),
        ("row-000001", "no label"),
        ("row-000002", "missing"),
        ("row-000003", "missing"),
    ]


class TestSplits:
    @pytest.fixture
    def save_splits(self, tmp_path, flac):
        def _save(*splits):
            data = datasets.Dataset.from_dict(
                {"audio": embedded(flac, "f0001_0_cough.flac"), "label": ["cough"]}
            ).cast_column("audio", datasets.Audio())
            datasets.DatasetDict(dict.fromkeys(splits, data)).save_to_disk(tmp_path / "dict")
            return tmp_path / "dict"

        return _save

    @pytest.mark.parametrize("splits", [("train", "test"), ("validation",)])
    def test_test_or_the_only_one(self, save_splits, task, splits):
        listing = find_samples(task(save_splits(*splits)))
        assert len(listing.samples) == 1
        assert listing.layout == f"saved data set ({splits[-1]})"

    def test_others_are_named(self, save_splits, task):
        with pytest.raises(DataError, match=r"has no split 'test' \(its splits: train, dev\)"):
            find_samples(task(save_splits("train", "dev")))

    def test_a_broken_list_of_splits(self, task, tmp_path):
        (tmp_path / "dataset_dict.json").write_text("[]")
        with pytest.raises(DataError, match="does not list the splits"):
            find_samples(task(tmp_path))


class TestRefused:
    def test_several_label_columns(self, save, task, flac):
        columns = {"audio": embedded(flac, "1.flac"), "label": ["sigh"], "answer": ["B"]}
        with pytest.raises(DataError, match=r"which is the label column\? label, answer"):
            find_samples(task(save(columns)))

    def test_no_label_column(self, save, task, flac):
        columns = {"audio": embedded(flac, "1.flac"), "text": ["sigh"]}
        with pytest.raises(DataError, match=r"has no label column \(its columns: audio, text\)"):
            find_samples(task(save(columns), COLUMN_ONLY))

    def test_no_audio_column(self, task, tmp_path):
        datasets.Dataset.from_dict({"label": ["sigh"]}).save_to_disk(tmp_path / "saved")
        with pytest.raises(DataError, match="has no audio column"):
            find_samples(task(tmp_path / "saved"))

    def test_decoded_arrays(self, task, tmp_path):
        columns = {"audio": [[0.0, 0.5]], "label": ["sigh"]}
        datasets.Dataset.from_dict(columns).save_to_disk(tmp_path / "saved")
        with pytest.raises(DataError, match="'audio' holds no encoded audio"):
            find_samples(task(tmp_path / "saved"))

    @pytest.mark.parametrize("name", ["state.json", "dataset_info.json", "*.arrow"])
    @pytest.mark.parametrize("content", [b"", b"[]", b"\xff"])
    def test_damaged(self, save, task, flac, name, content):
        root = save({"audio": embedded(flac, "1.flac"), "label": ["sigh"]})
        (path,) = root.glob(name)
        path.write_bytes(content)
        with pytest.raises(DataError) as caught:
            find_samples(task(root))
        assert "\n" not in str(caught.value)

    def test_the_library_is_missing(self, save, task, flac, monkeypatch):
        root = save({"audio": embedded(flac, "1.flac"), "label": ["sigh"]})
        monkeypatch.setitem(sys.modules, "datasets", None)
        with pytest.raises(DataError, match="pip install datasets"):
            find_samples(task(root))


def test_a_format_that_was_saved_does_not_matter(save, task, flac):
    root = save({"audio": embedded(flac, "1.flac"), "label": ["sigh"], "age": [3]})
    state = json.loads((root / "state.json").read_text())
    state |= {"_format_type": "numpy", "_format_columns": ["label"]}
    (root / "state.json").write_text(json.dumps(state))
    (sample,) = find_samples(task(root, COLUMN_ONLY)).samples
    assert (sample.metadata, sample.audio[0].read()) == ({"age": "3"}, flac)
