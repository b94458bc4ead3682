"""Whether an accelerator still computes."""

from __future__ import annotations


def computes(torch_name: str) -> bool:
    """Adds two numbers on a device and reads the sum back."""
    import torch

    try:
        return float((torch.ones(1, device=torch_name) + 1).item()) == 2.0
    except RuntimeError:
        return False
