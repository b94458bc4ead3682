"""Architectures of which only transformers knows the modules: tiny, with random weights.

Replies are compared with a plain loop of transformers: processor, `generate`, decode.
"""

import dataclasses
import json
import shutil

import numpy as np
import pytest
import torch
import transformers
from other_architectures import change_json, save_audio_flamingo, save_glm_asr

from modeltest.audio.decode import decode
from modeltest.backends.factory import checked_model, make_backend, model_warnings, refuse_parity
from modeltest.backends.transformers.backend import TransformersBackend, TransformersSettings
from modeltest.backends.transformers.model_folder import check_model_folder
from modeltest.backends.transformers.native import NativeModel
from modeltest.devices.cpu import CpuDevice
from modeltest.errors import ModelError, SettingsError
from modeltest.records import Audio, AudioSource, Generation, Prompt, Request, Turn
from modeltest.runner.recovery import generate_surviving
from modeltest.settings.load import load_model

QUESTION = "Which sound is it? A: Sigh, B: Cough"
ASKED = Generation(max_new_tokens=12, options=("A", "B"))
NAMES = {"AudioFlamingo3": save_audio_flamingo, "GlmAsr": save_glm_asr}

known = pytest.mark.skipif(
    not all(hasattr(transformers, f"{name}ForConditionalGeneration") for name in NAMES),
    reason=f"transformers {transformers.__version__} does not know {' and '.join(NAMES)}",
)


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    folder = tmp_path_factory.mktemp("other architectures")
    return {name: save(folder / name) for name, save in NAMES.items()}


@pytest.fixture(scope="module")
def loaded(checkpoints):
    backends = {}

    def load(name):
        if name not in backends:
            settings = TransformersSettings(checkpoints[name], "fp32", "sdpa")
            backends[name] = TransformersBackend(settings, CpuDevice())
            backends[name].load()
        return backends[name]

    return load


@pytest.fixture(params=NAMES)
def name(request):
    return request.param


def requests_about(backend, clips, generation=ASKED):
    heard = [decode(AudioSource(c.name, path=c), backend.sampling_rate_hz) for c in clips]
    prompt = Prompt(QUESTION, "chat")
    return [Request(f"s{i}", (clip,), prompt, generation) for i, clip in enumerate(heard)]


def plain_inputs(name, processor, waveforms):
    """As the documentation of each model asks it."""
    if name == "GlmAsr":
        return processor(
            text=[f"<s>[user]<|audio|>{QUESTION}</s>[assistant]"] * len(waveforms),
            audio=waveforms,
            text_kwargs={"add_special_tokens": False},
        )
    conversations = [
        [{
            "role": "user",
            "content": [{"type": "audio", "audio": w}, {"type": "text", "text": QUESTION}],
        }]
        for w in waveforms
    ]  # fmt: skip
    return processor.apply_chat_template(
        conversations, tokenize=True, add_generation_prompt=True, return_dict=True
    )


def plain_replies(name, path, waveforms, size):
    """Token ids up to the end token, texts, numbers of input tokens, first logits."""
    model_class = getattr(transformers, f"{name}ForConditionalGeneration")
    model = model_class.from_pretrained(path, dtype=torch.float32).eval()
    processor = transformers.AutoProcessor.from_pretrained(path)
    end = model.generation_config.eos_token_id
    ids, texts, num_inputs, logits = [], [], [], []
    for first in range(0, len(waveforms), size):
        inputs = plain_inputs(name, processor, waveforms[first : first + size])
        with torch.inference_mode():
            made = model.generate(
                **inputs, do_sample=False, repetition_penalty=1.0, temperature=None,
                max_new_tokens=ASKED.max_new_tokens, output_logits=True,
                return_dict_in_generate=True,
            )  # fmt: skip
        for row in made.sequences[:, inputs["input_ids"].shape[1] :].tolist():
            ids.append(row[: row.index(end) + 1] if end in row else row)
            texts.append(processor.tokenizer.decode(ids[-1], skip_special_tokens=True))
        num_inputs += inputs["attention_mask"].sum(-1).tolist()
        logits += list(made.logits[0])
    return ids, texts, num_inputs, logits


@known
@pytest.mark.parametrize("size", [1, 3])
def test_replies_are_those_of_a_plain_loop(name, size, loaded, checkpoints, mini_clips):
    backend = loaded(name)
    requests = requests_about(backend, mini_clips[:6])
    batches = [requests[first : first + size] for first in range(0, 6, size)]
    replies = [reply for batch in batches for reply in backend.generate(batch)]
    waveforms = [request.audio[0].waveform for request in requests]
    ids, texts, num_inputs, logits = plain_replies(name, checkpoints[name], waveforms, size)
    assert [list(reply.output_ids) for reply in replies] == ids
    assert [reply.text for reply in replies] == texts
    assert [reply.input_tokens for reply in replies] == num_inputs
    assert len(set(texts)) > 1  # the clips differ, and so do the replies
    tokenizer = backend.processor.tokenizer
    letters = tokenizer.convert_tokens_to_ids(["A", "B"])
    for reply, row in zip(replies, logits, strict=True):
        if name == "AudioFlamingo3":  # of "A" and "ĠA" the higher
            spaced = tokenizer.convert_tokens_to_ids(["ĠA", "ĠB"])
            assert reply.option_logits == pytest.approx(
                torch.maximum(row[letters], row[spaced]).tolist(), abs=1e-4
            )


@known
def test_tokens_are_counted_before_the_weights_are_there(name, loaded, checkpoints, mini_clips):
    [request] = requests_about(loaded(name), mini_clips[:1])
    unloaded = TransformersBackend(
        TransformersSettings(checkpoints[name], "fp32", "sdpa"), CpuDevice()
    )
    [reply] = loaded(name).generate([request])
    assert unloaded.num_input_tokens(request) == reply.input_tokens
    # Frames of 10 ms: AudioFlamingo3 halves them twice; GlmAsr halves them and joins four.
    frames = request.audio[0].duration_s * 100
    expected = {"AudioFlamingo3": frames / 4, "GlmAsr": frames / 8}[name]
    assert reply.audio_tokens == pytest.approx(expected, abs=2)


@known
def test_it_says_which_engine_and_why(name, loaded, checkpoints):
    backend = loaded(name)
    assert backend.engine == "stock"
    assert backend.identity(False)["engine"] == "stock"
    assert backend.facts()["engine"] == "stock"
    model = checked_model(load_model("qwen2_audio", [f"model_path={checkpoints[name]}"]))
    assert model.settings.engine == "stock"
    assert "engine stock" in model.settings.in_words
    [note] = model_warnings(model.settings)
    assert note == f"engine stock: the fast engine is for Qwen2-Audio, this is {name}"


def test_an_attention_without_masks_says_so_too(tiny_model):
    flash = ["attention=flash_attention_2", f"model_path={tiny_model}"]
    model = checked_model(load_model("qwen2_audio", flash))
    assert model.settings.engine == "stock"
    [note] = model_warnings(model.settings)
    assert note == "engine stock: the fast engine makes masks for sdpa and eager alone"
    usual = checked_model(load_model("qwen2_audio", [f"model_path={tiny_model}"]))
    assert (usual.settings.engine, model_warnings(usual.settings)) == ("fast", ())
    explicit = load_model("qwen2_audio", [f"model_path={tiny_model}", "engine=fast"])
    assert checked_model(explicit).settings.engine == "fast"


@known
def test_what_takes_qwen2_audios_modules_is_refused_in_one_line(name, checkpoints):
    path = f"model_path={checkpoints[name]}"
    with pytest.raises(ModelError) as fast:
        checked_model(load_model("qwen2_audio", [path, "engine=fast"]))
    model = checked_model(load_model("qwen2_audio", [path]))
    with pytest.raises(ModelError) as parity:
        refuse_parity(model.settings)
    with pytest.raises(ModelError) as parallel:
        make_backend(model.settings, 0, CpuDevice(), tp=2)
    for caught in (fast, parity, parallel):
        assert len(str(caught.value).splitlines()) == 1
        assert f"Qwen2-Audio, this is {name}" in str(caught.value).replace("'s layers", "")
    assert "leave it out, or take stock" in str(fast.value)


@known
def test_a_raw_prompt_is_refused(name, loaded, task):
    with pytest.raises(SettingsError, match=r"--set task\.prompt_format=chat"):
        loaded(name).render(task.prompt(), 1)


@known
def test_control_and_audio_tokens_in_a_question_are_refused(name, loaded):
    for token in (loaded(name).processor.audio_token, loaded(name).processor.tokenizer.eos_token):
        with pytest.raises(SettingsError, match="leave it out"):
            loaded(name).render(Prompt(f"What {token}?", "chat"), 1)


@known
def test_a_dialogue_without_new_clips_is_rendered(name, loaded):
    prompt = Prompt("And now?", "chat", (Turn(QUESTION, 1, "A: Sigh"),))
    text = loaded(name).render(prompt, 1)
    token = loaded(name).processor.audio_token
    assert text.count(token) == 1
    assert text.index(token) < text.index("A: Sigh</s>" if name == "GlmAsr" else "A: Sigh<|im_end")


@known
def test_streamed_pieces_add_up_to_the_reply(name, loaded, mini_clips):
    backend = loaded(name)
    requests = requests_about(backend, mini_clips[:3], Generation(max_new_tokens=24))
    told = ["", "", ""]

    def tell(row, piece):
        told[row] += piece

    replies = backend.generate(requests, on_text=tell)
    assert told == [reply.text for reply in replies]
    assert any(" " in text.strip() for text in told)


@known
def test_stages_that_nothing_tells_of_are_not_measured(name, loaded, mini_clips, monkeypatch):
    backend = loaded(name)
    [reply] = backend.generate(requests_about(backend, mini_clips[:1]))
    stages = reply.timing.stages
    assert min(stages.feature_s, stages.encoder_s, stages.prefill_s) > 0
    assert stages.feature_s + stages.encoder_s + stages.prefill_s <= stages.ttft_s * 1.001
    assert len(stages.step_s) == reply.output_tokens - 1
    assert backend.work(requests_about(backend, mini_clips[:1]), 4) == {}
    monkeypatch.setattr(NativeModel, "watch", lambda *_: None)
    blind = TransformersBackend(backend._settings, CpuDevice())
    blind.load()
    [again] = blind.generate(requests_about(backend, mini_clips[:1]))
    assert again.output_ids == reply.output_ids
    assert again.timing.stages.encoder_s is None
    assert again.timing.stages.prefill_s is None
    assert again.timing.stages.ttft_s > 0


@known
def test_clips_are_heard_at_the_processors_own_rate(tmp_path, mini_clips):
    path = save_audio_flamingo(tmp_path / "slow", sampling_rate=8_000)
    change_json(path / "processor_config.json", max_audio_len=60)
    backend = TransformersBackend(TransformersSettings(path, "fp32", "sdpa"), CpuDevice())
    assert backend.sampling_rate_hz == 8_000
    assert backend.max_audio_s == 60
    backend.load()
    [request] = requests_about(backend, mini_clips[:1])
    [reply] = backend.generate([request])
    # Half as many samples in frames of 160: 50 frames a second.
    assert reply.audio_tokens == pytest.approx(request.audio[0].duration_s * 50 / 4, abs=2)


@known
def test_a_clip_is_as_long_as_whole_windows_allow(name, loaded):
    """The processors cut at the last whole window of 30 s: of 600 s, and of 655 s."""
    assert loaded(name).max_audio_s == {"AudioFlamingo3": 600, "GlmAsr": 630}[name]
    backend, limit = loaded(name), int(loaded(name).max_audio_s) * 16_000
    made = [
        plain_inputs(name, backend.processor, [np.zeros(num, np.float32)])["input_ids"].shape[1]
        for num in (limit - 16_000, limit, limit + 48_000)
    ]
    assert made[0] < made[1] == made[2]


@known
def test_a_clip_of_more_than_thirty_seconds_is_heard_whole(loaded, checkpoints):
    backend = loaded("AudioFlamingo3")
    noise = np.random.default_rng(3).uniform(-0.1, 0.1, 45 * 16_000).astype(np.float32)
    audio = Audio(noise, 16_000, "", 45.0)
    [reply] = backend.generate([Request("long", (audio,), Prompt(QUESTION, "chat"), ASKED)])
    [ids], _, [num], _ = plain_replies("AudioFlamingo3", checkpoints["AudioFlamingo3"], [noise], 1)
    assert list(reply.output_ids) == ids
    assert reply.input_tokens == num
    assert reply.audio_tokens == 45 * 25  # 100 frames a second, halved twice


@known
def test_audio_that_does_not_arrive_is_noticed(name, loaded, mini_clips, monkeypatch):
    backend = loaded(name)
    requests = requests_about(backend, mini_clips[:2])
    adapter, processor = backend._adapter, backend.processor
    whole = processor.__class__.__call__

    def change(what):
        def changed(self, *args, **kwargs):
            made = whole(self, *args, **kwargs)
            what(made)
            return made

        monkeypatch.setattr(processor.__class__, "__call__", changed)

    monkeypatch.setattr(adapter, "_keyword", "audio")
    for what, kind, message in (
        (lambda made: made.pop("input_features"), ModelError, "audio: 2 clips in, 0 out"),
        (
            lambda made: made.update(input_features=made["input_features"][:1]),
            ValueError,
            "dropped audio: 2 clips in, 1 out",
        ),
        (
            lambda made: made.update(input_ids=torch.zeros_like(made["input_ids"]) + 9),
            ValueError,
            r"made \[0, 0\] audio tokens",
        ),
        (
            lambda made: made["attention_mask"][:, -1:].zero_(),
            ModelError,
            "padded on the right",
        ),
    ):
        change(what)
        with pytest.raises(kind, match=message):
            backend.generate(requests)


@known
def test_an_encoder_that_never_ran_is_noticed(name, loaded, mini_clips, monkeypatch):
    backend = loaded(name)
    real = backend.model.generate

    def deaf(**inputs):
        del inputs["input_features"], inputs["input_features_mask"]
        return real(**inputs)

    monkeypatch.setattr(backend.model, "generate", deaf)
    with pytest.raises(ModelError, match="was asked about 1 clips and encoded none"):
        backend.generate(requests_about(backend, mini_clips[:1]))


@known
def test_two_clips_at_once_are_one_line_where_the_processor_takes_one(name, loaded, mini_clips):
    backend = loaded(name)
    one, two = requests_about(backend, mini_clips[:2])
    both = dataclasses.replace(one, audio=(*one.audio, *two.audio))
    with pytest.raises(ModelError, match="cannot be asked about 2 clips"):
        backend.num_input_tokens(both)


@known
def test_a_clip_that_the_processor_refuses_is_its_samples_error(
    name, loaded, mini_clips, monkeypatch
):
    backend, splits = loaded(name), []
    requests = requests_about(backend, mini_clips[:3])
    bad = requests[1].audio[0].waveform
    real = backend.processor.__class__.__call__

    def refusing(self, *args, **kwargs):
        if any(clip is bad for clip in kwargs[backend._adapter._keyword]):
            raise RuntimeError("a bad clip")
        return real(self, *args, **kwargs)

    expected = [backend.generate([request])[0].text for request in (requests[0], requests[2])]
    monkeypatch.setattr(backend.processor.__class__, "__call__", refusing)
    replies = generate_surviving(
        backend, CpuDevice(), requests, lambda size, why: splits.append((size, why))
    )
    assert [reply.error for reply in replies] == ["", "RuntimeError: a bad clip", ""]
    assert [replies[0].text, replies[2].text] == expected
    assert splits == [(3, "RuntimeError: a bad clip"), (2, "RuntimeError: a bad clip")]


@known
def test_pickles_and_code_beside_the_weights_are_never_read(name, checkpoints, tmp_path):
    path, canary = tmp_path / "checkpoint", tmp_path / "canary"
    shutil.copytree(checkpoints[name], path)
    for kind in ("modeling", "configuration", "processing"):
        (path / f"{kind}_{name.lower()}.py").write_text(f"open({str(canary)!r}, 'w')")
    for pickled in ("pytorch_model.bin", "model.pt"):
        (path / pickled).write_bytes(b"cbuiltins\nopen\n(V%s\nVw\ntR." % str(canary).encode())
    check_model_folder(path, "here")
    TransformersBackend(TransformersSettings(path, "fp32", "sdpa"), CpuDevice()).load()
    assert not canary.exists()
    change_json(path / "config.json", auto_map={"AutoModel": f"modeling_{name.lower()}.Model"})
    with pytest.raises(ModelError, match="never runs code that a checkpoint brings"):
        check_model_folder(path, "here")


@known
def test_a_foreign_class_is_refused_before_the_processor_is_read(checkpoints, tmp_path):
    path = tmp_path / "mixed"
    shutil.copytree(checkpoints["AudioFlamingo3"], path)
    change_json(path / "tokenizer_config.json", tokenizer_class="TransfoXLTokenizer")
    with pytest.raises(ModelError, match="'tokenizer_class' is 'TransfoXLTokenizer'; supported"):
        TransformersBackend(TransformersSettings(path, "fp32", "sdpa"), CpuDevice())


@known
def test_end_tokens_are_those_that_transformers_takes(name, checkpoints, tmp_path):
    path = tmp_path / "without generation settings"
    shutil.copytree(checkpoints[name], path)
    settings = TransformersSettings(path, "fp32", "sdpa")
    change_json(path / "generation_config.json", eos_token_id=[11, 12])
    assert TransformersBackend(settings, CpuDevice())._eos == [11, 12]
    (path / "generation_config.json").unlink()
    text = json.loads((path / "config.json").read_text())["text_config"]
    change_json(path / "config.json", text_config={**text, "eos_token_id": 9})
    model_class = getattr(transformers, f"{name}ForConditionalGeneration")
    assert model_class.from_pretrained(path).generation_config.eos_token_id == 9
    assert TransformersBackend(settings, CpuDevice())._eos == [9]


@known
def test_a_processor_without_a_template_is_refused(checkpoints, tmp_path):
    path = tmp_path / "mute"
    shutil.copytree(checkpoints["AudioFlamingo3"], path)
    (path / "chat_template.jinja").unlink()
    with pytest.raises(ModelError, match="AudioFlamingo3's processor has no chat template"):
        TransformersBackend(TransformersSettings(path, "fp32", "sdpa"), CpuDevice())


@known
def test_files_that_do_not_fit_each_other_are_refused(checkpoints, tmp_path):
    path = tmp_path / "mixed"
    shutil.copytree(checkpoints["AudioFlamingo3"], path)
    change_json(path / "config.json", audio_token_id=5)
    backend = TransformersBackend(TransformersSettings(path, "fp32", "sdpa"), CpuDevice())
    with pytest.raises(ModelError, match="audio token"):
        backend.load()
