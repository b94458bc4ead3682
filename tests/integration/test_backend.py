"""The transformers backend on the embedded model: real processor, real generate."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
import soundfile
import torch

from modeltest.backends.transformers import inputs
from modeltest.errors import ModelError, SettingsError

# Clips of very different lengths, each class twice.
NUM_CLIPS = 12


@pytest.fixture(scope="module")
def clips(mini_clips):
    return mini_clips[:NUM_CLIPS]


def test_batches_answer_like_single_clips(backend, ask, clips):
    requests = ask(clips)
    singly = [backend.generate([request])[0].text for request in requests]
    for size in (5, 8):  # 12 = 5 + 5 + 2 = 8 + 4: both end in a short batch
        batches = [requests[start : start + size] for start in range(0, NUM_CLIPS, size)]
        together = [reply.text for batch in batches for reply in backend.generate(batch)]
        assert together == singly


def test_batches_move_the_logits_by_rounding_only(plain_logits, ask, clips):
    requests = ask(clips[:8])
    singly = torch.cat([plain_logits([request]) for request in requests])
    assert (plain_logits(requests) - singly).abs().max() <= 1e-4


def test_a_clip_of_ten_milliseconds_does_not_vanish(backend, ask, tmp_path):
    path = tmp_path / "short.wav"
    soundfile.write(path, np.full(160, 0.1), 16_000)
    [reply] = backend.generate(ask([path]))
    # 0.1 s are 10 frames, halved twice by the encoder to 2 audio positions.
    assert reply.input_tokens == len(backend.processor.tokenizer(reply.input_text).input_ids) + 1
    assert reply.finish_reason == "stop"


def test_generation_ignores_the_checkpoints_sampling_settings(
    backend, plain_inputs, ask, clips, tiny_model
):
    """Greedy by hand: argmax of full forwards, no cache, no generate."""
    shipped = json.loads((tiny_model / "generation_config.json").read_text())
    assert shipped["do_sample"] is True
    assert shipped["repetition_penalty"] == 1.1
    for request in ask(clips[:4]):
        [reply] = backend.generate([request])
        batch = plain_inputs([request])
        tokens = []
        with torch.inference_mode():
            while len(tokens) < 65 and (not tokens or tokens[-1] not in backend._eos):
                token = backend.model(**batch).logits[:, -1].argmax(-1, keepdim=True)
                tokens.append(int(token))
                batch["input_ids"] = torch.cat([batch["input_ids"], token], dim=-1)
                ones = torch.ones_like(token)
                batch["attention_mask"] = torch.cat([batch["attention_mask"], ones], dim=-1)
        expected = backend.processor.tokenizer.decode(tokens, skip_special_tokens=True)
        assert reply.text == expected
        assert reply.output_tokens == len(tokens)
        assert reply.finish_reason == "stop"


def test_the_end_token_is_counted_and_not_shown(backend, ask, clips):
    [reply] = backend.generate(ask(clips[:1]))
    shown = backend.processor.tokenizer(reply.text)["input_ids"]
    assert reply.output_tokens == len(shown) + 1
    assert "<|" not in reply.text


def test_input_tokens_count_the_audio_positions(backend, ask, clips):
    requests = ask(clips[:3])
    for request, reply in zip(requests, backend.generate(requests), strict=True):
        text = backend.render(request.prompt, 1)
        num_text = len(backend.processor.tokenizer(text)["input_ids"]) - 1
        # 25 audio positions a second: 100 mel frames, halved twice.
        seconds = request.audio[0].duration_s
        assert reply.input_tokens == pytest.approx(num_text + 25 * seconds, abs=1)


def test_the_reply_length_is_bounded(backend, ask, clips):
    [request] = ask(clips[:1])
    short = dataclasses.replace(request.generation, max_new_tokens=2)
    [reply] = backend.generate([dataclasses.replace(request, generation=short)])
    assert reply.output_tokens == 2
    assert reply.finish_reason == "length"


def test_silence_scores_near_chance(backend, ask, mini_clips, task):
    """Six balanced classes: a model that does not hear answers 1 in 6 right at best."""
    lengths = [ask([clip])[0].audio[0] for clip in mini_clips[:30]]
    silent = [dataclasses.replace(a, waveform=np.zeros_like(a.waveform)) for a in lengths]
    replies = backend.generate(ask(silent))
    truths = [clip.stem.rsplit("_", 1)[1] for clip in mini_clips[:30]]
    from modeltest.records import Sample

    scores = [
        task.score(Sample("s", (), truth), reply)
        for truth, reply in zip(truths, replies, strict=True)
    ]
    assert sum(score.correct for score in scores) / 30 <= 0.35


def test_dropped_features_are_noticed(backend, ask, clips, monkeypatch):
    requests = ask(clips[:2])
    texts = [backend.render(request.prompt, 1) for request in requests]
    batch = inputs.encode(backend.processor, texts, requests)
    without = {k: v for k, v in batch.items() if "feature" not in k}
    with pytest.raises(ModelError, match="dropped audio: 2 clips in, 0 out"):
        inputs.check_inputs(backend.processor, without, requests)
    one_clip = {**batch, "input_features": batch["input_features"][:1]}
    with pytest.raises(ModelError, match="2 clips in, 1 out"):
        inputs.check_inputs(backend.processor, one_clip, requests)
    swapped = {**batch, "feature_attention_mask": batch["feature_attention_mask"].flip(0)}
    with pytest.raises(ModelError, match="changed the clips' lengths"):
        inputs.check_inputs(backend.processor, swapped, requests)
    fewer = dict(batch)
    audio_id = backend.processor.tokenizer.convert_tokens_to_ids("<|AUDIO|>")
    fewer["input_ids"] = batch["input_ids"].masked_fill(batch["input_ids"] == audio_id, 0)
    with pytest.raises(ModelError, match="audio tokens"):
        inputs.check_inputs(backend.processor, fewer, requests)
    right = {**batch, "attention_mask": batch["attention_mask"].clone()}
    right["attention_mask"][0, -1] = 0
    with pytest.raises(ModelError, match="padded on the right"):
        inputs.check_inputs(backend.processor, right, requests)


def test_an_encoder_that_never_ran_is_noticed(make_backend, ask, clips, monkeypatch):
    """The processor is fine, but generate does not pass the features on."""
    stock = make_backend(engine="stock")
    real = stock.model.generate

    def deaf(**batch):
        del batch["input_features"], batch["feature_attention_mask"]
        return real(**batch)

    monkeypatch.setattr(stock.model, "generate", deaf)
    with pytest.raises((ModelError, ValueError), match=r"no clips|audio"):
        stock.generate(ask(clips[:1]))


def test_eager_attention_and_bf16_run(make_backend, ask, clips):
    replies = make_backend(data_type="bf16", attention="eager").generate(ask(clips[:2]))
    assert all(reply.finish_reason == "stop" for reply in replies)


def test_missing_weights_are_refused(make_backend, tiny_model, tmp_path):
    from safetensors.torch import load_file, save_file

    broken = tmp_path / "model"
    shutil.copytree(tiny_model, broken)
    weights = load_file(broken / "model.safetensors")
    removed = next(name for name in weights if "layers.0.fc1.weight" in name)
    del weights[removed]
    (broken / "model.safetensors").unlink()
    save_file(weights, broken / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match="1 weights are missing"):
        make_backend(path=broken)


def test_the_chat_prompt_is_qwen2_audios_own(backend, chat_task):
    question = (
        "In this audio, what kind of sound can you hear? A: Laughter, B: Sigh, C: Cough, "
        "D: Throat clearing, E: Sneeze, F: Sniff, Please select the one closest to the "
        "correct answer."
    )
    assert backend.render(chat_task.prompt(), 1) == (
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n"
        f"Audio 1: <|audio_bos|><|AUDIO|><|audio_eos|>\n{question}<|im_end|>\n"
        "<|im_start|>assistant\n"
    )


def test_the_raw_prompt_is_the_original_tools(backend, task):
    assert backend.render(task.prompt(), 1) == (
        "<|audio_bos|><|AUDIO|><|audio_eos|>In this audio, what kind of sound can you hear? "
        "A: Laughter, B: Sigh, C: Cough, D: Throat clearing, E: Sneeze, F: Sniff, Please "
        "select the one closest to the correct answer. ASSISTANT:"
    )


def test_logits_that_are_not_finite_are_errors_not_answers(make_backend, ask, clips):
    broken = make_backend()
    with torch.no_grad():
        broken.model.get_output_embeddings().weight[0, 0] = float("nan")
    for reply in broken.generate(ask(clips[:2])):
        assert reply.error == "the logits are not finite; with fp16, try bf16"
        assert reply.text == ""


def test_a_prompt_with_audio_tokens_of_its_own_is_refused(backend, ask, clips):
    [request] = ask(clips[:1])
    prompt = dataclasses.replace(request.prompt, text=request.prompt.text + "<|AUDIO|>")
    with pytest.raises(SettingsError, match="2 audio tokens for 1 clips"):
        backend.generate([dataclasses.replace(request, prompt=prompt)])


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("tokenizer.json", "{"),
        ("generation_config.json", "{"),
        ("preprocessor_config.json", "[]"),
        (
            "config.json",
            '{"architectures": ["Qwen2AudioForConditionalGeneration"], "audio_config": 1}',
        ),
    ],
)
def test_broken_files_of_a_checkpoint_are_one_line(
    make_backend, tiny_model, tmp_path, name, content
):
    broken = tmp_path / "model"
    shutil.copytree(tiny_model, broken)
    (broken / name).write_text(content)
    with pytest.raises(ModelError) as caught:
        make_backend(path=broken)
    assert str(broken) in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
