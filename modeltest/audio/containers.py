"""Which container a clip's bytes are, whatever its name, and whether it is whole."""

from __future__ import annotations

from pathlib import PurePath

from modeltest.audio.chunks import check_aiff, check_au, check_wav
from modeltest.audio.contents import ContainerFault, Contents, refuse_unknown_length
from modeltest.audio.mpeg import check_mpeg, id3v2_bytes, is_mpeg
from modeltest.audio.ogg import check_ogg

_ENDINGS = {
    ".wav": "WAV",
    ".wave": "WAV",
    ".rf64": "WAV",
    ".flac": "FLAC",
    ".ogg": "OGG",
    ".oga": "OGG",
    ".opus": "OGG",
    ".mp3": "MP3",
    ".aif": "AIFF",
    ".aiff": "AIFF",
    ".aifc": "AIFF",
    ".au": "AU",
    ".snd": "AU",
}
# Content types libsndfile knows under another name.
_SAME = {"WAVEX": "WAV", "RF64": "WAV"}
_STREAMINFO_END = 42


def check_container(data: bytes) -> Contents:
    """Recognises the container and holds its declared sizes against the bytes there.

    Raises:
        ContainerFault: It is of no accepted kind, cut, or contradicts itself.
    """
    start = id3v2_bytes(data)
    magic, form = data[start : start + 4], data[8:12]
    if start == 0 and magic in (b"RIFF", b"RIFX", b"RF64") and form == b"WAVE":
        return check_wav(data)
    if start == 0 and magic == b"FORM" and form in (b"AIFF", b"AIFC"):
        return check_aiff(data)
    if start == 0 and magic in (b".snd", b"dns."):
        return check_au(data)
    if start == 0 and magic == b"OggS":
        return check_ogg(data)
    if magic == b"fLaC":
        return _check_flac(data, start)
    if is_mpeg(data, start):
        return check_mpeg(data, start)
    raise ContainerFault("not readable as audio (no WAV, FLAC, OGG, MP3, AIFF or AU file)")


def require_same_kind(contents: Contents, libsndfile_format: str) -> None:
    """Refuses bytes that the decoder takes for another container than `check_container` did.

    Raises:
        ContainerFault: What was checked is not what would be decoded.
    """
    if _SAME.get(libsndfile_format, libsndfile_format) != contents.container:
        raise ContainerFault(f"is {contents.container} and {libsndfile_format} at once")


def ending_note(name: str, contents: Contents) -> tuple[str, ...]:
    """The note on a file whose ending names another container than its bytes are."""
    ending = PurePath(name).suffix
    if _ENDINGS.get(ending.lower(), contents.container) == contents.container:
        return ()
    return (f"named {ending}, is {contents.container}",)


def _check_flac(data: bytes, start: int) -> Contents:
    """Reads STREAMINFO; whether all frames are there shows only in decoding them."""
    head = data[start : start + _STREAMINFO_END]
    if len(head) < _STREAMINFO_END or head[4] & 0x7F or int.from_bytes(head[5:8], "big") != 34:
        raise ContainerFault("not readable as audio (FLAC without a whole STREAMINFO)")
    packed = int.from_bytes(head[18:26], "big")
    num_frames, bits = packed & (1 << 36) - 1, (packed >> 36 & 31) + 1
    if num_frames == 0:
        refuse_unknown_length()
    md5 = head[26:42]
    return Contents(
        "FLAC", num_frames, pcm_md5=md5 if any(md5) else b"", sample_bytes=-(-bits // 8)
    )
