"""A clip on the wire: a WAV file of the decoded waveform, and the part of a request that holds it.

The service gets what the model in this process would hear: 16 kHz mono after modeltest's own
front door, not the file that lay on the disk. 16-bit PCM holds a clip whose source was 16-bit
mono at that rate bit by bit; anything else is rounded to 1/32768, and cut at full scale.
"""

from __future__ import annotations

import atexit
import base64
import logging
import os
import struct
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from modeltest.backends.service.presets import SampleFormat, Wire
from modeltest.errors import ModelError, one_line
from modeltest.records import Audio

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_LOG = logging.getLogger(__name__)
_PCM, _IEEE_FLOAT = 1, 3
_FULL_SCALE = 32768
"""libsndfile's: a 16-bit sample divided by it is the float that it decodes to."""


def wav_bytes(waveform: NDArray[np.float32], rate_hz: int, sample_format: SampleFormat) -> bytes:
    """A RIFF file of one channel (Microsoft, Multimedia Programming Interface 1.0).

    Args:
        waveform: Float32, shape `(num_samples,)`, nominally within [-1, 1].
        rate_hz: Its rate.
        sample_format: `pcm16` rounds to 1/32768 and cuts at full scale; `float32` keeps
            every bit.
    """
    import numpy as np

    if sample_format == "float32":
        tag, data = _IEEE_FLOAT, waveform.astype("<f4").tobytes()
    else:
        scaled = np.rint(waveform.astype(np.float64) * _FULL_SCALE)
        tag, data = _PCM, np.clip(scaled, -32768, 32767).astype("<i2").tobytes()
    width = 2 if tag == _PCM else 4
    form = struct.pack("<HHIIHH", tag, 1, rate_hz, rate_hz * width, width, 8 * width)
    chunks = _chunk(b"fmt ", form)
    if tag == _IEEE_FLOAT:  # every form but PCM has to count its frames
        chunks += _chunk(b"fact", struct.pack("<I", len(waveform)))
    chunks += _chunk(b"data", data)
    return _chunk(b"RIFF", b"WAVE" + chunks)


def _chunk(name: bytes, content: bytes) -> bytes:
    return name + struct.pack("<I", len(content)) + content


def num_cut(audio: Audio) -> int:
    """Samples beyond what 16-bit PCM holds."""
    import numpy as np

    top, bottom = 32767.5 / _FULL_SCALE, -32768.5 / _FULL_SCALE
    beyond = (audio.waveform >= top) | (audio.waveform < bottom)
    return int(np.count_nonzero(beyond))


def encoded(audio: Audio, wire: Wire) -> bytes:
    """The WAV file of a clip; says in the log when its loudest samples had to be cut."""
    if wire.sample_format == "pcm16" and (num := num_cut(audio)):
        name = audio.sha256[:12]
        _LOG.warning("clip %s: %d samples cut at the full scale of 16-bit PCM", name, num)
    return wav_bytes(audio.waveform, audio.sampling_rate_hz, wire.sample_format)


def data_text(wav: bytes, wire: Wire) -> str:
    """What a request holds of a clip that it carries: a data URI, or base64 alone."""
    text = base64.b64encode(wav).decode("ascii")
    if wire.audio_part == "input_audio":
        return text
    return f"data:audio/{wire.audio_subtype};base64,{text}"


def audio_part(wire: Wire, clip: str) -> dict[str, Any]:
    """The part of a message for a clip, which is a URL, or base64 for `input_audio`."""
    if wire.audio_part == "input_audio":
        return {"type": "input_audio", "input_audio": {"data": clip, "format": "wav"}}
    if wire.audio_part == "audio_url_text":
        return {"type": "audio_url", "audio_url": clip}
    return {"type": "audio_url", "audio_url": {"url": clip}}


class MediaFolder:
    """A folder that the service reads, too; holds clips while they are asked about."""

    def __init__(self, folder: Path, url: str | None) -> None:
        """Nothing is written yet.

        Args:
            folder: Where clips are put.
            url: Where the service finds the folder over HTTP; None: as a local file.
        """
        self._folder = folder
        self._url = url
        self._written: set[Path] = set()
        atexit.register(self.clear)  # a run that is interrupted closes no backend

    def put(self, audio: Audio, wav: bytes) -> str:
        """Writes a clip, unless it is there; returns its URL.

        Raises:
            ModelError: It cannot be written.
        """
        path = self._folder / f"modeltest-{os.getpid()}-{audio.sha256[:32]}-{len(wav)}.wav"
        if path not in self._written:
            try:
                flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
                with os.fdopen(os.open(path, flags, 0o644), "wb") as file:
                    file.write(wav)
            except OSError as error:
                raise ModelError(
                    one_line(f"request.media_folder: {path} cannot be written ({error.strerror})")
                ) from error
            self._written.add(path)
        if self._url is None:
            return f"file://{quote(str(path))}"
        return f"{self._url.rstrip('/')}/{quote(path.name)}"

    def clear(self) -> None:
        """Removes what was written; a folder that does not allow it keeps it."""
        while self._written:
            with suppress(OSError):
                self._written.pop().unlink(missing_ok=True)
