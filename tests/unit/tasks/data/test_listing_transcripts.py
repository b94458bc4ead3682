"""Clips with references: one table, and tables whose rows pair up."""

import csv
import os

import pytest

from modeltest.errors import DataError
from modeltest.settings.schema import TaskSettings
from modeltest.tasks.data import Problem, find_samples

FIRST, SECOND = "multi_audio_data/data_first.csv", "multi_audio_data/data_second.csv"


@pytest.fixture
def table(write):
    """Writes a CSV file below the data folder."""

    def _table(name, *rows):
        text = "".join(f"{row}\r\n" for row in rows)
        return write(name, content=text.encode())

    return _table


def pairs(root, **label):
    return TaskSettings(
        kind="transcription",
        local_dataset_path=root,
        prompt="What is said?",
        label={"source": "paired_tables", **label},
    )


def single(root, **label):
    return pairs(root, source="table", **label)


class TestPairs:
    def test_rows_pair_up_by_their_place(self, write, table):
        root = write("a.wav", "b.wav", "sub/c.flac", "d.mp3")
        table(FIRST, "audio,text,Speaker", "sub/c.flac,Hello there,Ross", "a.wav,No,Joey")
        table(SECOND, "text,audio", '"Yes, I do",b.wav', "Go,d.mp3")
        listing = find_samples(pairs(root))
        assert [sample.sample_id for sample in listing.samples] == ["pair-000001", "pair-000002"]
        assert [[clip.name for clip in sample.audio] for sample in listing.samples] == [
            ["sub/c.flac", "b.wav"],
            ["a.wav", "d.mp3"],
        ]
        assert [sample.truth for sample in listing.samples] == [
            "Hello there / Yes, I do",
            "No / Go",
        ]
        assert listing.samples[0].metadata == {"first_Speaker": "Ross"}
        assert (listing.problems, listing.warnings) == ((), ())

    def test_without_references_nothing_is_known_and_that_is_said(self, write, table):
        root = write("a.wav", "b.wav")
        table(FIRST, "audio", "a.wav")
        table(SECOND, "audio", "b.wav")
        listing = find_samples(pairs(root))
        assert listing.samples[0].truth == ""
        assert listing.warnings == (
            f"no column 'text' in {FIRST}, {SECOND}: what is said is not known, so there is no "
            "word error rate (label.reference_column)",
        )

    def test_the_references_column_is_a_setting(self, write, table):
        root = write("a.wav", "b.wav")
        table("1.csv", "audio,Utterance", "a.wav,one")
        table("2.csv", "audio,Utterance", "b.wav,two")
        settings = pairs(root, paired_tables=["1.csv", "2.csv"], reference_column="Utterance")
        assert find_samples(settings).samples[0].truth == "one / two"

    def test_the_same_clip_may_stand_in_several_pairs(self, write, table):
        root = write("a.wav", "b.wav")
        table(FIRST, "audio", "a.wav", "b.wav", "a.wav")
        table(SECOND, "audio", "b.wav", "b.wav", "b.wav")
        assert len(find_samples(pairs(root)).samples) == 3

    def test_a_full_path_into_the_folder_is_one_below_it(self, write, table):
        root = write("a.wav", "b.wav")
        table(FIRST, "audio", str(root / "a.wav"))
        table(SECOND, "audio", "./b.wav")
        assert [clip.name for clip in find_samples(pairs(root)).samples[0].audio] == [
            "a.wav",
            "b.wav",
        ]

    def test_clips_in_no_pair_are_passed_over_and_counted(self, write, table):
        root = write("a.wav", "b.wav", "c.wav", "d.wav")
        table(FIRST, "audio,text", "a.wav,x")
        table(SECOND, "audio,text", "b.wav,y")
        assert find_samples(pairs(root)).warnings == ("2 clips are in no pair and are passed over",)

    def test_another_number_of_rows_is_refused(self, write, table):
        root = write("a.wav")
        table(FIRST, "audio", "a.wav", "a.wav", "a.wav")
        table(SECOND, "audio", "a.wav")
        with pytest.raises(DataError) as caught:
            find_samples(pairs(root))
        assert str(caught.value) == (
            f"{root / SECOND}: has 1 rows, {FIRST} has 3: the rows pair up by their place, and "
            "row 3 has no partner"
        )

    @pytest.mark.parametrize(
        ("first", "second", "message"),
        [
            (["audio"], ["audio"], f"{FIRST}: has no rows"),
            (["audio", "a.wav"], ["path", "a.wav"], f"{SECOND}: lacks the column 'audio'"),
            (
                ["audio,text", "a.wav,x"],
                ["audio", "a.wav"],
                f"{SECOND}: lacks the column 'text', which {FIRST} has; all tables need it, or "
                "none",
            ),
            (["audio", "a.wav"], ['audio,"text'], f"{SECOND}: not readable as a table"),
        ],
    )
    def test_tables_that_do_not_do(self, write, table, first, second, message):
        root = write("a.wav")
        table(FIRST, *first)
        table(SECOND, *second)
        with pytest.raises(DataError, match=message.replace("(", r"\(")):
            find_samples(pairs(root))

    def test_a_missing_table_is_named(self, write):
        root = write("a.wav")
        with pytest.raises(DataError, match=r"data_first\.csv.*No such file"):
            find_samples(pairs(root))

    def test_a_fifo_in_place_of_a_table_does_not_block(self, write, table):
        root = write("a.wav")
        table(FIRST, "audio", "a.wav")
        os.mkfifo(root / SECOND)
        with pytest.raises(DataError, match="not a regular file"):
            find_samples(pairs(root))

    @pytest.mark.parametrize(
        ("clip", "problem"),
        [
            ("b.wav", Problem("b.wav", f"missing: row 2 of {SECOND} names it")),
            ("../a.wav", Problem("../a.wav", f"missing: row 2 of {SECOND} names it")),
            ("sub/../a.wav", Problem("sub/../a.wav", f"missing: row 2 of {SECOND} names it")),
            ("/etc/a.wav", Problem("/etc/a.wav", f"missing: row 2 of {SECOND} names it")),
            ("notes.txt", Problem("notes.txt", f"missing: row 2 of {SECOND} names it")),
            ("", Problem(f"row 2 of {SECOND}", "missing: nothing in the column 'audio'")),
        ],
    )
    def test_a_path_that_leads_to_no_clip_below_the_folder(self, write, table, clip, problem):
        root = write("a.wav", "notes.txt")
        write("a.wav", root=root.parent)  # what `..` would reach
        table(FIRST, "audio,text", "a.wav,x")
        table(SECOND, "audio,text", f"{clip},x")
        listing = find_samples(pairs(root))
        assert (len(listing.samples), listing.problems) == (0, (problem,))

    @pytest.mark.parametrize("reference", ["", "  ", "...", "— !"])
    def test_a_row_without_words_to_compare_with(self, write, table, reference):
        root = write("a.wav", "b.wav")
        table(FIRST, "audio,text", "a.wav,x")
        table(SECOND, "audio,text", f"b.wav,{reference}")
        assert find_samples(pairs(root)).problems == (
            Problem("b.wav", f"no reference: row 2 of {SECOND} has no words for it"),
        )

    def test_control_characters_of_a_row_forge_no_line(self, write, table):
        root = write("a.wav")
        table(FIRST, "audio", "a.wav")
        table(SECOND, "audio", '"x\n\x1b[2Jb.wav"')
        [problem] = find_samples(pairs(root)).problems
        assert problem.name == r"x\n\x1b[2Jb.wav"


class TestOneTable:
    def test_one_clip_per_row(self, write, table):
        root = write("deep/a.wav", "b.wav")
        table("labels.csv", "audio,text,speaker", "deep/a.wav,Hello,f1", "b.wav,Good bye,m2")
        listing = find_samples(single(root))
        assert [(s.sample_id, s.truth, s.metadata) for s in listing.samples] == [
            ("b", "Good bye", {"speaker": "m2"}),
            ("deep/a", "Hello", {"speaker": "f1"}),
        ]

    def test_a_clip_without_a_row_and_one_with_two(self, write, table):
        root = write("a.wav", "b.wav")
        table("labels.csv", "audio,text", "a.wav,x", "a.wav,y")
        assert find_samples(single(root)).problems == (
            Problem("a.wav", "duplicate: row 2 of labels.csv and row 3 of labels.csv"),
            Problem("b.wav", "no reference: labels.csv does not name it"),
        )

    def test_a_thousand_references_survive_as_they_are(self, write, tmp_path):
        texts = [f'He said "{number}", twice\nor so' for number in range(1000)]
        root = write(*(f"{number:04d}.wav" for number in range(1000)))
        with (root / "labels.csv").open("w", newline="", encoding="utf-8") as file:
            rows = csv.writer(file)
            rows.writerow(["audio", "text"])
            rows.writerows([f"{number:04d}.wav", text] for number, text in enumerate(texts))
        found = [sample.truth for sample in find_samples(single(root)).samples]
        assert found == [text.replace("\n", " ") for text in texts]
