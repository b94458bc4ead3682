"""Encoded bytes → checked mono float32 at the model's rate: the front door of all audio.

Importing this module is cheap: soundfile, librosa and soxr load with the first clip.
"""

from __future__ import annotations

import hashlib
import io
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modeltest.audio.containers import check_container, ending_note, require_same_kind
from modeltest.audio.contents import ContainerFault, Contents, refuse_no_frames
from modeltest.audio.envelope import envelope
from modeltest.audio.limits import require_affordable, require_file_size
from modeltest.errors import AudioError
from modeltest.records import Audio, AudioFacts, AudioSource

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MIN_CLIP_S = 0.1
"""Shorter clips are padded with zeros to this length, seconds."""

LOUD_PEAK = 2.0
"""A clip whose mono mix goes beyond this level gets a note; lossy codecs overshoot by less."""

RESAMPLER = "soxr_hq"

AUDIO_RULE = (
    "libsndfile decodes to float32, whatever the file's ending; channels are mixed down by "
    f"their mean; another rate is resampled by librosa ({RESAMPLER}); clips shorter than "
    f"{MIN_CLIP_S} s are padded with zeros at their end; levels are left as they are."
)
"""How every clip becomes the waveform that a model hears."""

_BLOCK_FRAMES = 1 << 20

_NOT_A_FILE = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISSOCK, "a socket"),
)


@dataclass(frozen=True, slots=True)
class Encoded:
    """A clip's encoded bytes and what to call it."""

    name: str
    data: bytes

    @property
    def sha256(self) -> str:
        """Hex digest of `data`."""
        return hashlib.sha256(self.data).hexdigest()


def audio_rule_facts() -> dict[str, str]:
    """The audio rule and the versions of the libraries that carry it out.

    Returns:
        `rule`, then one version per library, for a run's manifest.
    """
    import soundfile
    import soxr

    return {
        "rule": AUDIO_RULE,
        "soundfile": version("soundfile"),
        "libsndfile": str(soundfile.__libsndfile_version__),
        "librosa": version("librosa"),
        "soxr": version("soxr"),
        "libsoxr": str(soxr.__libsoxr_version__),
    }


def inspect(source: AudioSource) -> AudioFacts:
    """Looks at one clip without decoding it: whole, not empty, affordable, of which form.

    Args:
        source: A file or encoded bytes; what it is shows in its content, not its ending.

    Returns:
        The digest of the bytes and what the header declares.

    Raises:
        AudioError: The clip is missing, not a regular file, empty, no audio, cut by the
            sizes that its container declares, or beyond `modeltest.audio.limits`.
    """
    encoded = fetch(source)
    with _opened(encoded) as (sound, contents):
        return AudioFacts(
            sha256=encoded.sha256,
            num_bytes=len(encoded.data),
            duration_s=_declared_frames(contents, sound) / sound.samplerate,
            sampling_rate_hz=sound.samplerate,
            num_channels=sound.channels,
            container=f"{sound.format}/{sound.subtype}",
        )


def decode(source: AudioSource, sampling_rate_hz: int) -> Audio:
    """Decodes one clip by `AUDIO_RULE`.

    Args:
        source: A file or encoded bytes.
        sampling_rate_hz: Rate of the waveform to return, Hz.

    Returns:
        Mono float32, shape `(num_samples,)`, at least `MIN_CLIP_S` long. Samples beyond
        [-1, 1] pass as they are. `note` names what a reader should know of: another
        ending than the content's, a loud peak, padding, a length that nothing proves.

    Raises:
        AudioError: As for `inspect`; or the clip is damaged, ends before its declared
            length, or holds NaN or infinite samples.
    """
    encoded = fetch(source)
    mono, source_rate_hz, notes = _read_mono(encoded)
    _require_finite(encoded.name, mono)
    waveform = _resample(mono, source_rate_hz, sampling_rate_hz)
    _require_finite(encoded.name, waveform)
    notes += _peak_note(mono)
    shape = envelope(waveform)
    waveform, padding_note = _pad(waveform, round(MIN_CLIP_S * sampling_rate_hz))
    return Audio(
        waveform=waveform,
        sampling_rate_hz=sampling_rate_hz,
        sha256=encoded.sha256,
        source_duration_s=len(mono) / source_rate_hz,
        note="; ".join(notes + padding_note),
        envelope=shape,
    )


def truncate(audio: Audio, max_s: float) -> Audio:
    """Cuts a clip's end off where it is longer than `max_s` seconds.

    Args:
        audio: Any decoded clip.
        max_s: Longest length to keep, seconds, above 0.

    Returns:
        `audio` itself where it is short enough, else its beginning with a note.
    """
    num_kept = int(max_s * audio.sampling_rate_hz)
    if len(audio.waveform) <= num_kept:
        return audio
    note = f"truncated from {audio.duration_s:g} s to {num_kept / audio.sampling_rate_hz:g} s"
    note = f"{audio.note}; {note}" if audio.note else note
    return replace(audio, waveform=audio.waveform[:num_kept].copy(), note=note)


def fetch(source: AudioSource) -> Encoded:
    """Reads a clip's encoded bytes.

    Raises:
        AudioError: It is missing, not a regular file, unreadable, too large or empty.
    """
    with _named(source.name):
        if source.read is not None:
            try:
                data = source.read()
            except OSError as error:
                raise ContainerFault(f"cannot be read ({_reason(error)})") from error
            require_file_size(len(data))
        elif source.path is not None:
            data = _read_regular_file(source.path)
        else:
            raise ValueError(f"{source.name}: an AudioSource needs a path or a way to read it")
        if not data:
            raise ContainerFault("is empty")
    return Encoded(source.name, data)


def _read_regular_file(path: str | Path) -> bytes:
    try:
        # Without O_NONBLOCK, opening a FIFO waits for a writer for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    except FileNotFoundError:
        raise ContainerFault("does not exist") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise ContainerFault(f"cannot be opened ({_reason(error)})") from error
    try:
        status = os.fstat(descriptor)
        for is_kind, what in _NOT_A_FILE:
            if is_kind(status.st_mode):
                raise ContainerFault(f"is {what}, not a file")
        require_file_size(status.st_size)
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            return file.read(status.st_size)
    except OSError as error:
        raise ContainerFault(f"cannot be read ({_reason(error)})") from error
    finally:
        os.close(descriptor)


@contextmanager
def _named(name: str) -> Iterator[None]:
    """Turns what is wrong with a container into an AudioError that says which clip it is."""
    try:
        yield
    except ContainerFault as fault:
        raise AudioError(f"{name}: {fault}") from fault


@contextmanager
def _opened(encoded: Encoded) -> Iterator[tuple[Any, Contents]]:
    """Opens checked bytes as a `soundfile.SoundFile`; failures inside become AudioErrors."""
    import soundfile

    with _named(encoded.name):
        contents = check_container(encoded.data)
        problem = "not readable as audio"
        try:
            with soundfile.SoundFile(io.BytesIO(encoded.data)) as sound:
                require_same_kind(contents, sound.format)
                _require_frames(contents, sound.frames)
                require_affordable(
                    _declared_frames(contents, sound), sound.channels, sound.samplerate
                )
                problem = "is cut or damaged"
                yield sound, contents
        except soundfile.SoundFileError as error:
            # LibsndfileError's own text holds the address of the BytesIO object.
            reason = getattr(error, "error_string", str(error)).strip().rstrip(".")
            raise ContainerFault(f"{problem} ({reason})") from error


def _require_frames(contents: Contents, num_frames: int) -> None:
    """Refuses a clip of which the decoder would return more or less than is there."""
    there = contents.num_frames
    if num_frames == 0 or there == 0:
        refuse_no_frames()
    if there is None or num_frames == there:
        return
    # Without a length header libsndfile guesses an MP3's length; too few would be lost.
    if contents.container != "MP3" or num_frames < there:
        raise ContainerFault(f"holds {there} frames, of which libsndfile finds {num_frames}")


def _declared_frames(contents: Contents, sound: Any) -> int:
    return int(sound.frames) if contents.num_frames is None else contents.num_frames


def _read_mono(encoded: Encoded) -> tuple[NDArray[np.float32], int, tuple[str, ...]]:
    """Decodes all frames and mixes them down.

    Returns:
        Float32 of shape `(frames,)`, its rate in Hz, and notes on the container.
    """
    import numpy as np

    blocks: list[NDArray[np.float32]] = []
    with _opened(encoded) as (sound, contents):
        digest = hashlib.md5(usedforsecurity=False)
        # A FLAC's integers, in the upper bytes of 32 bits, can be held against their digest.
        read_as, scale = ("int32", 2.0**-31) if contents.pcm_md5 else ("float32", 1.0)
        # By blocks: an array of the declared length could be of any size.
        while len(block := sound.read(_BLOCK_FRAMES, dtype=read_as, always_2d=True)):
            if contents.pcm_md5:
                octets = block.astype("<i4", copy=False).view(np.uint8).reshape(-1, 4)
                digest.update(octets[:, 4 - contents.sample_bytes :].tobytes())
            # In float64, where the sum of loud channels cannot overflow.
            blocks.append((block.mean(axis=1, dtype=np.float64) * scale).astype(np.float32))
        num_frames, num_declared = sum(map(len, blocks)), _declared_frames(contents, sound)
        if num_frames < num_declared:
            raise ContainerFault(f"ends after {num_frames} of {num_declared} declared frames")
        if contents.pcm_md5 and digest.digest() != contents.pcm_md5:
            raise ContainerFault("is damaged: its audio differs from its MD5 signature")
        notes = (*ending_note(encoded.name, contents), *contents.notes)
        return np.concatenate(blocks), sound.samplerate, notes


def _resample(waveform: NDArray[np.float32], from_hz: int, to_hz: int) -> NDArray[np.float32]:
    if from_hz == to_hz:
        return waveform
    import librosa
    import numpy as np

    resampled = librosa.resample(waveform, orig_sr=from_hz, target_sr=to_hz, res_type=RESAMPLER)
    return np.asarray(resampled, dtype=np.float32)


def _peak_note(waveform: NDArray[np.float32]) -> tuple[str, ...]:
    peak = max(float(waveform.max()), -float(waveform.min()))
    return (f"peak {peak:.3g}",) if peak > LOUD_PEAK else ()


def _pad(
    waveform: NDArray[np.float32], num_samples: int
) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    num_missing = num_samples - len(waveform)
    if num_missing <= 0:
        return waveform, ()
    import numpy as np

    return np.pad(waveform, (0, num_missing)), (f"padded to {MIN_CLIP_S} s",)


def _require_finite(name: str, waveform: NDArray[np.float32]) -> None:
    import numpy as np

    num_bad = len(waveform) - int(np.isfinite(waveform).sum())
    if num_bad:
        raise AudioError(f"{name}: holds {num_bad} samples that are NaN or infinite")


def _reason(error: OSError | ValueError) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
