"""From a task's data folder, however it is laid out, to its samples."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from modeltest.errors import DataError
from modeltest.settings.schema import TaskSettings
from modeltest.tasks.data.folder import find_in_folder
from modeltest.tasks.data.found import Listing, Problem, report_problems
from modeltest.tasks.data.release import find_in_release, is_release
from modeltest.tasks.data.saved import find_in_saved, is_saved
from modeltest.tasks.data.transcripts import find_transcripts

__all__ = ["Listing", "Problem", "find_samples", "report_problems"]


def find_samples(settings: TaskSettings) -> Listing:
    """Lists all clips of a task's data folder with their labels; opens none of them.

    Takes the official release tree, a saved `datasets` folder, or a flat or nested folder of
    audio files; of a transcription task a folder with the tables that its settings name.

    Args:
        settings: The task; `local_dataset_path` is the folder.

    Returns:
        The samples and everything that is wrong with the others.

    Raises:
        DataError: There is no such folder, no audio in it, or it cannot be understood.
    """
    root = _data_folder(settings)
    if settings.kind == "transcription":
        listing = find_transcripts(root, settings)
    elif is_release(root):
        listing = find_in_release(root, settings)
    elif is_saved(root):
        listing = find_in_saved(root, settings)
    else:
        listing = find_in_folder(root, settings)
    num_found, num_expected = len(listing.samples), settings.expected_samples
    if num_expected is None or num_found == num_expected:
        return listing
    warning = f"{num_found} test clips, the official release has {num_expected}"
    return replace(listing, warnings=(*listing.warnings, warning))


def _data_folder(settings: TaskSettings) -> Path:
    if settings.local_dataset_path is None:
        raise DataError(
            "local_dataset_path is not set: set it in the task's file below config/task/ or "
            "with --set task.local_dataset_path=/path/to/clips; to try without data, take the "
            "task vocalsound_mini"
        )
    root = settings.local_dataset_path.expanduser()
    try:
        if root.is_dir() and os.access(root, os.R_OK | os.X_OK):
            return root
        what = "does not exist"
        if root.exists():
            what = "may not be read by this user" if root.is_dir() else "is not a folder"
    except OSError as error:
        what = f"cannot be opened ({error.strerror})"
    raise DataError(f"{root}: {what} (task.local_dataset_path)")
