"""Work of the 7B model against the figures known for it, and the rules of padding."""

from types import SimpleNamespace

import pytest

from modeltest.backends.transformers.work import BatchShape, batch_work
from modeltest.records import StageWork

# Qwen2-Audio-7B's config.json; Qwen2Config of older transformers has no head_dim.
SEVEN_B = SimpleNamespace(
    audio_config=SimpleNamespace(
        d_model=1280,
        encoder_layers=32,
        encoder_ffn_dim=5120,
        encoder_attention_heads=20,
        num_mel_bins=128,
        max_source_positions=1500,
    ),
    text_config=SimpleNamespace(
        hidden_size=4096,
        num_hidden_layers=32,
        num_attention_heads=32,
        num_key_value_heads=32,
        intermediate_size=11008,
        vocab_size=156032,
    ),
)
TEXT = 60
# The known figures run every position through the whole last layer, of which only one matters:
# per position 2(4096² + 3·4096·11008) behind its attention.
BEHIND_LAST_ATTENTION = 304_087_040
# 2 and 30 s: 50 and 750 audio tokens.
SHORT, LONG = 200, 3000


def work_of(frames, output_tokens, fast=True, text_tokens=None, config=SEVEN_B):
    shape = BatchShape([[f] for f in frames], text_tokens or [TEXT] * len(frames), output_tokens)
    return batch_work(config, shape, 2, fast)


@pytest.mark.parametrize("frames", [SHORT, 501, 1000, LONG])
def test_the_encoder_costs_what_is_known_of_the_7b_model(frames):
    positions = (frames - 1) // 2 + 1
    known = 1.258e9 * positions + 163_840 * positions**2
    known += 11.8e6 * positions + 10.5e6 * (positions // 2)
    assert work_of([frames], [1])["encoder"].useful_flops == pytest.approx(known, rel=1e-3)


# TFLOP with 60 text tokens: encoder stock and trimmed, language model with all and last logits.
@pytest.mark.parametrize(
    ("frames", "known"),
    [
        (SHORT, (2.28, 0.13, 1.57, 1.43)),
        (500, (2.28, 0.33, 2.64, 2.41)),
        (1000, (2.28, 0.68, 4.44, 4.04)),
        (LONG, (2.28, 2.28, 11.70, 10.66)),
    ],
)
def test_stock_and_fast_cost_what_is_known_of_the_7b_model(frames, known):
    stock, fast = work_of([frames], [1], fast=False), work_of([frames], [1])
    last = fast["prefill"].useful_flops + BEHIND_LAST_ATTENTION * (TEXT + frames // 4 - 1)
    # The known figures count the causal half; all logits are those of every position.
    every = last + 1.278e9 * (TEXT + frames // 4 - 1)
    found = (stock["encoder"].executed_flops, fast["encoder"].useful_flops, every, last)
    assert [value / 1e12 for value in found] == pytest.approx(known, rel=0.01, abs=0.005)


@pytest.mark.parametrize("frames", [SHORT, LONG])
def test_the_prefill_costs_what_is_known_of_the_7b_model(frames):
    positions = TEXT + frames // 4
    known = 12.952e9 * positions + 262_144 * positions**2 + 1.278e9
    known -= BEHIND_LAST_ATTENTION * (positions - 1)
    assert work_of([frames], [1])["prefill"].useful_flops == pytest.approx(known, rel=1e-3)


@pytest.mark.parametrize("num_rows", [1, 16])
def test_a_decode_step_costs_what_is_known_of_the_7b_model(num_rows):
    decode = work_of([LONG] * num_rows, [2] * num_rows)["decode"]
    attended = TEXT + 750 + 1
    assert decode.num_bytes == pytest.approx(14.2315e9 + num_rows * attended * 524_288, rel=1e-5)
    known = num_rows * (14.23e9 + 524_288 * attended)
    assert decode.useful_flops == decode.executed_flops == pytest.approx(known, rel=1e-3)


# Tokens per second that 3.35 TB/s allows at 810 positions, by batch size.
@pytest.mark.parametrize(
    ("num_rows", "rate"), [(1, 229), (2, 444), (4, 841), (8, 1520), (16, 2549)]
)
def test_the_bytes_of_a_step_give_the_known_floor(num_rows, rate):
    num_bytes = work_of([LONG] * num_rows, [2] * num_rows)["decode"].num_bytes
    assert num_rows * 3.35e12 / num_bytes == pytest.approx(rate, abs=1)


def test_bytes_are_those_of_the_7b_models_weights():
    work = work_of([SHORT], [1], fast=False)
    # Parameters counted on torch's meta device: encoder, projector; body without embedding, head.
    assert work["encoder"].num_bytes == 2 * (636_968_960 + 5_246_976)
    assert work["prefill"].num_bytes == 2 * (7_115_771_904 - 639_107_072 + 639_107_072)


def test_all_steps_together_are_the_sum_of_the_single_ones():
    whole = work_of([SHORT], [6])["decode"]
    steps = [work_of([SHORT], [2], text_tokens=[TEXT + step])["decode"] for step in range(5)]
    for figure in ("useful_flops", "executed_flops", "num_bytes"):
        assert getattr(whole, figure) == sum(getattr(step, figure) for step in steps)


def test_without_a_second_token_there_is_no_decoding():
    assert work_of([SHORT], [1])["decode"] == StageWork(0.0, 0.0, 0.0)


@pytest.mark.parametrize("fast", [False, True])
def test_useful_work_is_that_of_the_requests_alone(fast):
    together = work_of([SHORT, LONG], [3, 9], fast)
    singly = [work_of([SHORT], [3], fast), work_of([LONG], [9], fast)]
    for stage, figures in together.items():
        assert figures.useful_flops == sum(one[stage].useful_flops for one in singly)


def test_executed_work_is_that_of_the_longest_for_every_row():
    mixed, long = work_of([SHORT, LONG], [3, 9]), work_of([LONG, LONG], [9, 9])
    for stage in ("prefill", "decode"):
        assert mixed[stage].executed_flops == long[stage].executed_flops
    # The fast engine projects the real audio tokens only.
    projected = 2 * 1280 * 4096 * (750 - 50)
    assert mixed["encoder"].executed_flops == long["encoder"].executed_flops - projected


def test_only_real_positions_must_be_read():
    mixed, long = work_of([SHORT, LONG], [9, 9]), work_of([LONG, LONG], [9, 9])
    saved = 8 * (750 - 50) * 524_288
    assert mixed["decode"].num_bytes == long["decode"].num_bytes - saved


def test_several_clips_of_one_request_share_its_prompt():
    shape = BatchShape([[SHORT, LONG]], [TEXT], [2])
    assert shape.prompt_positions == [TEXT + 50 + 750]
    two = batch_work(SEVEN_B, shape, 2, fast=False)["encoder"].executed_flops
    assert two == 2 * work_of([LONG], [2], fast=False)["encoder"].executed_flops


def test_a_request_without_a_clip_needs_no_encoder():
    work = batch_work(SEVEN_B, BatchShape([[]], [TEXT], [2]), 2, fast=True)
    assert work["encoder"] == StageWork(0.0, 0.0, 0.0)
    assert work["prefill"].useful_flops > 0


@pytest.fixture
def grouped():
    """The 7B model with an eighth of the key heads."""
    text = SimpleNamespace(**{**vars(SEVEN_B.text_config), "num_key_value_heads": 4})
    return SimpleNamespace(audio_config=SEVEN_B.audio_config, text_config=text)


def test_fewer_key_heads_make_the_cache_smaller(grouped):
    cached = [
        work_of([LONG] * rows, [2] * rows, config=config)["decode"].num_bytes
        for config in (SEVEN_B, grouped)
        for rows in (1, 2)
    ]
    assert cached[1] - cached[0] == 8 * (cached[3] - cached[2])


@pytest.mark.parametrize(("stage", "positions"), [("prefill", TEXT + 750), ("decode", 1)])
def test_fewer_key_heads_save_their_projections_alone(grouped, stage, positions):
    """Each query still meets every key: attention costs the same."""
    saved = 2 * 32 * 4096 * 2 * (4096 - 512) * positions
    many, few = work_of([LONG], [2])[stage], work_of([LONG], [2], config=grouped)[stage]
    assert many.useful_flops - few.useful_flops == saved
    assert many.executed_flops - few.executed_flops == saved


def test_a_head_size_of_its_own_counts():
    text = SimpleNamespace(**vars(SEVEN_B.text_config), head_dim=64)
    half = SimpleNamespace(audio_config=SEVEN_B.audio_config, text_config=text)
    saved = 2 * 32 * 4 * 4096 * (4096 - 2048) + 4 * 32 * (4096 - 2048) * (TEXT + 751)
    many, few = work_of([LONG], [2])["decode"], work_of([LONG], [2], config=half)["decode"]
    assert many.useful_flops - few.useful_flops == saved
