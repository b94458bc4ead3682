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

from modeltest.errors import AudioError
from modeltest.records import Audio, AudioFacts, AudioSource

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MIN_CLIP_S = 0.1
"""Shorter clips are padded with zeros to this length, seconds."""

RESAMPLER = "soxr_hq"

AUDIO_RULE = (
    "libsndfile decodes to float32, whatever the file's ending; channels are mixed down by "
    f"their mean; another rate is resampled by librosa ({RESAMPLER}); clips shorter than "
    f"{MIN_CLIP_S} s are padded with zeros at their end; levels are left as they are."
)
"""How every clip becomes the waveform that a model hears."""

_BLOCK_FRAMES = 1 << 20
_UNKNOWN_LENGTH = (1 << 63) - 1

_NOT_A_FILE = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


@dataclass(frozen=True, slots=True)
class _Encoded:
    """A clip's encoded bytes and what to call it."""

    name: str
    data: bytes

    @property
    def sha256(self) -> str:
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
    """Looks at one clip without decoding it: readable, not empty, of which form.

    Args:
        source: A file or encoded bytes; what it is shows in its content, not its ending.

    Returns:
        The digest of the bytes and what the header declares.

    Raises:
        AudioError: The clip is missing, not a regular file, empty or no audio.
    """
    encoded = _fetch(source)
    with _opened(encoded) as sound:
        return AudioFacts(
            sha256=encoded.sha256,
            num_bytes=len(encoded.data),
            duration_s=sound.frames / sound.samplerate,
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
        [-1, 1] pass as they are.

    Raises:
        AudioError: As for `inspect`; or the clip is damaged, ends before its declared
            length, or holds NaN or infinite samples.
    """
    encoded = _fetch(source)
    mono, source_rate_hz = _read_mono(encoded)
    _require_finite(encoded.name, mono)
    waveform = _resample(mono, source_rate_hz, sampling_rate_hz)
    _require_finite(encoded.name, waveform)
    waveform, note = _pad(waveform, round(MIN_CLIP_S * sampling_rate_hz))
    return Audio(
        waveform=waveform,
        sampling_rate_hz=sampling_rate_hz,
        sha256=encoded.sha256,
        source_duration_s=len(mono) / source_rate_hz,
        note=note,
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
    return replace(audio, waveform=audio.waveform[:num_kept].copy(), note=note)


def _fetch(source: AudioSource) -> _Encoded:
    if source.read is not None:
        try:
            data = source.read()
        except OSError as error:
            raise AudioError(f"{source.name}: cannot be read ({_reason(error)})") from error
    elif source.path is not None:
        data = _read_regular_file(source.name, source.path)
    else:
        raise ValueError(f"{source.name}: an AudioSource needs a path or a way to read it")
    if not data:
        raise AudioError(f"{source.name}: is empty")
    return _Encoded(source.name, data)


def _read_regular_file(name: str, path: Path) -> bytes:
    try:
        # Without O_NONBLOCK, opening a FIFO waits for a writer for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    except FileNotFoundError:
        raise AudioError(f"{name}: does not exist") from None
    except OSError as error:
        raise AudioError(f"{name}: cannot be opened ({_reason(error)})") from error
    try:
        mode = os.fstat(descriptor).st_mode
        for is_kind, what in _NOT_A_FILE:
            if is_kind(mode):
                raise AudioError(f"{name}: is {what}, not a file")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            return file.read()
    except OSError as error:
        raise AudioError(f"{name}: cannot be read ({_reason(error)})") from error
    finally:
        os.close(descriptor)


@contextmanager
def _opened(encoded: _Encoded) -> Iterator[Any]:
    """Opens the bytes as a `soundfile.SoundFile`; its failures inside become AudioErrors."""
    import soundfile

    try:
        with soundfile.SoundFile(io.BytesIO(encoded.data)) as sound:
            if sound.frames == 0:
                raise AudioError(f"{encoded.name}: declares no frames")
            if sound.frames == _UNKNOWN_LENGTH:
                raise AudioError(f"{encoded.name}: declares no length (a stream? encode it again)")
            yield sound
    except soundfile.SoundFileError as error:
        # LibsndfileError's own text holds the address of the BytesIO object.
        reason = getattr(error, "error_string", str(error)).strip().rstrip(".")
        raise AudioError(f"{encoded.name}: not readable as audio ({reason})") from error


def _read_mono(encoded: _Encoded) -> tuple[NDArray[np.float32], int]:
    """Decodes all frames and mixes them down.

    Returns:
        Float32 of shape `(frames,)` and its rate, Hz.
    """
    import numpy as np

    blocks: list[NDArray[np.float32]] = []
    with _opened(encoded) as sound:
        # By blocks: an array of the declared length could be of any size.
        while len(block := sound.read(_BLOCK_FRAMES, dtype="float32", always_2d=True)):
            # In float64, where the sum of loud channels cannot overflow.
            blocks.append(block.mean(axis=1, dtype=np.float64).astype(np.float32))
        num_frames = sum(map(len, blocks))
        if num_frames < sound.frames:
            raise AudioError(
                f"{encoded.name}: ends after {num_frames} of {sound.frames} declared frames"
            )
        return np.concatenate(blocks), sound.samplerate


def _resample(waveform: NDArray[np.float32], from_hz: int, to_hz: int) -> NDArray[np.float32]:
    if from_hz == to_hz:
        return waveform
    import librosa
    import numpy as np

    resampled = librosa.resample(waveform, orig_sr=from_hz, target_sr=to_hz, res_type=RESAMPLER)
    return np.asarray(resampled, dtype=np.float32)


def _pad(waveform: NDArray[np.float32], num_samples: int) -> tuple[NDArray[np.float32], str]:
    num_missing = num_samples - len(waveform)
    if num_missing <= 0:
        return waveform, ""
    import numpy as np

    return np.pad(waveform, (0, num_missing)), f"padded to {MIN_CLIP_S} s"


def _require_finite(name: str, waveform: NDArray[np.float32]) -> None:
    import numpy as np

    num_bad = len(waveform) - int(np.isfinite(waveform).sum())
    if num_bad:
        raise AudioError(f"{name}: holds {num_bad} samples that are NaN or infinite")


def _reason(error: OSError) -> str:
    return error.strerror or type(error).__name__
