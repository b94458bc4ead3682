"""The fast engine against transformers' own processor, forward and generate."""

import dataclasses

import numpy as np
import pytest
import torch

from modeltest.backends.transformers.fast import only
from modeltest.backends.transformers.log_mel import LogMel
from modeltest.devices.cpu import CpuDevice
from modeltest.errors import ModelError
from modeltest.records import Audio, Generation
from modeltest.settings.load import load_task
from modeltest.tasks.answers import read_answer
from modeltest.tasks.factory import make_task

# Around every rounding of the lengths: samples to frames, frames to positions, pairs.
LENGTHS = [1600, 1601, 2079, 16_001, 479_839, 480_000]


def noise(num_samples, amplitude=0.05):
    waveform = np.random.default_rng(num_samples).normal(0, amplitude, num_samples)
    return Audio(waveform.astype(np.float32), 16_000, "", num_samples / 16_000)


def test_a_batch_has_stocks_logits_but_for_rounding(fast_logits, plain_logits, ask, mini_clips):
    requests = ask(mini_clips[:8])
    difference = (fast_logits(requests) - plain_logits(requests)).abs().max()
    assert difference <= 1e-4


@pytest.mark.parametrize("num_samples", LENGTHS)
def test_every_length_is_encoded_as_in_stock(fast_logits, plain_logits, ask, num_samples):
    requests = ask([noise(num_samples)])
    assert (fast_logits(requests) - plain_logits(requests)).abs().max() <= 1e-4


def test_the_shortest_beside_the_longest(fast_logits, plain_logits, ask):
    requests = ask([noise(1600), noise(480_000), noise(20_000)])
    assert (fast_logits(requests) - plain_logits(requests)).abs().max() <= 1e-4


def test_the_encoder_is_whole_again_afterwards(backend, fast_logits, ask):
    fast_logits(ask([noise(16_000)]))
    encoder = only(backend.model, "Qwen2AudioEncoder")
    assert encoder.config.max_source_positions == 1500
    assert encoder.embed_positions.weight.shape[0] == 1500


@pytest.mark.parametrize("num_samples", LENGTHS)
@pytest.mark.parametrize("amplitude", [0.0, 1e-4, 0.5])
def test_log_mel_has_the_extractors_bits(backend, num_samples, amplitude):
    extractor = backend.processor.feature_extractor
    waveform = noise(num_samples, amplitude).waveform
    whole = extractor(waveform, sampling_rate=16_000, return_tensors="pt").input_features
    log_mel = LogMel(extractor)
    num_frames = min(log_mel.num_frames(waveform) + 3, 3000)
    assert torch.equal(log_mel([waveform], num_frames), whole[:, :, :num_frames])


def test_tokens_are_those_of_the_processor(backend, engine, plain_inputs, ask, mini_clips):
    requests = ask(mini_clips[:8])
    texts = [backend.render(request.prompt, 1) for request in requests]
    batch, plain = engine.prepare(texts, requests), plain_inputs(requests)
    audio_id = backend.processor.tokenizer.convert_tokens_to_ids("<|AUDIO|>")
    if plain["input_ids"].shape == batch.input_ids.shape:
        assert torch.equal(batch.input_ids, plain["input_ids"])
        assert torch.equal(batch.attention_mask, plain["attention_mask"])
    else:  # transformers up to 4.47 expands inside the model
        text = [ids[ids != audio_id].tolist() for ids in plain["input_ids"]]
        mine = [
            ids[(ids != audio_id) & kept.bool()].tolist()
            for ids, kept in zip(batch.input_ids, batch.attention_mask, strict=True)
        ]
        real = [
            [t for t, kept in zip(row, mask, strict=False) if kept] or row
            for row, mask in zip(text, plain["attention_mask"].tolist(), strict=True)
        ]
        assert [len(row) for row in mine] == [len(row) for row in real]
        assert mine[0] == real[0]


@pytest.mark.parametrize(("attention", "num_tokens"), [("sdpa", 1), ("sdpa", 12), ("eager", 12)])
def test_the_tokens_are_generates(make_backend, ask, mini_clips, attention, num_tokens):
    """Rows that end early and rows that go on behind their end token."""
    requests = ask(mini_clips[:4])
    fast, stock = (make_backend(attention=attention, engine=e) for e in ("fast", "stock"))
    for generation in (Generation(num_tokens), Generation(num_tokens, ignore_eos=True)):
        asked = [dataclasses.replace(request, generation=generation) for request in requests]
        replies, expected = fast.generate(asked), stock.generate(asked)
        for reply, other in zip(replies, expected, strict=True):
            # Everything but the times.
            assert dataclasses.replace(reply, timing=None) == dataclasses.replace(
                other, timing=None
            )
        if generation.ignore_eos:
            assert {reply.output_tokens for reply in replies} == {num_tokens}


def test_prepared_batches_are_the_same_and_their_time_counts(backend, ask, mini_clips):
    requests = ask(mini_clips[:4])
    prepared = dataclasses.replace(backend.prepare(requests), seconds=100.0)
    before, after = backend.generate(requests), backend.generate(requests, prepared)
    assert [r.output_ids for r in before] == [r.output_ids for r in after]
    assert after[0].timing.e2e_s > 100.0
    assert after[0].timing.stages.feature_s > 100.0
    assert after[0].timing.stages.ttft_s > 100.0


@pytest.mark.parametrize("engine_name", ["fast", "stock"])
def test_the_stages_add_up(make_backend, ask, mini_clips, engine_name):
    backend = make_backend(engine=engine_name)
    requests = ask(mini_clips[:4])
    backend.generate(requests)
    timing = backend.generate(requests)[0].timing
    stages = timing.stages
    first = stages.feature_s + stages.encoder_s + stages.prefill_s
    if engine_name == "fast":
        assert stages.ttft_s == pytest.approx(first, rel=1e-6)
    else:  # generate's own preparation lies between features and encoder
        assert first < stages.ttft_s < first + 0.2
    whole = stages.ttft_s + sum(stages.step_s) + stages.detokenize_s
    assert whole <= timing.e2e_s
    assert whole >= 0.95 * timing.e2e_s
    assert all(step > 0 for step in stages.step_s)


def test_flash_attention_falls_back_and_says_so(make_backend, tiny_model):
    from modeltest.backends.transformers.backend import TransformersBackend, TransformersSettings

    settings = TransformersSettings(tiny_model, "bf16", "flash_attention_2", "fast")
    assert TransformersBackend(settings, CpuDevice()).identity(False)["engine"] == "stock"


def test_a_tokenizer_that_loses_the_audio_token_is_noticed(backend, engine, ask):
    requests = ask([noise(16_000)])
    with pytest.raises(ModelError, match="0 audio tokens of the prompt for 1 clips"):
        engine.prepare(["no audio here"], requests)


def test_stopping_at_the_answer_shortens_replies_and_keeps_answers(
    backend, make_backend, ask, mini_clips
):
    loaded = load_task("vocalsound_mini", ["stop_at_answer=true"])
    stopping = make_task(loaded.name, loaded.settings)
    whole = backend.generate(ask(mini_clips[:12]))
    short = backend.generate(ask(mini_clips[:12], of=stopping))
    for before, after in zip(whole, short, strict=True):
        assert before.text.startswith(after.text)
        assert read_answer(after.text, stopping.choices) == read_answer(
            before.text, stopping.choices
        )
        assert after.output_tokens < before.output_tokens
        assert after.finish_reason == "answer"
    stock = make_backend(engine="stock").generate(ask(mini_clips[:12], of=stopping))
    assert [r.output_ids for r in stock] == [r.output_ids for r in short]


def test_option_logits_are_those_of_the_first_token(backend, plain_logits, ask, mini_clips):
    requests = ask(mini_clips[:6])
    logits = plain_logits(requests)
    tokenizer = backend.processor.tokenizer
    ids = [[tokenizer(s + letter)["input_ids"][0] for s in ("", " ")] for letter in "ABCDEF"]
    for row, reply in zip(logits, backend.generate(requests), strict=True):
        expected = [max(float(row[first]), float(row[second])) for first, second in ids]
        assert reply.option_logits == pytest.approx(expected, abs=1e-4)
        # The greedy reply begins with the option whose token is the most likely.
        assert reply.text[0] == "ABCDEF"[expected.index(max(expected))]
