"""What a comparison of two accuracy runs says, in sentences.

Whatever is not significant is never called equal: an interval that holds 0 holds other values, too.
"""

from __future__ import annotations

from modeltest.reports.comparison.accuracy import AccuracyComparison


def reason(comparison: AccuracyComparison) -> str:
    """What the verdict says, in one sentence."""
    if comparison.withheld:
        return f"no verdict: {'; '.join(comparison.withheld)}"
    more = f"more than {points(comparison.margin)} less accurate than A"
    return {
        "PASS": f"B is not {more}",
        "FAIL": f"B is {more}",
        "INCONCLUSIVE": f"these samples do not tell whether B is {more}",
    }[comparison.outcome]


def difference(comparison: AccuracyComparison) -> str:
    """The difference with its interval."""
    interval = comparison.overall.interval
    return (
        f"B - A: {signed(comparison.overall.difference)} points, 95 % interval "
        f"{signed(interval.low)} to {signed(interval.high)} ({interval.method})"
    )


def significance(comparison: AccuracyComparison) -> str:
    """What the interval says of a difference, whatever the margin."""
    interval = comparison.overall.interval
    if interval.low > 0:
        return "B is more accurate than A: the interval is above 0"
    if interval.high < 0:
        less = ", by less than the margin" if comparison.outcome == "PASS" else ""
        return f"B is less accurate than A{less}: the interval is below 0"
    return (
        "no difference was shown, which does not make the runs equal: every value of the interval "
        "goes with these samples"
    )


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
    text = f"{100 * share:.4g}"
    return f"{text} point{'' if text == '1' else 's'}"


def signed(share: float) -> str:
    """A difference in percentage points, with its sign."""
    return f"{100 * share:+.2f}"


def p_text(p_value: float) -> str:
    """A p-value that is never shown as 0."""
    return "p < 0.0001" if p_value < 0.0001 else f"p = {p_value:.2g}"
