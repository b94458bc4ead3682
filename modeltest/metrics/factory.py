"""From names of metrics to metrics."""

from __future__ import annotations

from collections.abc import Sequence

from modeltest.errors import SettingsError
from modeltest.metrics.accuracy import (
    ACCURACY,
    ACCURACY_LEGACY,
    ACCURACY_OPTION_LOGITS,
    ANSWERED_RATE,
    ERROR_RATE,
    EXACT_MATCH,
    UNPARSED_RATE,
)
from modeltest.metrics.word_error_rate import WORD_ERROR_RATE
from modeltest.protocols import Metric

_KNOWN: tuple[Metric, ...] = (
    ACCURACY,
    ACCURACY_LEGACY,
    ACCURACY_OPTION_LOGITS,
    WORD_ERROR_RATE,
    EXACT_MATCH,
    ANSWERED_RATE,
    UNPARSED_RATE,
    ERROR_RATE,
)


def make_metrics(names: Sequence[str]) -> tuple[Metric, ...]:
    """The named metrics, each once and in this order, then the rates of every run.

    Args:
        names: Any of `acc`, `acc_legacy`, `acc_option_logits`, `wer`, `exact_match`,
            `answered_rate`, `unparsed_rate`, `error_rate`.

    Raises:
        SettingsError: A name is unknown.
    """
    known = {metric.name: metric for metric in _KNOWN}
    wanted = dict.fromkeys((*names, UNPARSED_RATE.name, ERROR_RATE.name))
    for name in wanted:
        if name not in known:
            raise SettingsError(f"metrics: unknown metric {name!r}; known: {', '.join(known)}")
    return tuple(known[name] for name in wanted)
