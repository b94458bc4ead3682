"""Finished accuracy runs on the disk, as `modeltest eval` leaves them, without a model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from modeltest.runlog.digests import digest
from modeltest.runlog.keys import data_sha256, record_row, reply_key
from modeltest.runlog.log_reader import head_record
from modeltest.runlog.manifest import SCHEMA_VERSION, manifest_sha256, write_manifest
from modeltest.runlog.segment import SegmentWriter

LABELS = ("laughter", "cough", "sneeze")
TEMPLATE = "<|audio_bos|><|AUDIO|><|audio_eos|>What sound?"
FILES = {
    "config.json": {"num_bytes": 3, "sha256": "c" * 64},
    "model.safetensors": {"num_bytes": 9, "header_sha256": "a" * 64, "blocks_sha256": "b" * 64},
}
GREEDY = {"do_sample": False, "repetition_penalty": 1.0, "eos_token_id": [1], "pad_token_id": 1}


@dataclass(frozen=True)
class Asked:
    """One sample and what the model said.

    Attributes:
        name: `<speaker>_<n>_<class>`.
        answer: The label in the reply; None is unparsed.
        text: The reply; made of the answer where it is left out.
        error: Why there is no reply.
        logits: Of the options.
    """

    name: str
    answer: str | None
    text: str | None = None
    error: str = ""
    logits: tuple[float, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)


def replies(outcomes: str, speakers: int = 1) -> list[Asked]:
    """Samples whose replies are right (`+`), wrong (`-`), unparsed (`?`) or failed (`!`).

    Args:
        outcomes: A character per sample.
        speakers: Samples of each speaker.
    """
    found = []
    for place, outcome in enumerate(outcomes):
        truth, wrong = LABELS[place % 3], LABELS[(place + 1) % 3]
        found.append(
            Asked(
                name=f"f{place // speakers:04d}_{place}_{truth}",
                answer={"+": truth, "-": wrong}.get(outcome),
                error="boom" if outcome == "!" else "",
            )
        )
    return found


def write_run(
    output_dir: Path,
    asked: Sequence[Asked],
    run_id: str = "174503-0a1b2c",
    change: Callable[[dict[str, Any]], None] = lambda _: None,
    num_logged: int | None = None,
) -> Path:
    """Writes manifest and log of a run.

    Args:
        output_dir: The folder above everything.
        asked: Every sample.
        run_id: Its id.
        change: Alters the manifest before its identity is sealed.
        num_logged: Samples that were evaluated before the run ended; all.

    Returns:
        The run's folder.
    """
    records = [_record(index, each) for index, each in enumerate(asked)]
    manifest = _manifest(run_id, records)
    change(manifest)
    manifest["identity_sha256"] = digest(manifest["identity"])
    folder = output_dir / "2025-03-09" / "modeltest" / "m" / "precision_result" / "runs" / run_id
    write_manifest(folder, manifest)
    with SegmentWriter(folder / "log" / "host-0-1.jsonl") as segment:
        segment.append(head_record(manifest_sha256(folder)))
        for record in records[:num_logged]:
            key = reply_key(record_row(record), manifest["identity_sha256"])
            segment.append({**record, "key": key})
    return folder


def _record(index: int, asked: Asked) -> dict[str, Any]:
    speaker, _, truth = asked.name.split("_")
    right = asked.answer == truth and not asked.error
    text = f"It is a {asked.answer or 'sound'}." if asked.text is None else asked.text
    return {
        "type": "sample",
        "index": index,
        "sample_id": asked.name,
        "truth": truth,
        "metadata": {"speaker": speaker, "gender": "female", **asked.metadata},
        "subsets": [f"class={truth}", "gender=female"],
        "clips": [
            {
                "name": f"clips/{asked.name}.wav", "sha256": digest(asked.name),
                "duration_s": 2.0, "heard_s": 2.0, "note": "",
            }
        ],
        "response": {
            "text": "" if asked.error else text, "input_text": TEMPLATE, "input_tokens": 9,
            "output_tokens": 4, "finish_reason": "stop", "timing": {"e2e_s": 0.3},
            "error": asked.error, "option_logits": list(asked.logits),
        },
        "score": {
            "answer": asked.answer, "correct": right, "legacy_answer": None,
            "legacy_correct": False,
        },
    }  # fmt: skip


def _manifest(run_id: str, records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    data = {
        "num_samples": len(records), "num_available": len(records), "warnings": [],
        "sha256": data_sha256(b"".join(map(record_row, records))),
    }  # fmt: skip
    settings = {
        "kind": "multiple_choice", "version": "1.0", "prompt": "What sound?",
        "prompt_format": "raw", "raw_prompt": "{audio}{prompt}", "answer": "letter_or_name",
        "choices": [{"letter": "ABC"[i], "label": label} for i, label in enumerate(LABELS)],
        "metrics": ["acc", "acc_legacy"], "slices": {"by": ["gender"]},
    }  # fmt: skip
    return {
        "schema_version": SCHEMA_VERSION,
        "command": "eval",
        "started": "2025-03-09T17:45:03+08:00",
        "place": {
            "date": "2025-03-09", "run_id": run_id, "model": "m", "task": "t",
            "backend": "transformers", "device_label": "NPU", "dtype": "bf16",
            "batch_size": 8, "tp": 1,
        },
        "task": {"name": "t", "overrides": [], "settings": settings},
        "model": {"name": "m", "overrides": [], "settings": {"attention": "sdpa"}},
        "labels": list(LABELS),
        "identity": {
            "backend": {
                "name": "transformers", "model": {"files": dict(FILES), "sha256": "f" * 64},
                "generation": dict(GREEDY), "dtype": "bf16", "attention": "sdpa",
                "engine": "fast", "padding_side": "left",
            },
            "prompt": TEMPLATE, "max_new_tokens": 65, "stop_pattern": "", "long_audio": "error",
            "audio_rule": "float32", "seed": 0,
        },
        "prompt": {"format": "raw", "rendered": TEMPLATE},
        "data": data,
        "device": {"kind": "npu", "name": "Ascend 910B4"},
        "seed": 0,
        "limit": None,
        "dp": 1,
        "packages": {"torch": "2.6.0", "transformers": "4.46.2"},
        "tool": {"version": "0.1.0", "commit": None, "dirty": None},
    }  # fmt: skip


def as_service(manifest: dict[str, Any]) -> None:
    """Makes a manifest that of the same task asked of a service."""
    manifest["identity"]["backend"] = {
        "name": "openai", "service": "vllm", "base_url": "http://127.0.0.1:8000",
        "route": "/v1/chat/completions", "model": {"name": "m"}, "version": "0.9",
        "generation": {"temperature": 0, "repetition_penalty": 1.0, "seed": 0},
        "audio": {"part": "audio_url", "format": "wav pcm16", "sampling_rate_hz": 16_000},
    }  # fmt: skip
    manifest["place"].update(backend="openai", dtype="served", device_label="SERVICE")
    manifest["prompt"]["rendered"] = "{audio}What sound?"
    manifest["device"] = {"kind": "service", "name": "http://127.0.0.1:8000"}
