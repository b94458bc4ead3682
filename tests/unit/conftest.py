"""What tests of several parts need."""

from typing import Any

import pytest


@pytest.fixture
def perf_manifest() -> dict[str, Any]:
    """The manifest of a sweep of two batch sizes in both modes."""
    return {
        "schema_version": 2,
        "command": "perf",
        "started": "2025-03-09T17:45:03+08:00",
        "place": {"run_id": "174503-0a1b2c"},
        "model": {"name": "m", "overrides": []},
        "task": None,
        "identity": {},
        "identity_sha256": "",
        "prompt": {"rendered": "?"},
        "clips": [{"name": "c.flac", "sha256": "ab", "duration_s": 1.5}],
        "sweep": {
            "batch_sizes": [2, 1], "modes": ["fixed", "natural"], "max_new_tokens": 8,
            "num_passes": 3, "min_repeats": 5, "min_seconds": 1, "isolate": False,
            "clip_source": "task median",
        },
        "certified": False,
        "data": {"num_samples": 1, "num_available": 1, "warnings": [], "sha256": ""},
        "device": {"kind": "cpu", "name": "a device"},
        "dtype": "bf16",
        "engine": "fast",
        "attention": "sdpa",
        "tool": {"version": "0.1.0", "commit": None, "dirty": None},
    }  # fmt: skip
