"""What changes about a command when the model is a service's."""

from __future__ import annotations

import argparse
import os
from dataclasses import replace
from typing import TYPE_CHECKING

from modeltest.errors import UsageError

if TYPE_CHECKING:
    from modeltest.settings.load import Loaded
    from modeltest.settings.schema import TaskSettings

CHAT_NOTE = "asked in chat format: a service applies its own chat template"


def refuse_local_options(options: argparse.Namespace) -> None:
    """Makes sure that nothing is asked for that only a model in this process can do.

    Raises:
        UsageError: Names the option.
    """
    tp = getattr(options, "tp", 1)
    # mm_run.sh makes the option of it, where it cannot know that the model is a service's.
    of_variable = " (of TP_WORLD_SIZE)" if os.environ.get("TP_WORLD_SIZE") == str(tp) else ""
    for is_asked, words in (
        (
            isinstance(tp, int) and tp > 1,
            f"--tp {tp}{of_variable}: the service splits its model itself",
        ),
        ((getattr(options, "dp", None) or 1) > 1, "--dp: one process asks a service; raise --bs"),
        (getattr(options, "ray", None), "--ray: one process asks a service; raise --bs"),
        (
            getattr(options, "isolate", False),
            "--isolate: the service is no process of this command",
        ),
        (
            getattr(options, "certified", False),
            "--certified: the weights are the service's, and nobody here can hash them",
        ),
    ):
        if is_asked:
            raise UsageError(f"{words}; leave it out")


def in_chat_format(task: Loaded[TaskSettings]) -> tuple[Loaded[TaskSettings], tuple[str, ...]]:
    """The task as a service can be asked, and what a reader of its results has to know.

    Raises:
        UsageError: Replies should end at their answer, which only a model in this process can.
    """
    settings = task.settings
    if settings.stop_at_answer:
        raise UsageError("a service ends no reply at its answer; leave --stop-at-answer out")
    if settings.prompt_format == "chat":
        return task, ()
    return replace(task, settings=settings.model_copy(update={"prompt_format": "chat"})), (
        CHAT_NOTE,
    )
