"""Where a page's clips are: files beside the data, or within the page."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

_PACKED = "saved data set"


@dataclass(frozen=True, slots=True)
class EmbeddedClip:
    """A clip that goes into a page.

    Attributes:
        sha256: Of its bytes; the samples name it by this.
        container: libsndfile's name of its form, as in the log.
        encoded: The file's bytes.
    """

    sha256: str
    container: str
    encoded: bytes


def clip_folders(manifest: Mapping[str, Any], moved: tuple[Path, Path] | None = None) -> list[str]:
    """Addresses of the folder that the clips' names are relative to, percent-encoded.

    The first is relative to the page, where the run wrote it; the second is absolute, for a
    run that was moved. None where the clips are no files of their own, or nobody knows where.

    Args:
        manifest: Of the run.
        moved: The run's folder and that of the page; None if they are one.
    """
    data = manifest["data"]
    folder, relative = data.get("folder"), data.get("folder_from_report")
    is_packed = str(data.get("layout", "")).startswith(_PACKED)
    if is_packed or not isinstance(folder, str) or not isinstance(relative, str):
        return []
    if moved:
        relative = os.path.relpath(os.path.join(moved[0], relative), moved[1])
    found = [_encoded(relative)]
    here = manifest.get("working_directory")
    whole = os.path.normpath(os.path.join(here, folder)) if isinstance(here, str) else folder
    return [*found, f"file://{_encoded(whole)}"] if os.path.isabs(whole) else found


def embedded_elements(clips: Iterable[EmbeddedClip]) -> Iterator[bytes]:
    """Clips as elements that a browser neither shows nor runs."""
    for clip in clips:
        kind = clip.container.partition("/")[0].lower()
        head = (
            f'<script type="text/plain" id="clip-{quote(clip.sha256)}" data-kind="{quote(kind)}">'
        )
        yield head.encode()
        yield base64.b64encode(clip.encoded)
        yield b"</script>\n"


def address_of(path: Path, folder: Path) -> str:
    """A file's address from a page in the folder, percent-encoded."""
    return _encoded(os.path.relpath(path, folder))


def _encoded(path: str) -> str:
    try:
        return quote(path.encode("utf-8", "surrogateescape"), safe="/")  # as file names hold bytes
    except UnicodeEncodeError:  # of no file
        return quote(path.encode("utf-8", "backslashreplace"), safe="/")
