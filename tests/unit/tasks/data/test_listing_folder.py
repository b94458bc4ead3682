"""Flat and nested folders of clips, labelled by name, folder or table."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from modeltest.errors import DataError
from modeltest.tasks.data import Problem, find_samples

BY_FOLDER = {"source": "folder", "rename": {"label": {"haha": "laughter"}}}
BY_TABLE = {"source": "table", "rename": {"label": {"1": "sigh"}, "gender": {"f": "female"}}}


def ids(listing):
    return [sample.sample_id for sample in listing.samples]


def truths(listing):
    return {sample.sample_id: sample.truth for sample in listing.samples}


class TestByFileName:
    def test_flat(self, write, task):
        root = write("m0002_0_throatclearing.flac", "f0001_1_sigh.flac", "f0001_0_cough.flac")
        listing = find_samples(task(root))
        assert ids(listing) == ["f0001_0_cough", "f0001_1_sigh", "m0002_0_throatclearing"]
        assert [sample.truth for sample in listing.samples] == ["cough", "sigh", "throatclearing"]
        assert listing.samples[0].metadata == {"speaker": "f0001", "gender": "female"}
        assert listing.samples[2].metadata == {"speaker": "m0002", "gender": "male"}
        assert listing.samples[0].audio[0].path == str(root / "f0001_0_cough.flac")
        assert (listing.layout, listing.problems, listing.warnings) == ("folder", (), ())

    def test_nested_has_the_ids_of_flat(self, write, task):
        root = write("subset2/f0001_0_cough.flac", "subset1/deep/f0001_0_sigh.flac")
        listing = find_samples(task(root))
        assert ids(listing) == ["f0001_0_cough", "f0001_0_sigh"]
        assert listing.samples[1].audio[0].name == "subset1/deep/f0001_0_sigh.flac"

    def test_dots_and_underscores_in_folder_names_do_not_matter(self, write, task, tmp_path):
        (tmp_path / "v1.0_x").mkdir()
        root = write("sub.set_sigh/f0001_0_cough.flac", root=tmp_path / "v1.0_x" / "a.b")
        assert truths(find_samples(task(root))) == {"f0001_0_cough": "cough"}

    def test_spaces_and_other_alphabets_in_the_path(self, write, task, tmp_path):
        root = write("Aufnahmen für 录音/f0001_0_cough.flac", root=tmp_path / "mein Ordner ü")
        listing = find_samples(task(root))
        assert listing.samples[0].audio[0].name == "Aufnahmen für 录音/f0001_0_cough.flac"
        assert Path(listing.samples[0].audio[0].path).is_file()

    def test_every_audio_ending_counts_in_any_case(self, write, task):
        endings = ["wav", "flac", "mp3", "ogg", "oga", "opus", "aiff", "aif", "au", "WAV"]
        root = write(*(f"f{n:04d}_0_cough.{ending}" for n, ending in enumerate(endings)))
        assert len(find_samples(task(root)).samples) == len(endings)

    def test_other_files_are_passed_over_and_counted(self, write, task):
        root = write("f0001_0_cough.flac", "README.md", "a/notes.MD", "labels.csv", "LICENSE")
        listing = find_samples(task(root))
        assert listing.passed_over == {"(no ending)": 1, ".csv": 1, ".md": 2}
        assert listing.problems == ()

    def test_audio_that_cannot_be_read_is_warned_of(self, write, task):
        listing = find_samples(task(write("f0001_0_cough.flac", "f0001_0_sigh.m4a")))
        assert listing.warnings == ("1 .m4a files are passed over: convert them to FLAC or WAV",)

    def test_hidden_files_and_folders_are_skipped(self, write, task):
        root = write("f0001_0_cough.flac", "._f0001_0_cough.flac", ".cache/f0001_0_cough.flac")
        listing = find_samples(task(root))
        assert (len(listing.samples), listing.passed_over, listing.problems) == (1, {}, ())

    def test_unlabelled_clips_are_problems(self, write, task):
        root = write("f0001_0_cough.flac", "noise.flac", "f0001_0_yawn.flac")
        assert find_samples(task(root)).problems == (
            Problem(
                "f0001_0_yawn.flac",
                "no label: 'yawn' is none of laughter, sigh, cough, throatclearing, sneeze, sniff",
            ),
            Problem("noise.flac", "no label: its name does not match label.pattern"),
        )

    def test_labels_compare_without_case(self, write, task):
        label = {"source": "file_name", "pattern": "(?P<label>.+)"}
        root = write("Throat Clearing.flac", "SIGH.flac")
        assert set(truths(find_samples(task(root, label))).values()) == {"throatclearing", "sigh"}

    def test_groups_that_do_not_take_part_are_left_out(self, write, task):
        label = {"source": "file_name", "pattern": r"(?:(?P<room>\d+)-)?(?P<label>[a-z]+)"}
        listing = find_samples(task(write("7-sigh.flac", "sigh.flac"), label))
        assert [sample.metadata for sample in listing.samples] == [{"room": "7"}, {}]

    def test_the_same_stem_twice_is_a_problem_naming_both(self, write, task):
        root = write("a/f0001_0_cough.flac", "b/f0001_0_cough.flac", "b/f0001_0_cough.wav")
        listing = find_samples(task(root))
        assert ids(listing) == ["f0001_0_cough"]
        assert [problem.name for problem in listing.problems] == [
            "b/f0001_0_cough.flac",
            "b/f0001_0_cough.wav",
        ]
        assert listing.problems[0].what == (
            "duplicate: a/f0001_0_cough.flac is 'f0001_0_cough' too"
        )

    def test_order_does_not_depend_on_where_clips_lie(self, write, task):
        root = write("z/f0001_0_cough.flac", "a/f0002_0_cough.flac", "f0003_0_cough.flac")
        assert ids(find_samples(task(root))) == ["f0001_0_cough", "f0002_0_cough", "f0003_0_cough"]

    def test_hostile_names_stay_on_one_line(self, write, task):
        root = write("line\nbreak\x1b[31m.flac", os.fsdecode(b"\xff.flac"))
        names = sorted(problem.name for problem in find_samples(task(root)).problems)
        assert names == ["\\udcff.flac", "line\\nbreak\\x1b[31m.flac"]


class TestLinks:
    def test_loops_end(self, write, task):
        root = write("a/f0001_0_cough.flac")
        (root / "a" / "loop").symlink_to("..")
        (root / "again").symlink_to("a")
        listing = find_samples(task(root))
        assert [sample.audio[0].name for sample in listing.samples] == ["a/f0001_0_cough.flac"]
        assert listing.problems == ()

    def test_a_folder_elsewhere_is_followed(self, write, task, tmp_path):
        elsewhere = write("f0001_0_cough.flac", root=tmp_path / "elsewhere")
        root = write("f0002_0_cough.flac")
        (root / "linked").symlink_to(elsewhere)
        assert ids(find_samples(task(root))) == ["f0001_0_cough", "f0002_0_cough"]

    def test_a_folder_with_an_audio_ending_is_a_folder(self, write, task):
        assert ids(find_samples(task(write("x.wav/f0001_0_cough.flac")))) == ["f0001_0_cough"]

    def test_broken_links_and_fifos_are_left_to_the_audio_check(self, write, task):
        root = write("f0001_0_cough.flac")
        (root / "f0002_0_cough.flac").symlink_to("nowhere")
        os.mkfifo(root / "f0003_0_cough.flac")
        assert len(find_samples(task(root)).samples) == 3


class TestByFolder:
    def test_the_parent_folder_is_the_label(self, write, task):
        root = write("v1.0/Cough/0001.flac", "v1.0/haha/0001.flac", "Throat_clearing/1.flac")
        assert truths(find_samples(task(root, BY_FOLDER))) == {
            "Throat_clearing/1": "throatclearing",
            "v1.0/Cough/0001": "cough",
            "v1.0/haha/0001": "laughter",
        }

    def test_other_folders_and_loose_clips_are_problems(self, write, task):
        listing = find_samples(task(write("yawn/1.flac", "1.flac"), BY_FOLDER))
        assert [problem.name for problem in listing.problems] == ["1.flac", "yawn/1.flac"]
        assert all(problem.what.startswith("no label: ") for problem in listing.problems)


class TestByTable:
    @staticmethod
    def table(root, text):
        (root / "labels.csv").write_text(text, encoding="utf-8-sig")

    def test_rows_give_label_and_metadata(self, write, task):
        root = write("a/1.flac", "b/1.flac")
        self.table(root, 'audio,label,gender,note\na/1.flac,Cough,f,"x, y"\n./b/1.flac,1,,\n')
        listing = find_samples(task(root, BY_TABLE))
        assert truths(listing) == {"a/1": "cough", "b/1": "sigh"}
        assert listing.samples[0].metadata == {"gender": "female", "note": "x, y"}
        assert listing.samples[1].metadata == {}
        assert listing.passed_over == {".csv": 1}

    def test_everything_wrong_is_listed_at_once(self, write, task, tmp_path):
        root = write("1.flac", "2.flac", "3.flac")
        write("outside.flac", root=tmp_path)
        rows = ["1.flac,cough", "1.flac,sigh", "2.flac,yawn", "4.flac,sigh", "../outside.flac,sigh"]
        self.table(root, "audio,label\n" + "\n".join(rows) + "\n")
        listing = find_samples(task(root, BY_TABLE))
        assert truths(listing) == {"1": "cough"}
        assert {problem.name: problem.what.split(":")[0] for problem in listing.problems} == {
            "1.flac": "duplicate",
            "2.flac": "no label",
            "3.flac": "no label",
            "4.flac": "missing",
            "../outside.flac": "missing",
        }

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b"audio,class\n1.flac,cough\n", "lacks the column 'label'"),
            (b"", "lacks the column 'audio'"),
            (b"audio,label\n1.flac,\xff\n", "not readable as a table"),
            (b'audio,label\n"1.flac,cough\n', "not readable as a table"),
        ],
    )
    def test_unusable_tables(self, write, task, content, message):
        root = write("1.flac")
        (root / "labels.csv").write_bytes(content)
        with pytest.raises(DataError, match=message):
            find_samples(task(root, BY_TABLE))

    def test_no_table(self, write, task):
        with pytest.raises(DataError, match=r"labels\.csv: .*\(No such file or directory\)"):
            find_samples(task(write("1.flac"), BY_TABLE))

    def test_a_row_with_too_many_or_too_few_cells(self, write, task):
        root = write("1.flac", "2.flac")
        self.table(root, "audio,label\n1.flac,cough,extra\n2.flac\n")
        listing = find_samples(task(root, BY_TABLE))
        assert truths(listing) == {"1": "cough"}
        assert listing.problems[0].what.startswith("no label: ''")


class TestNoData:
    """One line that says what to do."""

    @staticmethod
    def refuse(settings, *parts):
        with pytest.raises(DataError) as caught:
            find_samples(settings)
        assert "\n" not in str(caught.value)
        assert all(part in str(caught.value) for part in parts)

    def test_unset(self, task):
        self.refuse(
            task(None),
            "local_dataset_path is not set",
            "config/task/",
            "--set task.local_dataset_path=",
            "vocalsound_mini",
        )

    def test_missing(self, task, tmp_path):
        self.refuse(task(tmp_path / "nowhere"), "nowhere: does not exist")

    def test_a_file(self, write, task):
        self.refuse(task(write("a.flac") / "a.flac"), "a.flac: is not a folder")

    def test_below_a_file(self, write, task):
        self.refuse(task(write("a.flac") / "a.flac" / "b"), "does not exist")

    def test_unreadable(self, write, task, monkeypatch):
        monkeypatch.setattr(os, "access", lambda path, mode: False)
        self.refuse(task(write("f0001_0_cough.flac")), "data: may not be read by this user")

    def test_empty(self, task, tmp_path):
        self.refuse(task(tmp_path), "is empty")

    def test_no_audio(self, write, task):
        self.refuse(task(write("README.md", "a.json")), "holds no audio file, only 1 .json, 1 .md")

    def test_parquet(self, write, task):
        self.refuse(task(write("data/test-0.parquet")), "save_to_disk")


class TestExpectedCount:
    def test_another_count_is_a_warning(self, write, task):
        listing = find_samples(task(write("f0001_0_cough.flac"), expected_samples=3591))
        assert listing.warnings == ("1 test clips, the official release has 3591",)

    def test_the_same_count_is_not(self, write, task):
        assert find_samples(task(write("f0001_0_cough.flac"), expected_samples=1)).warnings == ()


def test_a_meta_folder_beside_the_clips_is_used(write, task):
    root = write("f0001_0_cough.flac")
    write("meta/te_meta.json", content=b'{"f0001": {"age": 31}}')
    metadata = find_samples(task(root)).samples[0].metadata
    assert metadata == {"speaker": "f0001", "gender": "female", "age": "31"}


def test_importing_loads_no_library():
    code = (
        "import sys, modeltest.tasks.data.listing\n"
        "print([n for n in ('numpy', 'datasets', 'pandas', 'soundfile') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
