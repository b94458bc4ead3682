"""A gate that ran fewer cases than it was asked for has not passed."""

from __future__ import annotations

import argparse


def add_at_least(parser: argparse.ArgumentParser) -> None:
    """`--at-least`: how many cases are enough when the time is over before all have run."""
    parser.add_argument(
        "--at-least", type=int, help="fail with fewer cases of a kind (default: all of them)"
    )


def enough(wanted: int, options: argparse.Namespace) -> int:
    """How many of the wanted cases must run: one at the least."""
    return max(1, wanted if options.at_least is None else min(wanted, options.at_least))


def is_blind(name: str, num_watched: int) -> bool:
    """Whether the witness saw no record acknowledged, so that none could be missed; says so."""
    if num_watched:
        return False
    print(f"{name}: no acknowledged record was watched; run more cases, or mend the witness")
    return True


def short_of(name: str, done: int, least: int, options: argparse.Namespace) -> bool:
    """Whether too few cases ran; says so."""
    if done >= least:
        return False
    print(f"{name}: only {done} of {least} cases in --seconds {options.seconds:g}", flush=True)
    return True
