"""Command lines as text: how a run was begun, quoted for a shell and safe to show."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from modeltest.errors import one_line


def joined(words: Sequence[str]) -> str:
    """Words as a shell reads them; what could steer a terminal as escapes of `$'…'`."""
    return " ".join(
        shlex.quote(word)
        if word.isprintable()
        else "$'" + one_line(word.replace("\\", "\\\\").replace("'", "\\'")) + "'"
        for word in words
    )


def without_option(words: Sequence[str], option: str) -> list[str]:
    """Words of a command line without an option that takes a value."""
    kept: list[str] = []
    skip = False
    for word in words:
        if skip:
            skip = False
        elif word == option:
            skip = True
        elif not word.startswith(f"{option}="):
            kept.append(word)
    return kept


def begun_with(manifest: Mapping[str, Any]) -> list[str]:
    """The command that began a run, `--resume` left out; empty where that is not known."""
    words = manifest.get("argv")
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        return []
    if words[1:2] != [manifest.get("command")]:  # another program used modeltest's parts
        return []
    return without_option(["modeltest", *words[1:]], "--resume")
