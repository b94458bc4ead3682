"""From names of metrics to metrics."""

from __future__ import annotations

from collections.abc import Sequence

from modeltest.errors import SettingsError
from modeltest.metrics.accuracy import ACCURACY, ACCURACY_LEGACY, ERROR_RATE, UNPARSED_RATE
from modeltest.protocols import Metric


def make_metrics(names: Sequence[str]) -> tuple[Metric, ...]:
    """The named metrics, each once and in this order, then the rates of every run.

    Args:
        names: Any of `acc`, `acc_legacy`, `unparsed_rate`, `error_rate`.

    Raises:
        SettingsError: A name is unknown.
    """
    known: dict[str, Metric] = {
        metric.name: metric for metric in (ACCURACY, ACCURACY_LEGACY, UNPARSED_RATE, ERROR_RATE)
    }
    wanted = dict.fromkeys((*names, UNPARSED_RATE.name, ERROR_RATE.name))
    for name in wanted:
        if name not in known:
            raise SettingsError(f"metrics: unknown metric {name!r}; known: {', '.join(known)}")
    return tuple(known[name] for name in wanted)
