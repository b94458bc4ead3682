"""Records the embedded model's stages on the CPU in float32: `modeltest parity`'s reference.

The side that is recorded is as plain as can be: transformers' own `generate` on 30 s, one clip
at a time, one thread. Run it after the embedded model or clips were replaced, or the format of
the record changed; with the same torch and transformers on the same kind of processor it writes
the same bytes:

    python tools/make_parity_record.py --output modeltest/assets/parity/qwen2_audio_tiny.safetensors
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

from modeltest.cli.main import main as modeltest

SIDE = (
    "qwen2_audio_tiny", "--device", "cpu", "--dtype", "fp32", "--engine", "stock",
    "--attention", "sdpa", "--bs", "1", "--limit", "12", "--layers", "1",
)  # fmt: skip


def main() -> None:
    """Writes the record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, required=True, metavar="FILE")
    options = parser.parse_args()
    options.output.unlink(missing_ok=True)  # modeltest itself replaces nothing
    torch.set_num_threads(1)  # or the number of cores would decide the order of sums
    sys.exit(modeltest(["parity", *SIDE, "--record", str(options.output)]))


if __name__ == "__main__":
    main()
