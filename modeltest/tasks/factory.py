"""From a task file to a task."""

from __future__ import annotations

from modeltest.protocols import Task
from modeltest.settings.schema import TaskSettings
from modeltest.tasks.multiple_choice import MultipleChoiceTask
from modeltest.tasks.transcription import TranscriptionTask


def make_task(name: str, settings: TaskSettings) -> Task:
    """The task that `settings` describe; a new `kind` gets its line here.

    Args:
        name: Name of the task file, without its ending.
        settings: The validated task file.

    Raises:
        SettingsError: A library that such a task needs is missing.
    """
    if settings.kind == "transcription":
        return TranscriptionTask(name, settings)
    return MultipleChoiceTask(name, settings)
