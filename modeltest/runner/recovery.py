"""A failing batch costs as few samples as can be: halve it, down to one request."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from modeltest.errors import DeviceError, ModeltestError
from modeltest.protocols import Backend, Device
from modeltest.records import Request, Response

OUT_OF_MEMORY = "out of memory"


def generate_surviving(
    backend: Backend,
    device: Device,
    requests: Sequence[Request],
    on_split: Callable[[int, str], None],
) -> list[Response]:
    """Answers a batch; what fails alone becomes an error of its sample.

    Args:
        backend: Loaded.
        device: Asked what an exception means and whether it is still alive.
        requests: The batch.
        on_split: Told the size of each batch that had to be halved, and why.

    Returns:
        One response per request, in their order.

    Raises:
        ModeltestError: Concerns the whole run, not these samples.
        DeviceError: The device does not answer any more.
    """
    if not requests:
        return []
    try:
        return _checked(requests, backend.generate(requests))
    except ModeltestError:
        raise
    except Exception as error:  # the sample boundary: from here on a failure is a value
        out_of_memory = device.is_out_of_memory(error)
        failure = OUT_OF_MEMORY if out_of_memory else f"{type(error).__name__}: {error}"
    # Out here the traceback, which holds the batch's tensors, is gone.
    device.free_memory()
    if not device.is_alive():
        raise DeviceError(f"{device.torch_name} does not answer any more ({failure})")
    if len(requests) == 1:
        return [Response(requests[0].sample_id, text="", error=failure)]
    on_split(len(requests), failure)
    half = len(requests) // 2
    return [
        *generate_surviving(backend, device, requests[:half], on_split),
        *generate_surviving(backend, device, requests[half:], on_split),
    ]


def _checked(requests: Sequence[Request], responses: list[Response]) -> list[Response]:
    asked = [request.sample_id for request in requests]
    answered = [response.sample_id for response in responses]
    if asked != answered:
        raise ModeltestError(f"the backend answered {answered} when asked {asked}")
    return responses
