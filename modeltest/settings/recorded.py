"""Settings as a manifest recorded them, back as settings."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from modeltest.errors import DataError, one_line
from modeltest.settings.schema import TaskSettings


def recorded_task(manifest: Mapping[str, Any]) -> TaskSettings:
    """The task's settings of a run; a data folder is where it was, seen from anywhere.

    Raises:
        DataError: Another modeltest wrote them, and they are no settings of this one.
    """
    try:
        settings = TaskSettings.model_validate_json(json.dumps(manifest["task"]["settings"]))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise DataError(
            f"the run's task settings are not those of this modeltest: "
            f"{one_line(where)}: {one_line(first['msg'])}"
        ) from error
    folder, here = settings.local_dataset_path, manifest.get("working_directory")
    if folder is None or folder.is_absolute() or not isinstance(here, str):
        return settings
    return settings.model_copy(update={"local_dataset_path": Path(here) / folder})
