"""A gate that ran fewer cases than it was asked for has not passed."""

from __future__ import annotations

import argparse


def add_at_least(parser: argparse.ArgumentParser) -> None:
    """`--at-least`: how many cases are enough when the time is over before all have run."""
    parser.add_argument(
        "--at-least", type=int, help="fail with fewer cases of a kind (default: all of them)"
    )


def enough(wanted: int, options: argparse.Namespace) -> int:
    """How many of the wanted cases must run."""
    return wanted if options.at_least is None else min(wanted, options.at_least)


def short_of(name: str, done: int, least: int, options: argparse.Namespace) -> bool:
    """Whether too few cases ran; says so."""
    if done >= least:
        return False
    print(f"{name}: only {done} of {least} cases in --seconds {options.seconds:g}", flush=True)
    return True
