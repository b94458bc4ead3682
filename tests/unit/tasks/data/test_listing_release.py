"""The official release tree, and what can be wrong with it."""

import json
from pathlib import Path

import pytest

import modeltest
from modeltest.errors import DataError
from modeltest.tasks.data import find_samples
from modeltest.tasks.data.release import CLASS_NAMES

IDS = {name.lower().replace(" ", ""): class_id for class_id, name in CLASS_NAMES.items()}


@pytest.fixture
def release(write):
    """Writes a release tree with these test clips and returns its folder."""

    def _release(*stems: str, entries: list | None = None, folder: str = "audio_16k") -> Path:
        root = write(*(f"{folder}/{stem}.wav" for stem in stems))
        if entries is None:
            entries = [entry(stem) for stem in stems]
        split = json.dumps({"data": entries}).encode()
        write("datafiles/te.json", content=split)
        return root

    return _release


def entry(stem, class_id=None):
    wav = f"/data/sls/scratch/somebody/vocalsound/audio_16k/{stem}.wav"
    return {"wav": wav, "labels": class_id or IDS[stem.rsplit("_", 1)[-1]]}


def only_problem(listing):
    (problem,) = listing.problems
    return problem


def test_the_test_split_alone_is_listed(release, task):
    root = release(
        "f0001_0_cough",
        "m0002_0_throatclearing",
        "m0009_0_sigh",
        entries=[
            entry("m0002_0_throatclearing"),
            entry("f0001_0_cough"),
        ],
    )
    listing = find_samples(task(root))
    assert [sample.sample_id for sample in listing.samples] == [
        "f0001_0_cough",
        "m0002_0_throatclearing",
    ]
    assert [sample.truth for sample in listing.samples] == ["cough", "throatclearing"]
    assert listing.samples[0].audio[0].name == "audio_16k/f0001_0_cough.wav"
    assert listing.samples[0].audio[0].path == str(root / "audio_16k" / "f0001_0_cough.wav")
    assert listing.samples[0].metadata == {"speaker": "f0001", "gender": "female"}
    assert (listing.layout, listing.problems) == ("release tree (audio_16k)", ())
    assert listing.passed_over == {".json": 1}


def test_the_shipped_clips_are_such_a_tree(task):
    root = Path(modeltest.__file__).parent / "assets" / "vocalsound_mini"
    listing = find_samples(task(root, expected_samples=120))
    assert (len(listing.samples), listing.problems, listing.warnings) == (120, (), ())
    keys = {"speaker", "gender", "age", "country", "native_language", "health"}
    assert all(set(sample.metadata) == keys for sample in listing.samples)


def test_all_six_ids_are_known_without_the_class_list(release, task):
    root = release(*(f"f0001_0_{label}" for label in IDS))
    assert {sample.truth for sample in find_samples(task(root)).samples} == set(IDS)


def test_the_class_list_counts(release, write, task):
    root = release("f0001_0_cough", entries=[entry("f0001_0_cough", "/m/new")])
    write("class_labels_indices_vs.csv", content=b"index,mid,display_name\r\n0,/m/new,Cough\r\n")
    assert find_samples(task(root)).samples[0].truth == "cough"


def test_a_useless_class_list_is_an_error(release, write, task):
    root = release("f0001_0_cough")
    write("class_labels_indices_vs.csv", content=b"number,name\n0,Cough\n")
    with pytest.raises(DataError, match="not a class list"):
        find_samples(task(root))


def test_an_unknown_id_is_a_problem(release, task):
    listing = find_samples(task(release("f0001_0_cough", entries=[entry("f0001_0_cough", "/m/x")])))
    assert only_problem(listing).what == "no label: '/m/x' is not in class_labels_indices_vs.csv"


def test_id_and_name_must_agree(release, task):
    root = release("f0001_0_cough", entries=[entry("f0001_0_cough", IDS["sneeze"])])
    problem = only_problem(find_samples(task(root)))
    assert problem.name == "audio_16k/f0001_0_cough.wav"
    assert problem.what == ("labels disagree: datafiles/te.json says 'sneeze', the name 'cough'")


def test_a_name_outside_the_pattern_is_a_problem(release, task):
    root = release("clip", entries=[entry("clip", IDS["sneeze"])])
    assert only_problem(find_samples(task(root))).what.startswith("no label: its name")


def test_missing_files_are_problems(release, task):
    root = release("f0001_0_cough", entries=[entry("f0001_0_cough"), entry("f0001_0_sigh")])
    listing = find_samples(task(root))
    assert len(listing.samples) == 1
    assert only_problem(listing).name == "f0001_0_sigh.wav"
    assert only_problem(listing).what == "missing: datafiles/te.json names it"


def test_another_audio_ending_will_do(release, write, task):
    root = release(entries=[entry("f0001_0_cough"), entry("f0001_0_sigh")])
    write("audio_16k/f0001_0_cough.flac", "audio_16k/f0001_0_sigh.mp3")
    assert find_samples(task(root)).problems == ()


def test_the_very_name_comes_before_another_ending(release, write, task):
    root = release("f0001_0_cough")
    write("audio_16k/f0001_0_cough.flac")
    assert find_samples(task(root)).samples[0].audio[0].path.endswith(".wav")


def test_two_other_endings_are_a_problem(release, write, task):
    root = release(entries=[entry("f0001_0_cough")])
    write("audio_16k/f0001_0_cough.flac", "audio_16k/f0001_0_cough.mp3")
    assert only_problem(find_samples(task(root))).what == (
        "duplicate: audio_16k/f0001_0_cough.flac and audio_16k/f0001_0_cough.mp3"
    )


def test_an_entry_twice_is_a_problem(release, task):
    root = release("f0001_0_cough", entries=[entry("f0001_0_cough")] * 2)
    listing = find_samples(task(root))
    assert len(listing.samples) == 1
    assert only_problem(listing).what.startswith("duplicate: ")


def test_malformed_entries_are_problems(release, task):
    bad = ["f0001_0_cough", {"wav": "x.wav"}, {"wav": 3, "labels": "/m/x"}, {"labels": "/m/x"}]
    root = release("f0001_0_cough", entries=[*bad, entry("f0001_0_cough")])
    listing = find_samples(task(root))
    assert len(listing.samples) == 1
    assert [problem.name for problem in listing.problems] == [
        f"datafiles/te.json entry {number}" for number in (1, 2, 3, 4)
    ]


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"data": {}}', b"3", b"\xff"])
def test_an_unusable_split_is_an_error(release, write, task, content):
    root = release("f0001_0_cough")
    write("datafiles/te.json", content=content)
    with pytest.raises(DataError, match=r"te\.json: "):
        find_samples(task(root))


def test_16k_is_taken_where_both_are_there(release, write, task):
    root = release("f0001_0_cough", folder="audio_44k")
    write("audio_16k/f0001_0_cough.wav")
    listing = find_samples(task(root))
    assert listing.samples[0].audio[0].name == "audio_16k/f0001_0_cough.wav"
    assert listing.warnings == ("clips are taken from audio_16k/, not audio_44k",)


def test_windows_paths_in_the_split(release, task):
    row = {"wav": "C:\\vs\\audio_16k\\f0001_0_cough.wav", "labels": IDS["cough"]}
    assert len(find_samples(task(release("f0001_0_cough", entries=[row]))).samples) == 1


def test_the_audio_folder_of_a_release_is_taken_whole_with_a_warning(release, write, task):
    root = release("f0001_0_cough", "m0002_0_sigh", entries=[entry("f0001_0_cough")])
    write("meta/te_meta.json", content=b'[["f0001", "female", "31", "x", "y", "no"]]')
    listing = find_samples(task(root / "audio_16k"))
    assert len(listing.samples) == 2
    assert f"set local_dataset_path to {root}" in listing.warnings[0]
    assert listing.samples[0].metadata["age"] == "31"


class TestMeta:
    ROW = ("female", "31", "Kenya", "Swahili", "no")
    KEYS = ("gender", "age", "country", "native_language", "health")

    @pytest.mark.parametrize(
        "content",
        [
            [["f0001", *ROW], ["f0404", *ROW]],
            {"f0001": list(ROW)},
            {"f0001": ["f0001", *ROW]},
            {"data": [["f0001", *ROW]]},
            {"data": {"f0001": list(ROW)}},
            [
                {
                    "spk_id": "f0001",
                    "Gender": "F",
                    "age": 31.0,
                    "country": "Kenya",
                    "native language": "Swahili",
                    "health condition": "no",
                }
            ],
            {
                "f0001": {
                    "gender": "Female",
                    "age": 31,
                    "country": "Kenya",
                    "native_language": "Swahili",
                    "health": "no",
                    "more": [1],
                }
            },
        ],
    )
    @pytest.mark.parametrize("name", ["te_meta.json", "all_meta.json", "other_meta.json"])
    def test_forms(self, release, write, task, content, name):
        root = release("f0001_0_cough")
        write(f"meta/{name}", content=json.dumps(content).encode())
        listing = find_samples(task(root))
        known = dict(zip(self.KEYS, self.ROW, strict=True))
        assert listing.samples[0].metadata == {"speaker": "f0001", **known}
        assert listing.warnings == ()

    def test_another_gender_is_a_warning_and_the_name_counts(self, release, write, task):
        root = release("m0001_0_cough", "m0001_0_sigh")
        write("meta/te_meta.json", content=json.dumps([["m0001", *self.ROW]]).encode())
        listing = find_samples(task(root))
        assert listing.samples[0].metadata["gender"] == "male"
        assert listing.warnings == (
            "meta/ contradicts the gender in the file names of 1 speakers (m0001); "
            "the file names count",
        )

    @pytest.mark.parametrize("content", [b"{", b"\xff", b"[[1, 2]]", b"3", b'[{"age": 3}]'])
    def test_what_cannot_be_used_is_a_warning(self, release, write, task, content):
        root = release("f0001_0_cough")
        write("meta/te_meta.json", content=content)
        listing = find_samples(task(root))
        assert listing.samples[0].metadata == {"speaker": "f0001", "gender": "female"}
        assert listing.warnings[0].startswith("meta/te_meta.json: ")

    def test_unknown_values_are_left_out(self, release, write, task):
        root = release("f0001_0_cough")
        write("meta/te_meta.json", content=b'[{"id": "f0001", "age": null, "country": ""}]')
        assert "age" not in find_samples(task(root)).samples[0].metadata


@pytest.mark.parametrize(
    "split",
    [
        '{"data": [ENTRY], "data": []}',
        '{"data": [{"wav": "a.wav", "wav": "b.wav", "labels": "/m/01b_21"}]}',
        '{"data": [ENTRY], "x": NaN}',
        '{"data": [ENTRY], "x": -Infinity}',
        '{"data": [ENTRY], "x": 1' + "0" * 5000 + "}",
        "[" * 200_000,
    ],
    ids=lambda split: split[:40],
)
def test_json_that_can_be_read_in_two_ways_is_refused(release, task, write, split):
    root = release("f0001_0_cough")
    text = split.replace("ENTRY", json.dumps(entry("f0001_0_cough")))
    write("datafiles/te.json", content=text.encode())
    with pytest.raises(DataError, match=r"te\.json: not readable as JSON"):
        find_samples(task(root))
