"""Two sides of the embedded model: the same where they should be, and each fault at its place.

Faults are planted into a loaded model or into the host's part of its batches; the verdict has
to name the stage, and no other, that was tampered with.
"""

import gc
import json
import weakref
from dataclasses import replace

import pandas
import pytest
import torch
from served_model import served_model

from modeltest.backends.transformers import backend as backend_module
from modeltest.backends.transformers.backend import TransformersBackend, TransformersSettings
from modeltest.backends.transformers.fast import only
from modeltest.backends.transformers.probes import probe
from modeltest.cli.main import main
from modeltest.devices.cpu import CpuDevice
from modeltest.metrics.parity.comparison import compare
from modeltest.runner.parity.probe_set import ask_about, find_all, spread_over_classes
from modeltest.runner.parity.sides import Side, observe
from modeltest.settings.load import load_task
from modeltest.tasks.factory import make_task

LAYERS = 4  # of the embedded model's encoder, and of its language model


class Silent:
    """Nobody watches."""

    def start(self, total, label):
        self.left = total

    def advance(self, steps):
        self.left -= steps

    def finish(self):
        pass


@pytest.fixture(scope="module")
def side(tiny_model):
    """A side of the embedded model, with a fault if one is given."""

    def make(plant=None, name="B", dtype="fp32", bs=6, engine="fast", attention="sdpa"):
        def make_backend():
            settings = TransformersSettings(tiny_model, dtype, attention, engine)
            made = TransformersBackend(settings, CpuDevice())
            load = made.load

            def load_and_plant():
                load()
                if plant:
                    with torch.no_grad():
                        plant(made)

            made.load = load_and_plant
            return made

        return Side(name, make_backend, CpuDevice(), dtype, bs, name)

    return make


@pytest.fixture(scope="module")
def probes(side):
    task = load_task("vocalsound_mini")
    asked = make_task(task.name, task.settings)
    samples = spread_over_classes(find_all(task), 6)
    return ask_about(task, asked, samples, side().make(), Silent())


@pytest.fixture(scope="module")
def reference(side, probes):
    """Transformers' own path, one clip at a time."""
    plain = side(name="A", engine="stock", bs=1)
    return observe(plain, probes, probes.shortest(2), None, Silent())


@pytest.fixture(scope="module")
def against_reference(reference, probes):
    def run(tested):
        layers = frozenset(reference.given)
        seen = observe(tested, probes, layers, reference.given, Silent())
        return compare(reference.trace, seen.trace)

    return run


def encoder(backend):
    return only(backend.model, "Qwen2AudioEncoder")


def body(backend):
    return only(backend.model, "Qwen2Model")


def mel_scale(backend):
    backend._engine._builder._log_mel._filters *= 1.01


def convolution(backend):
    encoder(backend).conv2.weight *= 1.01


def encoder_layer(number):
    def plant(backend):
        encoder(backend).layers[number].fc2.weight *= 1.02

    return plant


def pooled_norm(backend):
    encoder(backend).layer_norm.weight *= 1.001


def projector(backend):
    only(backend.model, "Qwen2AudioMultiModalProjector").linear.weight *= 1.001


def token_embedding(backend):
    backend.model.get_input_embeddings().weight *= 1.001


def decoder_layer(number):
    def plant(backend):
        body(backend).layers[number].mlp.down_proj.weight *= 1.02

    return plant


def last_norm(backend):
    body(backend).norm.weight *= 1.001


def tokenizer(backend):
    """Two tokens in each other's place, as another merge table would have it."""
    builder = backend._engine._builder
    tokenize = builder._tokenize

    def swapped(text):
        *ids, first, second = tokenize(text)
        return (*ids, second, first)

    builder._token_ids = swapped


def pad_on_the_right(backend):
    builder = backend._engine._builder
    build = builder.build

    def turned(texts, requests):
        batch = build(texts, requests)

        def turn(rows):
            shifts = (batch.attention_mask == 0).sum(-1).tolist()
            turned = [row.roll(-by) for row, by in zip(rows, shifts, strict=True)]
            return torch.stack(turned)

        return replace(
            batch,
            input_ids=turn(batch.input_ids),
            attention_mask=turn(batch.attention_mask),
            is_audio=turn(batch.is_audio),
        )

    builder.build = turned


def later_tokens(backend):
    """What only the passes behind the first token do wrong."""

    def hook(_module, args, kwargs):
        return ((args[0] * -1, *args[1:]), kwargs) if args[0].shape[1] == 1 else None

    body(backend).layers[1].register_forward_pre_hook(hook, with_kwargs=True)


FAULTS = {
    "log_mel": mel_scale,
    "encoder.input": convolution,
    **{f"encoder.layer.{i}": encoder_layer(i) for i in range(LAYERS)},
    "encoder.output": pooled_norm,
    "projector": projector,
    "lm.input": token_embedding,
    **{f"lm.layer.{i}": decoder_layer(i) for i in range(LAYERS)},
    "logits": last_norm,
}


@pytest.mark.parametrize("stage", FAULTS)
def test_a_fault_is_localised_to_its_stage(side, against_reference, stage):
    found = against_reference(side(FAULTS[stage]))
    assert found.outcome == "FAIL"
    assert found.begins_in.name == stage
    # Nothing comes before the features that could be given to them.
    alone = [] if stage == "log_mel" else [stage]
    assert [each.name for each in found.at_fault] == alone


@pytest.mark.parametrize(
    ("fault", "stage"),
    [(tokenizer, "tokens"), (pad_on_the_right, "tokens"), (later_tokens, "text")],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_faults_of_no_tensor(side, against_reference, fault, stage):
    found = against_reference(side(fault))
    assert found.outcome == "FAIL"
    assert found.begins_in.name == stage
    assert found.begins_in.num_differing > 0


def test_right_padding_passes_where_nothing_is_padded(side, against_reference):
    assert against_reference(side(pad_on_the_right, bs=1)).outcome == "PASS"


def test_several_faults_are_told_apart(side, against_reference):
    def both(backend):
        encoder_layer(1)(backend)
        decoder_layer(2)(backend)

    found = against_reference(side(both))
    assert found.begins_in.name == "encoder.layer.1"
    assert [stage.name for stage in found.at_fault] == ["encoder.layer.1", "lm.layer.2"]


@pytest.mark.parametrize("dtype", ["bf16", "fp16"])
def test_a_fault_in_low_precision(side, against_reference, dtype):
    def deaf_head(backend):
        body(backend).layers[1].self_attn.o_proj.weight[:, :48] = 0

    found = against_reference(side(deaf_head, dtype=dtype))
    assert [stage.name for stage in found.at_fault] == ["lm.layer.1"]
    assert found.begins_in.name == "lm.layer.1"


def test_logits_that_are_not_numbers(side, against_reference):
    def overflow(backend):
        body(backend).layers[3].mlp.down_proj.weight[0] = float("nan")

    found = against_reference(side(overflow))
    assert found.outcome == "FAIL"
    assert found.begins_in.name == "lm.layer.3"
    assert {name for _, name, _ in found.failed} == {"B"}


@pytest.mark.parametrize(
    "other",
    [
        {"bs": 8},
        {"bs": 1},
        {"engine": "stock", "bs": 4},
        {"attention": "eager", "bs": 3},
        {"dtype": "bf16"},
        {"dtype": "fp16"},
        {"dtype": "bf16", "engine": "stock", "bs": 4},
    ],
    ids=lambda other: "-".join(map(str, other.values())),
)
def test_sound_sides_pass(side, against_reference, other):
    found = against_reference(side(**other))
    assert found.outcome == "PASS"
    assert {stage.name for stage in found.stages} == {"tokens", *FAULTS, "text"}
    assert all(stage.num_samples for stage in found.stages)
    with_inputs = [stage.name for stage in found.stages if stage.alone]
    assert with_inputs == [name for name in FAULTS if name != "log_mel"]


def test_stages_are_transformers_own_hidden_states(side, reference, probes, tiny_model):
    """Against what transformers itself hands out when asked for hidden states."""
    backend = side(engine="stock", bs=1).make()
    backend.load()
    request = next(r for r in probes.requests if r.sample_id in reference.given)
    [seen] = probe(backend, [request], {request.sample_id})
    tensors = backend.input_tensors(backend.prepare([request]))
    with torch.inference_mode():
        whole = backend.model(**tensors, output_hidden_states=True)
        positions = (int(tensors["feature_attention_mask"].sum()) - 1) // 2 + 1
        mask = torch.zeros(1, 1, 1500, 1500)
        mask[..., positions:] = float("-inf")
        heard = encoder(backend)(tensors["input_features"], attention_mask=mask)[0]
    length = len(seen.input_ids)
    # The last one is behind the final norm.
    for name, hidden in zip(
        ["lm.input", *(f"lm.layer.{i}" for i in range(LAYERS - 1))],
        whole.hidden_states[:-1],
        strict=True,
    ):
        assert torch.equal(torch.from_numpy(seen.stages[name]), hidden[0, -length:]), name
    logits = torch.from_numpy(seen.stages["logits"])
    torch.testing.assert_close(logits, whole.logits[:, -1].float(), rtol=0, atol=1e-5)
    features = torch.from_numpy(seen.stages["log_mel"])
    assert torch.equal(features, tensors["input_features"][0, :, : len(features)].T)
    assert len(seen.stages["encoder.input"]) == positions
    encoded = torch.from_numpy(seen.stages["encoder.output"])
    assert len(encoded) == (positions - 2) // 2 + 1
    torch.testing.assert_close(encoded, heard[0, : len(encoded)], rtol=0, atol=1e-5)
    best = logits[0].topk(2).values
    assert seen.margins[0] == pytest.approx(float(best[0] - best[1]))
    assert len(seen.margins) == seen.response.output_tokens


def test_given_values_reach_the_next_stage(side, reference, probes):
    """Of halved inputs a linear stage makes half, but for its bias."""
    backend = side().make()
    backend.load()
    request = next(r for r in probes.requests if r.sample_id in reference.given)
    [free] = probe(backend, [request], {request.sample_id})
    halved = {"encoder.output": free.stages["encoder.output"] / 2}
    whole = {request.sample_id}
    [forced] = probe(backend, [request], whole, {request.sample_id: halved})
    linear = only(backend.model, "Qwen2AudioMultiModalProjector").linear
    expected = torch.nn.functional.linear(
        torch.from_numpy(halved["encoder.output"]), linear.weight, linear.bias
    )
    found = torch.from_numpy(forced.stages["projector"])
    torch.testing.assert_close(found, expected.detach(), rtol=0, atol=1e-5)
    assert forced.response.output_tokens == 1


def test_hooks_and_the_first_side_are_gone(side, probes):
    """Two models that fill a card each cannot be there at a time."""
    kept = []

    def remember(backend):
        kept.append(weakref.ref(backend.model))

    observe(side(remember), probes, frozenset(), {}, Silent())
    gc.collect()
    assert kept[0]() is None


@pytest.fixture
def parity(tmp_path, monkeypatch, capsys):
    """The command, its exit code and first line, and the tables that it wrote."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NO_COLOR", "1")

    def run(*words):
        code = main(["parity", *words])
        said = capsys.readouterr()
        folders = sorted(tmp_path.glob("outputs/*/modeltest/*/parity_result/*"))
        return code, said.out.splitlines() or said.err.splitlines(), folders

    return run


def test_the_embedded_model_against_its_shipped_record(parity, tmp_path):
    code, lines, [folder] = parity("qwen2_audio_tiny", "--device", "cpu")
    assert code == 0
    assert lines[0] == "PASS: 12 samples, all 16 stages within their tolerances"
    stages = pandas.read_csv(folder / "parity.csv", index_col="stage")
    assert list(stages.index) == ["tokens", *FAULTS, "text"]
    assert stages["within"].all()
    assert (stages["verdict"] == "PASS").all()
    assert (stages["relative"].dropna() <= 1e-4).all()
    samples = pandas.read_csv(folder / "parity_samples.csv", index_col="sample_id")
    assert len(samples) == 12
    assert samples["same_text"].all()
    assert (samples["kl_vocabulary_nats"] < 1e-9).all()
    facts = json.loads((folder / "parity.json").read_text())
    assert facts["verdict"] == "PASS"
    assert facts["drift_begins_in"] is None
    [line] = pandas.read_csv(tmp_path / "outputs/index.csv").to_dict("records")
    assert (line["command"], line["validity"], line["value"]) == ("parity", "PASS", 0)
    assert (tmp_path / "outputs" / line["path"]) == folder


def test_the_command_names_the_stage_and_fails(parity, monkeypatch):
    load = backend_module.load_model

    def broken(*arguments):
        model = load(*arguments)
        with torch.no_grad():
            only(model, "Qwen2AudioMultiModalProjector").linear.bias += 0.01
        return model

    monkeypatch.setattr(backend_module, "load_model", broken)
    code, lines, [folder] = parity("qwen2_audio_tiny", "--device", "cpu", "--bs", "4")
    assert code == 3
    assert lines[0].startswith("FAIL: drift begins in projector: relative difference ")
    stages = pandas.read_csv(folder / "parity.csv", index_col="stage")
    assert list(stages.index[stages["begins_here"]]) == ["projector"]
    assert list(stages.index[stages["alone_relative"] > stages["alone_tolerance"]]) == ["projector"]


def test_batch_invariance_and_a_record_of_ones_own(parity, tmp_path):
    few = ["qwen2_audio_tiny", "--device", "cpu", "--dtype", "fp32", "--limit", "6"]
    code, lines, folders = parity(*few, "--batch-invariance", "1,8")
    assert (code, len(folders)) == (0, 1)
    assert lines[0].startswith("PASS: 6 samples")
    file = str(tmp_path / "mine.safetensors")
    code, lines, folders = parity(*few, "--bs", "2", "--record", file)
    assert (code, len(folders)) == (0, 1)  # nothing was compared
    code, lines, folders = parity(*few[:-2], "--reference", file)
    assert (code, len(folders)) == (0, 2)
    assert lines[0].startswith("PASS: 6 samples")


def test_a_service_shows_text_alone(parity, tmp_path, project):
    with served_model(project, "qwen2_audio_tiny") as server:
        served = {
            "backend": "openai", "service": "vllm", "base_url": server.url,
            "model": "qwen2_audio_tiny",
        }  # fmt: skip
        (tmp_path / "served.yaml").write_text(json.dumps(served))
        in_process = "model=qwen2_audio_tiny,device=cpu,bs=1"
        code, lines, [folder] = parity("served.yaml", "--reference", in_process, "--limit", "6")
    assert code == 0
    assert lines[0] == (
        "PASS: 6 samples, tokens and text alone were compared: a service shows no other stage"
    )
    samples = pandas.read_csv(folder / "parity_samples.csv")
    assert samples["same_text"].all()
    assert (samples["input_tokens_a"] == samples["input_tokens_b"]).all()
