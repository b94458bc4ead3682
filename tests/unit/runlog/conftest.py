"""Records and a manifest with every part that the reports read."""

from collections.abc import Callable
from typing import Any

import pytest


def _sample(index: int, text: str = "C", key: str | None = None) -> dict[str, Any]:
    return {
        "type": "sample",
        "index": index,
        "key": key or f"key{index}",
        "sample_id": f"id{index}",
        "truth": "cough",
        "metadata": {"gender": "female"},
        "subsets": ["class=cough"],
        "clips": [
            {"name": "a.flac", "sha256": "ab", "duration_s": 1, "heard_s": 1.0, "note": ""},
        ],
        "response": {
            "text": text, "input_text": "?", "input_tokens": 3, "output_tokens": None,
            "finish_reason": "stop", "timing": {"e2e_s": 0.5}, "error": "",
        },
        "score": {
            "answer": "cough", "correct": True, "legacy_answer": None, "legacy_correct": False,
        },
    }  # fmt: skip


@pytest.fixture
def sample() -> Callable[..., dict[str, Any]]:
    """`sample(index, text, key)` makes a whole record."""
    return _sample


@pytest.fixture
def eval_manifest() -> dict[str, Any]:
    """The manifest of an accuracy run; without an identity, so that any key is its own."""
    return {
        "schema_version": 2,
        "command": "eval",
        "started": "2025-03-09T17:45:03+08:00",
        "place": {"run_id": "174503-0a1b2c"},
        "task": {
            "name": "t",
            "overrides": [],
            "settings": {"version": "1", "metrics": ["acc"], "slices": {"by": []}},
        },
        "model": {"name": "m", "overrides": [], "settings": {"attention": "sdpa"}},
        "labels": ["cough"],
        "prompt": {"rendered": "?"},
        "identity_sha256": "",
        "data": {"num_samples": 1000, "num_available": 1000, "warnings": [], "sha256": ""},
        "device": {"name": "a device"},
        "packages": {"torch": None, "transformers": None},
        "tool": {"version": "0.1.0", "commit": None, "dirty": None},
        "dp": 1,
    }
