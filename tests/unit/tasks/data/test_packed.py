import pytest

from modeltest.records import AudioFacts, AudioSource, Sample
from modeltest.tasks.data.found import without_duplicates
from modeltest.tasks.data.packed import pack_facts, pack_samples

SAMPLES = [
    Sample("b", (AudioSource("x/b.wav", "/data/x/b.wav"),), "cough", {"gender": "female"}),
    Sample("a ü", (AudioSource("a\\udcff", "/data/\udcff\n.wav"),), "sigh"),
    Sample("c", (AudioSource("row", read=lambda: b"c"), AudioSource("two", "2")), "cough"),
    Sample("d", (AudioSource("row", read=lambda: b"d"),), "sneeze"),
]


def test_samples_come_back_as_they_were():
    packed = pack_samples(iter(SAMPLES))
    assert list(packed) == SAMPLES
    assert [packed[number] for number in (0, 3, -1)] == [SAMPLES[0], SAMPLES[3], SAMPLES[3]]
    assert len(packed) == 4
    with pytest.raises(IndexError):
        packed[4]


def test_slices_and_orders_share_what_is_packed():
    packed = pack_samples(SAMPLES)
    assert list(packed[:2]) == SAMPLES[:2]
    assert list(packed[1:][::-1]) == SAMPLES[:0:-1]
    turned = packed.ordered([3, 0])
    assert [sample.sample_id for sample in turned] == ["d", "b"]
    assert turned[:1][0].audio[0].read() == b"d"
    assert len(packed[9:]) == 0


def test_facts_come_back_as_they_were():
    facts = [
        (AudioFacts("ab" * 32, 1 << 33, 0.1 + 0.2, 16_000, 1, "WAV/PCM_16"),),
        (),
        (AudioFacts("", 0, 0.0, 1, 1, ""), AudioFacts("x", 1, 1e-9, 2, 8, "OGG/OPUS")),
    ]
    assert list(pack_facts(facts)) == facts


def test_samples_are_sorted_by_id_and_then_by_clip():
    def sample(sample_id, name):
        return Sample(sample_id, (AudioSource(name, name),), "cough")

    given = [sample("ab", "1"), sample("a", "9"), sample("a b", "3"), sample("a", "2")]
    kept, problems = without_duplicates(given)
    assert [(one.sample_id, one.audio[0].name) for one in kept] == [
        ("a", "2"), ("a b", "3"), ("ab", "1"),
    ]  # fmt: skip
    assert [(problem.name, problem.what) for problem in problems] == [
        ("9", "duplicate: 2 is 'a' too")
    ]
