"""The formulas of work.py against torch's own counter, on the embedded model's engines."""

import dataclasses

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from modeltest.backends.transformers.backend import TransformersBackend, TransformersSettings
from modeltest.backends.transformers.work import BatchShape, batch_work
from modeltest.devices.cpu import CpuDevice
from modeltest.records import Audio, Generation

HOP = 160
NEW_TOKENS = 5
# Odd and even numbers of frames, 0.9 to 7.3 s.
BATCHES = {"one clip": [41_234], "four clips": [14_561, 117_000, 64_160, 33_333]}


def count_cpu_sdpa(query, key, value, *_args, out_val=None, **_kwargs):
    """The CPU's kernel is missing from torch's table; its cost is that of the others."""
    return sdpa_flop_count(query.shape, key.shape, value.shape)


count_cpu_sdpa._get_raw = True
KERNELS = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: count_cpu_sdpa}


class CountingDevice(CpuDevice):
    """Its time is the operations done so far, so that the backend's stage times are operations."""

    def __init__(self):
        self.counter = FlopCounterMode(display=False, custom_mapping=KERNELS)

    def mark(self):
        return self.counter.get_total_flops()


@pytest.fixture(scope="module", params=["eager", "sdpa"])
def make_counting(request, tiny_model):
    def make(engine):
        device = CountingDevice()
        settings = TransformersSettings(tiny_model, "fp32", request.param, engine)
        backend = TransformersBackend(settings, device)
        backend.load()
        return backend, device

    return make


@pytest.fixture(scope="module")
def requests_of(ask):
    def make(lengths):
        noise = np.random.default_rng(0)
        waves = [noise.normal(0, 0.05, length).astype(np.float32) for length in lengths]
        asked = ask([Audio(wave, 16_000, "", len(wave) / 16_000) for wave in waves])
        generation = Generation(NEW_TOKENS, ignore_eos=True)
        return [dataclasses.replace(request, generation=generation) for request in asked]

    return make


def shape_of(backend, requests):
    """What the formulas are given, from the waveforms and the tokenizer alone."""
    text = backend.render(requests[0].prompt, 1)
    num_text = len(backend.processor.tokenizer(text)["input_ids"]) - 1
    return BatchShape(
        frames=[[-(-len(clip.waveform) // HOP) for clip in request.audio] for request in requests],
        text_tokens=[num_text] * len(requests),
        output_tokens=[NEW_TOKENS] * len(requests),
    )


def work_of(backend, requests, fast):
    return batch_work(backend.model.config, shape_of(backend, requests), 4, fast)


@pytest.mark.parametrize("engine", ["stock", "fast"])
@pytest.mark.parametrize("size", BATCHES)
def test_executed_work_is_what_torch_counts(make_counting, requests_of, size, engine):
    backend, device = make_counting(engine)
    requests = requests_of(BATCHES[size])
    with device.counter:
        stages = backend.generate(requests)[0].timing.stages
    assert len(stages.step_s) == NEW_TOKENS - 1
    counted = {
        "encoder": stages.encoder_s,
        "prefill": stages.prefill_s,
        "decode": sum(stages.step_s),
    }
    # The mel filters are a matrix product too; nothing else is outside the three stages.
    assert stages.feature_s + sum(counted.values()) == device.counter.get_total_flops()
    for stage, figures in work_of(backend, requests, engine == "fast").items():
        assert figures.executed_flops / counted[stage] == pytest.approx(1, abs=0.02), stage
        assert 0 < figures.useful_flops <= figures.executed_flops, stage


def test_a_clip_of_30_s_wastes_nothing_in_the_encoder(backend, requests_of):
    for fast in (False, True):
        encoder = work_of(backend, requests_of([480_000]), fast)["encoder"]
        assert encoder.useful_flops == encoder.executed_flops


def test_bytes_are_those_of_the_models_own_weights(backend, requests_of):
    work = work_of(backend, requests_of([41_234]), fast=False)
    named = dict(backend.model.named_parameters())
    encoder = sum(
        values.numel()
        for name, values in named.items()
        if "audio_tower" in name or "multi_modal_projector" in name
    )
    embedding = backend.model.get_input_embeddings().weight.numel()
    everything = sum(values.numel() for values in named.values())
    assert work["encoder"].num_bytes == 4 * encoder
    assert work["prefill"].num_bytes == 4 * (everything - encoder - embedding)
