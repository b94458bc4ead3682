"""One of two ranks: answers clips with each engine; rank 0 prints what it saw as JSON.

Rank 1's head is turned round, so that by itself it would choose other tokens than rank 0.
"""

import json
import sys
from pathlib import Path

from modeltest.audio.decode import decode
from modeltest.backends.transformers.backend import TransformersBackend, TransformersSettings
from modeltest.backends.transformers.fast import only
from modeltest.devices.cpu import CpuDevice
from modeltest.records import AudioSource, Request
from modeltest.settings.load import load_task
from modeltest.tasks.factory import make_task


class OtherHead(TransformersBackend):
    def load(self):
        super().load()
        self.model.get_output_embeddings().weight.data.neg_()


def answer(backend, clips):
    backend.load()
    engine, logits = backend._engine, []
    generate = engine.generate

    def kept(*arguments):
        rows = generate(*arguments)
        logits.extend(rows.first_logits.tolist())
        return rows

    engine.generate = kept
    loaded = load_task("vocalsound_mini")
    task = make_task(loaded.name, loaded.settings)
    heard = {clip.stem: decode(AudioSource(clip.name, path=clip), 16_000) for clip in clips}
    replies = backend.generate(
        [Request(name, (clip,), task.prompt(), task.generation()) for name, clip in heard.items()]
    )
    layer = only(backend.model, "Qwen2Model").layers[0]
    return {
        "logits": logits,
        "texts": {reply.sample_id: reply.text for reply in replies},
        "shapes": {name: list(getattr(layer.self_attn, name).weight.shape)
                   for name in ("q_proj", "k_proj", "o_proj")},
        "facts": dict(backend.facts()),
    }  # fmt: skip


def main(rank, model, clips):
    seen = {}
    for engine in ("fast", "stock"):
        settings = TransformersSettings(Path(model), "fp32", "sdpa", engine, tp=2)
        if rank:
            OtherHead(settings, CpuDevice()).follow()
        else:
            backend = TransformersBackend(settings, CpuDevice())
            seen[engine] = answer(backend, [Path(clip) for clip in clips])
            backend.close()
    if not rank:
        print(json.dumps(seen))


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3:])
