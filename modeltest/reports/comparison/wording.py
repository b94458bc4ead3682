"""What a comparison of two accuracy runs says, in sentences.

Whatever is not significant is never called equal: an interval that holds 0 holds other values, too.
"""

from __future__ import annotations

from collections.abc import Mapping

from modeltest.reports.comparison.accuracy import AccuracyComparison
from modeltest.reports.page.texts import make_texts

Sentence = tuple[str, Mapping[str, str]]
"""A text of the pages as its key and its values, so that it can be said in both languages."""


def reason(comparison: AccuracyComparison) -> str:
    """What the verdict says, in one sentence."""
    if comparison.withheld:
        return f"{english('compare.withheld')}: {'; '.join(comparison.withheld)}"
    key, values = outcome_sentence(comparison)
    return english(key, **values)


def outcome_sentence(comparison: AccuracyComparison) -> Sentence:
    """What the outcome says; not of a verdict that is withheld."""
    margin = number(comparison.margin)
    plural = ".one" if margin == "1" else ""
    return f"compare.outcome.{comparison.outcome}{plural}", {"margin": margin}


def difference(comparison: AccuracyComparison) -> str:
    """The difference with its interval."""
    interval = comparison.overall.interval
    return (
        f"B - A: {signed(comparison.overall.difference)} points, 95 % interval "
        f"{signed(interval.low)} to {signed(interval.high)} ({interval.method})"
    )


def significance(comparison: AccuracyComparison) -> str:
    """What the interval says of a difference, whatever the margin."""
    return english(significance_key(comparison))


def significance_key(comparison: AccuracyComparison) -> str:
    """The key of the text that `significance` is."""
    interval = comparison.overall.interval
    if interval.low > 0:
        found = "more"
    elif interval.high < 0:
        found = "less_within" if comparison.outcome == "PASS" else "less"
    else:
        found = "none"
    return f"compare.significance.{found}"


def needed(comparison: AccuracyComparison) -> str:
    """How many samples would decide, at both powers."""
    powers = " or ".join(f"{100 * each.power:.0f} %" for each in comparison.needed)
    equal = " or ".join(f"{each.if_equal:,}" for each in comparison.needed)
    seen = [each.if_as_seen for each in comparison.needed]
    as_seen = " or ".join(f"{each:,}" for each in seen if each is not None)
    return (
        f"samples for a verdict with {powers} certainty: {equal} if B is as accurate as A, "
        f"{as_seen or 'no number of them'} if the difference seen is the true one; both if as many "
        f"flip as here ({100 * comparison.discordance:.3g} %, design effect "
        f"{comparison.design_effect:.2f})"
    )


def points(share: float) -> str:
    """A share as percentage points: `1 point`, `0.5 points`."""
    text = number(share)
    return f"{text} point{'' if text == '1' else 's'}"


def number(share: float) -> str:
    """A share in percent, with four digits at most."""
    return f"{100 * share:.4g}"


def signed(share: float) -> str:
    """A difference in percentage points, with its sign."""
    return f"{100 * share:+.2f}"


def p_text(p_value: float) -> str:
    """A p-value that is never shown as 0."""
    return "p < 0.0001" if p_value < 0.0001 else f"p = {p_value:.2g}"


def english(key: str, **values: str) -> str:
    """A text of the pages as the terminal shows it."""
    return make_texts("en").word(key, **values)
