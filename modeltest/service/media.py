"""Where a request's clips may come from: its own bytes, and what the server's owner allows."""

from __future__ import annotations

import base64
import binascii
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from modeltest.errors import UsageError, one_line
from modeltest.records import AudioSource
from modeltest.service.content import ClipReference
from modeltest.service.refusals import BAD_REQUEST, Refusal
from modeltest.service.remote_media import download

_DATA_URI = re.compile(r"data:audio/[a-z0-9.+-]+(?:;[a-z0-9-]+=[^;,]*)*;base64,", re.IGNORECASE)
_HOST = re.compile(r"(?:[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(?::\d{1,5})?")
_LONGEST_ADDRESS = 4096  # Linux' PATH_MAX
_ABSOLUTE = "an absolute path, file://, http(s):// or data:audio/…;base64,"


@dataclass(frozen=True, slots=True)
class Allowance:
    """What `--allow-media` names.

    Attributes:
        folders: Real paths, below which files may be read.
        hosts: `host` or `host:port`, lower case, from which clips may be fetched.
    """

    folders: tuple[str, ...] = ()
    hosts: frozenset[str] = frozenset()


def parse_allowance(values: Sequence[str]) -> Allowance:
    """Reads the values of `--allow-media`: what has a slash or is a folder is a folder.

    Raises:
        UsageError: Neither a folder nor a host.
    """
    folders, hosts = [], set()
    for value in values:
        if value and Path(value).is_dir():
            folders.append(os.path.realpath(value))
        elif "/" not in value and _HOST.fullmatch(value):
            hosts.add(value.lower())
        else:
            raise UsageError(
                f"--allow-media {one_line(value)}: neither a folder nor a host name (without "
                "http://); create the folder or correct the name"
            )
    return Allowance(tuple(folders), frozenset(hosts))


def audio_source(clip: ClipReference, allowance: Allowance) -> AudioSource:
    """The clip's encoded bytes, or the file that holds them. May take a download's time.

    Raises:
        Refusal: 400, the address is none, is not allowed, or cannot be fetched.
    """
    if not clip.address:
        return _in_request(clip.name, clip.encoded)
    head, comma, encoded = clip.address.partition(",")
    if len(head) < _LONGEST_ADDRESS and _DATA_URI.fullmatch(head + comma):
        return _in_request(clip.name, encoded)
    if len(clip.address) > _LONGEST_ADDRESS:
        raise Refusal(BAD_REQUEST, f"{clip.name}: its address is longer than {_LONGEST_ADDRESS}")
    scheme = head.partition(":")[0].lower()
    if scheme in {"http", "https"}:
        return _fetched(clip, allowance)
    if head.startswith("/") or scheme == "file":
        return _file(clip, allowance)
    raise Refusal(BAD_REQUEST, f"{clip.name}: its address is no {_ABSOLUTE}")


def _in_request(name: str, encoded: str) -> AudioSource:
    try:
        data = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        raise Refusal(BAD_REQUEST, f"{name}: its data is no base64") from None
    return AudioSource(name, read=lambda: data)


def _file(clip: ClipReference, allowance: Allowance) -> AudioSource:
    path = clip.address
    if not path.startswith("/"):
        try:
            address = urlsplit(path)
            host = address.netloc
        except ValueError:
            host = "?"
        if host not in {"", "localhost"}:
            raise Refusal(BAD_REQUEST, f"{clip.name}: its address is no {_ABSOLUTE}")
        path = unquote(address.path)
    real = "" if "\0" in path else os.path.realpath(path)
    # The same words whether it exists or not: what lies elsewhere is nobody's business.
    if not any(real.startswith(os.path.join(folder, "")) for folder in allowance.folders):
        raise Refusal(
            BAD_REQUEST,
            f"{clip.name}: {one_line(path)[:300]} may not be read; the server reads files only "
            "below a folder that it was started with (--allow-media DIR), or send the audio as a "
            "data: URI",
        )
    return AudioSource(f"{clip.name} ({one_line(os.path.basename(path))[:100]})", path=real)


def _fetched(clip: ClipReference, allowance: Allowance) -> AudioSource:
    try:
        address = urlsplit(clip.address)
        named = address.netloc.lower()
        if "@" in named or not _HOST.fullmatch(named):
            raise ValueError("no plain host")
        _ = address.port  # a bad port raises when it is looked at
    except ValueError:
        raise Refusal(BAD_REQUEST, f"{clip.name}: its URL has no plain host") from None
    if named not in allowance.hosts:
        raise Refusal(
            BAD_REQUEST,
            f"{clip.name}: {named} may not be asked; the server fetches only from hosts that it "
            "was started with (--allow-media HOST), or send the audio as a data: URI",
        )
    data = download(address, clip.name)
    return AudioSource(clip.name, read=lambda: data)
