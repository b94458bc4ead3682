"""The seams: what the runner needs from a task, a backend, a device and a progress display."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from modeltest.records import (
    Aggregate,
    Generation,
    Prompt,
    Request,
    Response,
    Sample,
    Score,
    StageWork,
)

OnText = Callable[[int, str], None]
"""Told the place of a request in its batch and the next piece of its reply's text."""


class Task(Protocol):
    """What is asked and what the right answer is."""

    @property
    def name(self) -> str:
        """Name on the command line and in the reports."""
        ...

    @property
    def version(self) -> str:
        """Changes whenever the same reply could get another score."""
        ...

    @property
    def labels(self) -> tuple[str, ...]:
        """Every label that can be right, in the order of the choices; none to transcribe."""
        ...

    @property
    def num_clips(self) -> int:
        """Clips of every sample."""
        ...

    def prompt(self) -> Prompt:
        """What is asked of every sample."""
        ...

    def generation(self) -> Generation:
        """How replies are generated."""
        ...

    def score(self, sample: Sample, response: Response) -> Score:
        """Reads the answer out of the reply and compares it with the truth."""
        ...

    def subsets(self, sample: Sample) -> tuple[str, ...]:
        """Names of the slices that the sample belongs to, `class=…` first, `all` left out."""
        ...


class Backend(Protocol):
    """What turns requests into responses."""

    @property
    def name(self) -> str:
        """Short name for file names and reports."""
        ...

    @property
    def sampling_rate_hz(self) -> int:
        """Rate at which the model hears; known without loading the weights."""
        ...

    @property
    def max_audio_s(self) -> float:
        """Longest clip that the model hears whole, seconds."""
        ...

    def render(self, prompt: Prompt, num_clips: int) -> str:
        """The model's input text, audio tags unexpanded; needs no weights."""
        ...

    def num_input_tokens(self, request: Request) -> int:
        """Tokens that enter the language model for a request; needs no weights."""
        ...

    def load(self) -> None:
        """Loads the weights onto the device and drains it."""
        ...

    def prepare(self, requests: Sequence[Request]) -> Any:
        """The host's part of a batch (tokens, features); may run while `generate` runs.

        Returns:
            What `generate` takes for the same requests; None where there is nothing to do.
        """
        ...

    def generate(
        self,
        requests: Sequence[Request],
        prepared: Any = None,
        on_text: OnText | None = None,
    ) -> list[Response]:
        """Replies in the order of the requests, one each; times are read after draining.

        Args:
            requests: The batch.
            prepared: What `prepare` made of the same requests; made here when left out. The
                time that it took is part of the replies' times either way.
            on_text: Told of each piece of text as soon as it is there, from whichever thread;
                the pieces of a reply add up to its text. Never given where speed is measured:
                looking at every token waits for the device.
        """
        ...

    def identity(self, certified: bool) -> Mapping[str, Any]:
        """What decides the replies: model files, generation settings, template. JSON values.

        With `certified` every byte of the weights is hashed, else headers and sizes.
        """
        ...

    def facts(self) -> Mapping[str, Any]:
        """What is worth recording beside the identity: versions, parameters. JSON values."""
        ...

    def work(self, requests: Sequence[Request], output_tokens: int) -> Mapping[str, StageWork]:
        """Work of a batch by stage: `encoder`, `prefill` and `decode` (all steps).

        Args:
            requests: The batch.
            output_tokens: New tokens of its longest reply.

        Returns:
            Empty where the backend cannot tell.
        """
        ...

    def close(self) -> None:
        """Frees what `load` took."""
        ...


@runtime_checkable
class Service(Backend, Protocol):
    """A backend that asks a service, which answers many requests at a time."""

    def limit_in_flight(self, num_requests: int) -> None:
        """Lets `generate` keep so many requests on their way and hold the others back.

        Each reply lets the next request go, until all are answered: a closed loop.
        """
        ...

    def drop_clips(self) -> None:
        """Removes clips that were put where the service reads them; nothing is on its way."""
        ...

    @property
    def can_ignore_eos(self) -> bool:
        """Whether the service can go on behind the end token."""
        ...

    @property
    def is_on_this_host(self) -> bool:
        """Whether the service runs beside its client, whose load then is its own."""
        ...


class Device(Protocol):
    """Where tensors live; the only owner of clocks, memory figures and synchronisation."""

    @property
    def kind(self) -> str:
        """`cpu`, `cuda` or `npu`."""
        ...

    @property
    def label(self) -> str:
        """`CPU`, `GPU` or `NPU`: the folder name in the results."""
        ...

    @property
    def torch_name(self) -> str:
        """What torch calls it, for example `cuda:0`."""
        ...

    @property
    def is_host(self) -> bool:
        """Whether it computes on the host's own cores.

        Then nothing is queued, and what the host does meanwhile slows it down.
        """
        ...

    def synchronize(self) -> None:
        """Returns when all queued work is done."""
        ...

    def mark(self) -> Any:
        """A point in the device's own time, behind the work queued so far; does not wait."""
        ...

    def seconds_between(self, first: Any, second: Any) -> float:
        """Seconds from one mark to another; call `synchronize` first."""
        ...

    def total_memory_bytes(self) -> int:
        """All memory of the device, or on a CPU of the host."""
        ...

    def available_memory_bytes(self) -> int:
        """What of it nobody uses now, other processes included."""
        ...

    def peak_memory_bytes(self) -> int:
        """Highest use since `reset_peak_memory`: the device's, or on a CPU the process's."""
        ...

    def reset_peak_memory(self) -> None:
        """Starts counting the peak anew, where the system allows it."""
        ...

    def is_out_of_memory(self, error: Exception) -> bool:
        """Whether an exception says that this device's memory did not suffice."""
        ...

    def free_memory(self) -> None:
        """Gives back memory that is only cached."""
        ...

    def use_deterministic_algorithms(self) -> None:
        """Trades speed for the same result every time, from here to the process's end."""
        ...

    def warnings(self, dtype: str) -> tuple[str, ...]:
        """What a user should know before running in `bf16`, `fp16` or `fp32`; a line each."""
        ...

    def is_alive(self) -> bool:
        """Whether the device still computes; asked after a failure."""
        ...

    def health(self) -> Mapping[str, Any]:
        """How the device is now: temperature, power, errors; asked before and after a run.

        May start the vendor's tool, which takes up to 5 s. JSON values.
        """
        ...

    def facts(self) -> Mapping[str, Any]:
        """Name, memory, driver, set-up; `simulated` says that it is no real one. JSON values."""
        ...


class Metric(Protocol):
    """A figure over scored samples."""

    @property
    def name(self) -> str:
        """Name in the `metric` column."""
        ...

    def aggregate(
        self,
        subset: str,
        scores: Sequence[Score],
        errors: Sequence[bool],
        speakers: Sequence[int] | None = None,
    ) -> Aggregate:
        """The figure of one subset, its interval by speaker where speakers are known.

        `errors[i]` says that sample i failed, `speakers[i]` is the number of its speaker.
        """
        ...


class Progress(Protocol):
    """Tells a waiting user how far the work is. Never called inside a timed region."""

    def start(self, total: int, label: str) -> None:
        """Work of `total` steps begins."""
        ...

    def advance(self, steps: int) -> None:
        """`steps` more are done."""
        ...

    def finish(self) -> None:
        """The work ended, whole or not."""
        ...
