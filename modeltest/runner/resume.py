"""Continuing a run: only the same run may be continued."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from modeltest.errors import DataError, UsageError, one_line
from modeltest.runlog.run_log import RunContent
from modeltest.runlog.sweep_log import SweepContent

# What decides replies, scores, times or reports. Paths of settings files and the overrides that
# led to the settings are left out: the resolved settings are compared instead. So is `dp`: whole
# batches are dealt, the same for any number of workers, and no reply depends on who gives it.
_COMPARED = (
    ("schema_version",),
    ("command",),
    ("certified",),
    ("task", "name"),
    ("task", "settings"),
    ("model", "name"),
    ("model", "settings"),
    ("labels",),
    ("sweep",),
    ("prompt", "sha256"),
    ("clips",),
    ("identity",),
    ("data", "sha256"),
    ("data", "num_samples"),
    ("probes",),
    ("device", "kind"),
    ("device", "name"),
    ("packages",),
    ("tool",),
    ("place", "tp"),
)
# Others' figures decide nothing; the run keeps those that it was begun with.
_LEFT_OUT = ("task.settings.published",)
_MAX_NAMED = 5


def refuse_another_run(before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Makes sure that two manifests describe the same run.

    Args:
        before: The manifest on the disk.
        now: The manifest that this command would write.

    Raises:
        UsageError: They differ; the message names what, with both values.
    """
    found = list(differences(before, now))
    if found:
        more = f" and {len(found) - _MAX_NAMED} more" if len(found) > _MAX_NAMED else ""
        raise UsageError(
            f"run {before['place']['run_id']} cannot be resumed, it is another run: "
            f"{'; '.join(found[:_MAX_NAMED])}{more}"
        )


def refuse_unfit_log(content: RunContent | SweepContent) -> None:
    """Makes sure that a log can still become a valid run's, before anything is computed.

    Raises:
        DataError: It cannot; what was evaluated or measured now would be INVALID, too.
    """
    if not content.problems:
        return
    run = content.folder.name
    if content.damaged:
        command = shlex.join(["modeltest", "report", str(content.folder), "--repair"])
        raise DataError(
            one_line(f"run {run} cannot be resumed, segment {content.damaged[0]} of its log is ")
            + one_line(f"damaged inside; rescue its whole records first: {command}")
        )
    raise DataError(
        one_line(f"run {run} cannot be resumed, it would stay INVALID: {content.problems[0]}; ")
        + "take what is not its own out of its log, or begin a new run"
    )


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """What differs between two manifests, a phrase each: `seed was 0, is 1`."""
    for path in _COMPARED:
        yield from _compare(".".join(path), _at(before, path), _at(now, path))


def _at(manifest: Mapping[str, Any], path: tuple[str, ...]) -> Any:
    value: Any = manifest
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _compare(name: str, before: Any, now: Any) -> Iterator[str]:
    if name in _LEFT_OUT:
        return
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        for key in sorted({*before, *now}):
            yield from _compare(f"{name}.{key}", before.get(key), now.get(key))
    elif before != now:
        yield f"{name} was {_short(before)}, is {_short(now)}"


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else text[:57] + "…"
