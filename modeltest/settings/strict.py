"""What all settings share: unknown keys and other types are errors, values never change."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

PathText = Annotated[Path, Field(strict=False)]  # strict mode would refuse the file's text


class Strict(BaseModel):
    """Strict, frozen and inert."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, protected_namespaces=())
