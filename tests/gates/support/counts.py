"""A gate that ran fewer cases than it was asked for has not passed."""

from __future__ import annotations

import argparse


def add_at_least(parser: argparse.ArgumentParser) -> None:
    """`--at-least`: how many cases are enough when the time is over before all have run."""
    parser.add_argument(
        "--at-least", type=int, help="fail with fewer cases of a kind (default: all of them)"
    )


def short_of(name: str, done: int, wanted: int, options: argparse.Namespace) -> bool:
    """Whether too few cases ran; says so."""
    enough = wanted if options.at_least is None else min(wanted, options.at_least)
    if done >= enough:
        return False
    print(f"{name}: only {done} of {enough} cases in --seconds {options.seconds:g}", flush=True)
    return True
