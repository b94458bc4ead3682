"""A finished run written down by hand: six samples, three classes, two speakers.

Right by our rule: 0, 1, 5. Right by the original rule: 0, 3. Unparsed: 3. Failed: 4.
"""

from collections.abc import Callable
from typing import Any

import pytest

from modeltest.runlog.run_log import RunContent

RUN_ID = "174503-0a1b2c"


def _clip(name, heard_s) -> dict[str, Any]:
    return {"name": f"clips/{name}.flac", "duration_s": 2.0, "heard_s": heard_s, "note": ""}


def _sample(index, name, answer, legacy, text, error="") -> dict[str, Any]:
    speaker, _, truth = name.split("_")
    done = not error
    return {
        "type": "sample",
        "index": index,
        "key": f"key{index}",
        "sample_id": name,
        "truth": truth,
        "metadata": {"speaker": speaker},
        "subsets": [f"class={truth}", "gender=female" if speaker == "f1" else "gender=male"],
        "clips": [
            {
                "name": f"clips/{name}.flac",
                "duration_s": 2.0,
                "heard_s": 2.0 if done else 0.0,
                "note": "",
            }
        ],
        "response": {
            "sample_id": name,
            "text": text,
            "input_text": "<|AUDIO|>What sound?" if done else "",
            "input_tokens": 90 + index if done else None,
            "output_tokens": 4 if done else None,
            "finish_reason": "stop" if done else "",
            "timing": {"e2e_s": 0.1 + 0.2} if done else None,
            "error": error,
        },
        "score": {
            "answer": answer,
            "correct": answer == truth,
            "legacy_answer": legacy,
            "legacy_correct": legacy == truth,
        },
    }


def _samples() -> list[dict[str, Any]]:
    return [
        _sample(0, "f1_0_cough", "cough", "cough", "C: Cough"),
        _sample(1, "f1_0_laughter", "laughter", None, "Laughter, I think"),
        _sample(2, "m2_0_cough", "sneeze", "sneeze", 'E: "Sneeze"'),
        _sample(3, "m2_0_laughter", None, "laughter", "A person\nor A: two"),
        _sample(4, "m2_0_sneeze", None, None, "", error="ValueError: boom"),
        _sample(5, "f1_0_sneeze", "sneeze", None, "打喷嚏"),
    ]


def _manifest() -> dict[str, Any]:
    return {
        "schema_version": 1,
        "command": "eval",
        "place": {
            "date": "2025-03-09", "run_id": RUN_ID, "model": "m", "task": "t",
            "backend": "transformers", "device_label": "NPU", "dtype": "bf16",
            "batch_size": 8, "tp": 1,
        },
        "task": {
            "name": "t",
            "overrides": [],
            "settings": {
                "version": "1.0", "metrics": ["acc", "acc_legacy"], "slices": {"by": ["gender"]},
            },
        },
        "model": {"name": "m", "overrides": [], "settings": {"attention": "sdpa"}},
        "labels": ["laughter", "cough", "sneeze"],
        "prompt": {"format": "raw", "rendered": "<|AUDIO|>What sound?"},
        "identity_sha256": "",
        "data": {"num_samples": 6, "num_available": 6, "warnings": [], "sha256": ""},
        "device": {"kind": "npu", "name": "Ascend 910B4"},
        "dp": 1,
        "started": "2025-03-09T17:45:03+08:00",
        "packages": {"torch": "2.6.0", "transformers": "4.46.2"},
        "tool": {"version": "0.1.0", "commit": None, "dirty": None},
    }  # fmt: skip


@pytest.fixture
def make_run(tmp_path) -> Callable[..., RunContent]:
    """The run, after `change(manifest, samples)`."""

    def make(change: Callable[[dict, list], None] = lambda _manifest, _samples: None):
        manifest, samples = _manifest(), _samples()
        change(manifest, samples)
        phases = (
            {"type": "phase", "name": "load", "seconds": 2.5},
            {"type": "phase", "name": "warm_up", "seconds": 9.0},
            {"type": "phase", "name": "eval", "seconds": 3.0, "num_samples": 4},
            {"type": "phase", "name": "eval", "seconds": 1.0, "num_samples": 2},
        )
        root = tmp_path / "out" / "2025-03-09" / "modeltest" / "m" / "precision_result"
        return RunContent(root / "runs" / RUN_ID, manifest, tuple(samples), phases)

    return make


@pytest.fixture
def run(make_run) -> RunContent:
    return make_run()
