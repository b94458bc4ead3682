"""The process that decodes on behalf of `DecodeWorkers`, one request after the other.

It reads requests from descriptor 0 and answers on a copy of descriptor 1. It ends with its
parent, whose end of the pipe closes, and in a clip that never ends by its own alarm.
"""

from __future__ import annotations

import gc
import os
import resource
import signal
from collections.abc import Mapping
from typing import Any

from modeltest.audio.decode import decode, inspect
from modeltest.audio.frames import FrameReader, write_frame
from modeltest.errors import AudioError
from modeltest.records import AudioFacts, AudioSource

_GRACE_S = 5.0
_FACTS = AudioFacts.__slots__


def main(memory_bytes: int, timeout_s: float) -> None:
    """Serves until the parent closes its end.

    Args:
        memory_bytes: Limit of this process's address space.
        timeout_s: What the parent allows a request; this process dies a little later,
            should the parent be gone by then.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    allowed_bytes = resource.getrlimit(resource.RLIMIT_AS)[1]
    if allowed_bytes != resource.RLIM_INFINITY:
        memory_bytes = min(memory_bytes, allowed_bytes)
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    requests, replies = 0, os.dup(1)
    os.dup2(2, 1)  # what a library prints must not stand among the replies
    try:
        import soundfile  # noqa: F401 - loaded before the first clip's time runs
    except Exception as error:  # the parent says it; standard error leads nowhere
        write_frame(replies, {"failure": f"{type(error).__name__}: {error}"})
        return
    gc.freeze()  # libraries need not be looked through again and again
    write_frame(replies, {"ready": True})
    reader = FrameReader(requests)
    while (frame := reader.read()) is not None:
        signal.setitimer(signal.ITIMER_REAL, timeout_s + _GRACE_S)
        header, waveform = _answer(*frame)
        signal.setitimer(signal.ITIMER_REAL, 0)  # the parent may take its time to read
        write_frame(replies, header, waveform)


def _answer(
    request: Mapping[str, Any], payload: bytearray
) -> tuple[dict[str, Any], bytes | memoryview]:
    try:
        path = request["path"]
        source = (
            AudioSource(request["name"], read=lambda: bytes(payload))
            if path is None
            else AudioSource(request["name"], path=path)
        )
        if request["sampling_rate_hz"] is None:
            facts = inspect(source)
            return {"facts": {name: getattr(facts, name) for name in _FACTS}}, b""
        audio = decode(source, request["sampling_rate_hz"])
    except AudioError as error:
        return {"error": str(error)}, b""
    except MemoryError:
        return {"failure": "it needs more memory than a decoder may use"}, b""
    except Exception as error:  # one clip must not take the process with it
        return {"failure": f"{type(error).__name__}: {error}"}, b""
    answer = {
        "sha256": audio.sha256, "source_duration_s": audio.source_duration_s, "note": audio.note,
        "envelope": audio.envelope,
    }  # fmt: skip
    return {"audio": answer}, audio.waveform.data.cast("B")
