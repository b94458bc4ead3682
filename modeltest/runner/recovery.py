"""A failing batch costs as few samples as can be: halve it, down to one request."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from modeltest.errors import DeviceError, ModeltestError
from modeltest.protocols import Backend, Device, OnText
from modeltest.records import Request, Response

OUT_OF_MEMORY = "out of memory"


def generate_surviving(
    backend: Backend,
    device: Device,
    requests: Sequence[Request],
    on_split: Callable[[int, str], None],
    take_prepared: Callable[[], Any] = lambda: None,
    on_text: OnText | None = None,
) -> list[Response]:
    """Answers a batch; what fails alone becomes an error of its sample.

    Args:
        backend: Loaded.
        device: Asked what an exception means and whether it is still alive.
        requests: The batch.
        on_split: Told the size of each batch that had to be halved, and why.
        take_prepared: Returns what the backend prepared for the whole batch, or raises what
            the backend raised; parts of the batch are prepared anew.
        on_text: Told of the replies' text while it comes, by the requests' places in the whole
            batch, also where that was halved; nothing is told twice.

    Returns:
        One response per request, in their order.

    Raises:
        ModeltestError: Concerns the whole run, not these samples.
        DeviceError: The device does not answer any more.
    """
    if not requests:
        return []
    told = None if on_text is None else _Told(on_text)
    try:
        return _checked(requests, backend.generate(requests, take_prepared(), told))
    except ModeltestError:
        raise
    except Exception as error:  # the sample boundary: from here on a failure is a value
        out_of_memory = device.is_out_of_memory(error)
        failure = OUT_OF_MEMORY if out_of_memory else f"{type(error).__name__}: {error}"
    # Out here the traceback, which holds the batch's tensors, is gone.
    _refuse_dead(device, failure)
    if len(requests) == 1:
        return [Response(requests[0].sample_id, text="", error=failure)]
    on_split(len(requests), failure)
    half = len(requests) // 2
    return [
        response
        for first, part in ((0, requests[:half]), (half, requests[half:]))
        for response in generate_surviving(
            backend, device, part, on_split, on_text=told and told.again(first)
        )
    ]


class _Told:
    """Passes on the text of a batch, and remembers how much of each reply that was."""

    def __init__(self, on_text: OnText) -> None:
        self._on_text = on_text
        self._num_characters: Counter[int] = Counter()

    def __call__(self, row: int, piece: str) -> None:
        self._num_characters[row] += len(piece)
        self._on_text(row, piece)

    def again(self, first: int) -> OnText:
        """For the requests from `first` on, asked again: leaves out what was passed on."""
        known = self._num_characters.copy()

        def tell(row: int, piece: str) -> None:
            num_known = min(known[first + row], len(piece))
            known[first + row] -= num_known
            if num_known < len(piece):
                self._on_text(first + row, piece[num_known:])

        return tell


def load(backend: Backend, device: Device) -> None:
    """Loads the model.

    Raises:
        ModeltestError: It cannot be used.
        DeviceError: It does not fit into the device's memory, or the device does not answer.
    """
    try:
        backend.load()
        return
    except ModeltestError:
        raise
    except Exception as error:  # memory and lost devices raise what the driver likes
        if not device.is_out_of_memory(error):
            _refuse_dead(device, _first_line(error))
            raise
        failure = _first_line(error)
    _refuse_dead(device, failure)
    raise DeviceError(
        f"the model does not fit into the memory of {device.torch_name} ({failure}); end what "
        "else uses it, or take a larger device or a smaller data_type"
    )


def _refuse_dead(device: Device, failure: str) -> None:
    # A device whose context is broken refuses this too; whether it is, is asked next.
    with suppress(Exception):
        device.free_memory()
    if not _is_alive(device):
        first = failure.splitlines()[0]  # drivers append where in their code it was
        raise DeviceError(f"{device.torch_name} does not answer any more ({first})")


def _is_alive(device: Device) -> bool:
    try:
        return device.is_alive()
    except Exception:  # whatever a broken driver raises
        return False


def _first_line(error: Exception) -> str:
    text = (str(error).strip().splitlines() or [""])[0]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _checked(requests: Sequence[Request], responses: list[Response]) -> list[Response]:
    asked = [request.sample_id for request in requests]
    answered = [response.sample_id for response in responses]
    if asked != answered:
        raise ModeltestError(f"the backend answered {answered} when asked {asked}")
    return responses
