"""One answer, one text, repetition, nothing: what counts as a collapse, and what does not."""

import time

import pytest

from modeltest.reports.collapse import Replies, is_looping

LABELS = ("laughter", "cough", "sneeze")


def record(text, answer=None, truth="cough"):
    return {"truth": truth, "response": {"text": text}, "score": {"answer": answer}}


def problems(records, labels=LABELS):
    replies = Replies(labels)
    for each in records:
        replies.add(each)
    return list(replies.problems())


def answers(**counts):
    """As many answers of each label as given; of the truths a third is of each label."""
    given = [label for label, count in counts.items() for _ in range(count)]
    return [
        record(f"{label} {number}", label, LABELS[number % 3]) for number, label in enumerate(given)
    ]


def test_one_text_for_all_is_told_with_the_text():
    same = [record("A: Laughter", "laughter", LABELS[i % 3]) for i in range(12)]
    assert problems(same) == ["all 12 replies are the same: 'A: Laughter'"]
    assert problems([*same, record("B", "cough")]) == [
        "the replies collapsed: laughter is 12 of 13 answers, and 31% of the truths"
    ]


def test_a_hostile_text_is_shown_on_one_line_and_short():
    text = "\x1b[31m\n" + " ".join(map(str, range(100)))
    [told] = problems([record(text, None, LABELS[i % 3]) for i in range(12)])
    assert told.isprintable()
    assert len(told) < 90


def test_one_text_is_right_where_all_truths_are_one():
    assert problems([record("B", "cough", "cough")] * 12) == []
    # 7 of 12 truths are one class.
    mostly = [record("B", "cough", "cough" if i < 7 else "sneeze") for i in range(12)]
    assert problems(mostly) == []


def test_eleven_are_too_few():
    assert problems([record("A", "laughter", LABELS[i % 3]) for i in range(11)]) == []


@pytest.mark.parametrize(
    ("counts", "told"),
    [
        # A third of the truths is laughter: the others are less than a quarter of two thirds
        # where laughter is over 5/6 of the answers.
        ({"laughter": 51, "cough": 9}, "laughter is 51 of 60 answers, and 33% of the truths"),
        ({"laughter": 50, "cough": 10}, ""),
        ({"laughter": 40, "cough": 10, "sneeze": 10}, ""),
        ({"laughter": 20, "cough": 20, "sneeze": 20}, ""),
    ],
)
def test_a_class_that_swallows_the_others(counts, told):
    expected = [f"the replies collapsed: {told}"] if told else []
    assert problems(answers(**counts)) == expected


def test_of_six_classes_more_than_four_fifths_are_too_many():
    labels = [f"class {number}" for number in range(6)]

    def run(num_first):
        given = [labels[0] if i < num_first else labels[1] for i in range(120)]
        return [record(f"{a} {i}", a, labels[i % 6]) for i, a in enumerate(given)]

    assert problems(run(96), labels) == []
    assert problems(run(97), labels) == [
        "the replies collapsed: class 0 is 97 of 120 answers, and 17% of the truths"
    ]


def test_answers_without_a_known_truth_are_compared_with_nothing():
    unknown = [record(f"A {i}", "laughter", "") for i in range(20)]
    assert problems(unknown) == []


@pytest.mark.parametrize(
    "text", ["the " * 20, "!!!!", "A: Laughter " * 7, "\ufffd\ufffd\ufffd\ufffd"]
)
def test_repetition_is_told_when_it_is_more_than_a_tenth(text):
    def run(num_bad):
        good = [record(f"B {i}", LABELS[i % 3], LABELS[i % 3]) for i in range(30 - num_bad)]
        return [*good, *(record(text, None) for _ in range(num_bad))]

    assert problems(run(3)) == []
    assert problems(run(4)) == ["4 of 30 replies repeat one piece of text"]


def test_empty_replies_are_told_when_they_are_more_than_a_tenth():
    good = [record(f"B {i}", LABELS[i % 3], LABELS[i % 3]) for i in range(9)]
    assert problems([*good, *[record(" \n")] * 3]) == ["3 of 12 replies are empty"]
    assert problems([*good, *[record("")] * 2, record("C", "sneeze")]) == []


def test_nothing_may_be_what_an_unknown_clip_says():
    empty = [record("", None, "")] * 12
    assert problems([*empty, *(record(f"word {i}", f"word {i}", "") for i in range(12))], ()) == []
    known = [record("", None, f"words {i}") for i in range(12)]
    assert problems(known, ()) == ["all 12 replies are the same: ''", "12 of 12 replies are empty"]


def test_a_transcript_may_repeat_what_is_repeated():
    laughs = [record("ha " * 30, "ha", "ha " * 30)] * 12
    assert problems(laughs, ()) == []


@pytest.mark.parametrize(
    "text",
    [
        "the the the the the the",
        "I hear a cough. " * 5 + "I hear",
        "Here it is: " + "and so on " * 30,
        "!!!!!!!!!!!!!!!!",
        "这是咳嗽这是咳嗽这是咳嗽这是咳嗽这是咳嗽这是咳嗽",
        "啊" * 40,
        "0" * 64,
        "\u0301" * 8,
    ],
)
def test_loops(text):
    assert is_looping(text)


@pytest.mark.parametrize(
    "text",
    [
        "", "C", "C: Cough", "C.", "...", "D: Throat clearing", "haha", "hahahahaha",
        "哈哈哈哈哈哈",
        "ha ha ha ha ha ha", "No, no, no, no, no!", "咳嗽", "这是一个人在打喷嚏的声音。",
        "The sound is a cough, followed by another cough and a third cough.",
        "0800 000 000", "Mississippi", "bye bye", "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16",
        "la la la la la la la la, she sang, and then she laughed and went away to the sea",
    ],
)  # fmt: skip
def test_legitimate_replies(text):
    assert not is_looping(text)


def test_a_long_reply_is_looked_at_in_no_time():
    hostile = ["ab" * 50_000 + "c" * 40, "a" * 499 + "b" + "a" * 500, "x" * 100_000 + "y" * 81]
    begin_s = time.perf_counter()
    for text in hostile:
        is_looping(text)
    assert time.perf_counter() - begin_s < 0.5
