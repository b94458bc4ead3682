"""Tokens of Chinese text, emoji and broken bytes, one at a time, against decoding all at once."""

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from modeltest.backends.transformers.fast import Limits
from modeltest.backends.transformers.text_stream import BatchText, ReplyText

TEXTS = [
    "C: Cough",
    "说话者在咳嗽，然后笑了。",
    "笑声😂，喷嚏🤧！👩‍🔬 一家人👨‍👩‍👧‍👦",
    "naïve café – Ω≈ç√∫˜µ≤≥÷",
    "第一段音频：你好吗？\nSecond: fine\t✓",
    "�a real replacement character�",
    "",
]
END = "<|im_end|>"


@pytest.fixture(scope="module")
def tiny(tiny_model):
    """A token for each byte and few more: no character outside ASCII is one token."""
    return AutoTokenizer.from_pretrained(tiny_model, local_files_only=True)


@pytest.fixture(scope="module")
def merged():
    """A byte-level vocabulary with tokens that begin or end in the middle of characters."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=[END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(["".join(chr(0x4E00 + i) for i in range(3000)), *TEXTS], trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END)


@pytest.fixture(params=["tiny", "merged"])
def tokenizer(request):
    return request.getfixturevalue(request.param)


def pieces_of(tokenizer, tokens):
    reply = ReplyText(tokenizer)
    return [*(reply.take(token) for token in tokens), reply.rest()]


def whole(tokenizer, tokens):
    return tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False)


def single_bytes(tokenizer, text):
    """A token for each byte of the text."""
    split = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    [(letters, _)] = split.pre_tokenize_str(text)
    return tokenizer.convert_tokens_to_ids(list(letters))


def is_part_of_a_character(tokenizer, token):
    return "�" in whole(tokenizer, [token])


def test_the_vocabularies_are_as_hard_as_they_should_be(tiny, merged):
    assert all(is_part_of_a_character(tiny, token) for token in tiny("咳嗽😂").input_ids)
    beginnings = [
        t for t in range(len(merged))
        if len(merged.convert_ids_to_tokens(t)) > 1 and is_part_of_a_character(merged, t)
    ]  # fmt: skip
    assert len(beginnings) > 20


@pytest.mark.parametrize("text", TEXTS)
def test_the_pieces_are_the_text(tokenizer, text):
    tokens = tokenizer(text)["input_ids"]
    assert "".join(pieces_of(tokenizer, tokens)) == text
    if text:
        assert "".join(pieces_of(tokenizer, single_bytes(tokenizer, text))) == text
    assert "".join(pieces_of(tokenizer, [*tokens, tokenizer.eos_token_id])) == text


def test_a_character_comes_whole_and_at_once(tiny):
    tokens = single_bytes(tiny, "a咳😂")
    assert pieces_of(tiny, tokens) == ["a", "", "", "咳", "", "", "", "😂", ""]


def test_a_special_token_between_the_bytes_of_a_character_changes_nothing(tiny):
    first, *others = single_bytes(tiny, "咳")
    assert pieces_of(tiny, [first, tiny.eos_token_id, *others]) == ["", "", "", "咳", ""]


@pytest.mark.parametrize("name", ["tiny", "merged"])
@given(chosen=st.lists(st.integers(0, 10**6), max_size=40))
@example(chosen=[])
@settings(max_examples=200, deadline=None)
def test_any_tokens_are_told_as_they_decode_in_the_end(name, chosen, request_tokenizer):
    tokenizer = request_tokenizer[name]
    tokens = [number % len(tokenizer) for number in chosen]
    shown, text = "", whole(tokenizer, tokens)
    for piece in pieces_of(tokenizer, tokens):
        shown += piece
        assert text.startswith(shown)
    assert shown == text


@pytest.fixture(scope="module")
def request_tokenizer(tiny, merged):
    return {"tiny": tiny, "merged": merged}


def tell(tokenizer, limits, steps, broken=()):
    """The pieces of each row of a batch whose steps are given."""
    told = [[] for _ in steps[0]]
    stream = BatchText(tokenizer, limits, lambda row, piece: told[row].append(piece))
    for step in steps:
        bad = torch.tensor([row in broken for row in range(len(step))])
        stream.step(torch.tensor(step), bad)
    return told


def test_rows_end_by_themselves_and_the_others_go_on(tiny):
    end = tiny.eos_token_id
    a, b = (tiny(letter)["input_ids"][0] for letter in "ab")
    told = tell(tiny, Limits(4, (end,)), [[a, a], [end, b], [b, a], [b, end]])
    assert told == [["a"], ["a", "b", "a"]]


def test_what_is_held_back_is_told_when_a_reply_ends(tiny):
    end = tiny.eos_token_id
    a, first, *_ = single_bytes(tiny, "a咳")
    told = tell(tiny, Limits(2, (end,)), [[a, first, first], [first, end, a]])
    assert told == [["a", "�"], ["�"], ["�a"]]


def test_a_reply_that_is_enough_is_told_no_further(tiny):
    tokens = tiny("abc")["input_ids"]
    limits = Limits(9, (), lambda row: len(row) == 2)
    assert tell(tiny, limits, [[token] for token in tokens]) == [["a", "b"]]


def test_rows_that_are_not_finite_are_silent(tiny):
    [a] = tiny("a")["input_ids"]
    assert tell(tiny, Limits(3), [[a, a], [a, a]], broken={1}) == [["a", "a"], []]
