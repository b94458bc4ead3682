"""Scores the tiny model on vocalsound_mini through the stock processor and `generate`.

Runs with transformers 4.46.2 and with 5.x:

    python tools/tiny_eval.py --model MODEL_FOLDER --data modeltest/assets/vocalsound_mini
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import soundfile
import torch
import transformers
from numpy.typing import NDArray
from tiny_text import ANSWERS, PROMPTS
from transformers import AutoProcessor, Qwen2AudioForConditionalGeneration

_BATCH = 8
_OLD = int(transformers.__version__.split(".")[0]) < 5


def load_clips(folder: Path) -> list[tuple[str, NDArray[np.float32]]]:
    """Returns (answer, samples) of every clip in the data set's list."""
    with (folder / "class_labels_indices_vs.csv").open(encoding="utf-8") as file:
        answers = dict(
            zip((row["mid"] for row in csv.DictReader(file)), ANSWERS.values(), strict=True)
        )
    listed = json.loads((folder / "datafiles" / "te.json").read_text("utf-8"))["data"]
    return [
        (answers[item["labels"]], soundfile.read(folder / item["wav"], dtype="float32")[0])
        for item in listed
    ]


@torch.no_grad()
def replies(
    model_folder: Path, prompt: str, clips: list[NDArray[np.float32]], batch: int = _BATCH
) -> list[str]:
    """Returns the greedy reply to one prompt for each clip."""
    processor = AutoProcessor.from_pretrained(model_folder, local_files_only=True)
    processor.tokenizer.padding_side = "left"
    model = Qwen2AudioForConditionalGeneration.from_pretrained(
        model_folder, local_files_only=True, torch_dtype=torch.float32
    ).eval()
    out = []
    for start in range(0, len(clips), batch):
        some = clips[start : start + batch]
        audio = {"audios" if _OLD else "audio": some}
        inputs = processor(
            text=[prompt] * len(some),
            **audio,
            sampling_rate=16_000,
            return_tensors="pt",
            padding=True,
        )
        ids = model.generate(
            **inputs,
            do_sample=False,
            repetition_penalty=1.0,
            temperature=None,
            top_k=None,
            top_p=None,
            max_new_tokens=16,
        )
        new = ids[:, inputs["input_ids"].shape[1] :]
        out += [
            text.strip()
            for text in processor.batch_decode(
                new, skip_special_tokens=True, clean_up_tokenization_spaces=False
            )
        ]
    return out


def evaluate(model_folder: Path, data_folder: Path) -> dict[str, dict[str, float]]:
    """Returns, for each prompt form, accuracy in % overall, by class and with zeroed audio."""
    clips = load_clips(data_folder)
    expected = [answer for answer, _ in clips]
    audio = [samples for _, samples in clips]
    results = {}
    for form, prompt in PROMPTS.items():
        answers = replies(model_folder, prompt(), audio)
        right = Counter(want for want, got in zip(expected, answers, strict=True) if want == got)
        totals = Counter(expected)
        scores = {name: 100.0 * right[name] / totals[name] for name in ANSWERS.values()}
        scores["all"] = 100.0 * right.total() / len(expected)
        silent = replies(model_folder, prompt(), [np.zeros_like(samples) for samples in audio])
        hits = sum(want == got for want, got in zip(expected, silent, strict=True))
        scores["zeroed audio"] = 100.0 * hits / len(expected)
        scores["not an option"] = 100.0 * sum(got not in totals for got in answers) / len(expected)
        results[form] = scores
    return results


def table(results: dict[str, dict[str, float]]) -> str:
    """Returns the results as a Markdown table."""
    forms = list(results)
    lines = [f"| {transformers.__version__} | {' | '.join(forms)} |", "| --- |" + " ---: |" * 2]
    lines += [
        f"| {name} | " + " | ".join(f"{results[form][name]:.1f}" for form in forms) + " |"
        for name in results[forms[0]]
    ]
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """Runs the tool; returns the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--model", type=Path, required=True, metavar="DIR", help="model folder")
    parser.add_argument(
        "--data",
        type=Path,
        required=True,
        metavar="DIR",
        help="data set folder in VocalSound's layout",
    )
    options = parser.parse_args(arguments)
    for path in (options.model / "config.json", options.data / "datafiles" / "te.json"):
        if not path.is_file():
            print(f"tiny_eval: {path} is missing", file=sys.stderr)
            return 2
    torch.set_num_threads(2)
    print(table(evaluate(options.model, options.data)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
