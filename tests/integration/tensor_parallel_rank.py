"""One of two ranks: answers clips with each engine; rank 0 prints what it saw as JSON.

Rank 1's head is turned round, so that by itself it would choose other tokens than rank 0. In the
end there is nothing to do, and rank 1 must not load for that.

Each group meets on a port of its own: on a port taken again, a rank can find the store of the group
before and wait for an address that nobody listens to. A command of modeltest forms one group only.
"""

import json
import os
import sys
from pathlib import Path

from modeltest.audio.decode import decode
from modeltest.backends.transformers.backend import TransformersBackend, TransformersSettings
from modeltest.backends.transformers.fast import only
from modeltest.cli.tensor_parallel import dismiss_ranks
from modeltest.devices.cpu import CpuDevice
from modeltest.records import AudioSource, Request
from modeltest.settings.load import load_task
from modeltest.tasks.factory import make_task


class OtherHead(TransformersBackend):
    def load(self):
        super().load()
        self.model.get_output_embeddings().weight.data.neg_()


class NothingToDo(TransformersBackend):
    def load(self):
        raise AssertionError("there is nothing to load for")


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
    told = [""] * len(heard)

    def tell(row, piece):
        told[row] += piece

    requests = [
        Request(name, (clip,), task.prompt(), task.generation()) for name, clip in heard.items()
    ]
    replies = backend.generate(requests, on_text=tell)
    layer = only(backend.model, "Qwen2Model").layers[0]
    return {
        "logits": logits,
        "texts": {reply.sample_id: reply.text for reply in replies},
        "told": dict(zip(heard, told, strict=True)),
        "shapes": {name: list(getattr(layer.self_attn, name).weight.shape)
                   for name in ("q_proj", "k_proj", "o_proj")},
        "facts": dict(backend.facts()),
    }  # fmt: skip


def main(rank, ports, model, clips):
    seen = {}
    for engine, port in zip(("fast", "stock"), ports[:-1], strict=True):
        os.environ["MASTER_PORT"] = port
        settings = TransformersSettings(Path(model), "fp32", "sdpa", engine, tp=2)
        if rank:
            OtherHead(settings, CpuDevice()).follow()
        else:
            backend = TransformersBackend(settings, CpuDevice())
            seen[engine] = answer(backend, [Path(clip) for clip in clips])
            backend.close()
    os.environ["MASTER_PORT"] = ports[-1]
    if rank:
        NothingToDo(settings, CpuDevice()).follow()
    else:
        dismiss_ranks(CpuDevice(), 2)
        print(json.dumps(seen))


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2].split(","), sys.argv[3], sys.argv[4:])
