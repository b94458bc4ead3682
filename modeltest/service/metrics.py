"""Counts what the server did, as Prometheus text."""

from __future__ import annotations

import sys
from collections.abc import Callable

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)

from modeltest.errors import one_line
from modeltest.records import Audio, Response

CONTENT_TYPE = CONTENT_TYPE_LATEST
_BATCHES = (1, 2, 4, 8, 16, 32, 64)
_SECONDS = (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100)


class ServiceMetrics:
    """A registry of this server's own; its figures may be set from any thread."""

    def __init__(self) -> None:
        registry = self._registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self._requests = Counter(
            "modeltest_requests", "Replies by route and HTTP status", ["route", "status"],
            registry=registry,
        )  # fmt: skip
        self._dropped = Counter(
            "modeltest_requests_dropped", "Requests whose client left", registry=registry
        )
        self._seconds = Histogram(
            "modeltest_request_seconds", "From a request's first byte to its reply's last",
            ["route"], buckets=_SECONDS, registry=registry,
        )  # fmt: skip
        self._batches = Histogram(
            "modeltest_batch_size", "Requests asked at once", buckets=_BATCHES, registry=registry
        )
        self._splits = Counter(
            "modeltest_batch_splits", "Batches that had to be halved", registry=registry
        )
        self._input_tokens = Counter("modeltest_input_tokens", "Prompt tokens", registry=registry)
        self._output_tokens = Counter("modeltest_output_tokens", "New tokens", registry=registry)
        self._audio_seconds = Counter(
            "modeltest_audio_seconds", "Audio that was decoded", registry=registry
        )
        self._under_way = Gauge(
            "modeltest_requests_under_way", "Accepted, not yet answered", registry=registry
        )
        self._waiting = Gauge(
            "modeltest_requests_waiting", "In the model's queue", registry=registry
        )

    def watch(self, num_under_way: Callable[[], int], num_waiting: Callable[[], int]) -> None:
        """Where the gauges read."""
        self._under_way.set_function(num_under_way)
        self._waiting.set_function(num_waiting)

    def reply(self, route: str, status: int, seconds: float) -> None:
        """A reply went out."""
        self._requests.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def dropped(self) -> None:
        """A client left."""
        self._dropped.inc()

    def heard(self, audio: Audio) -> None:
        """A clip was decoded."""
        self._audio_seconds.inc(audio.duration_s)

    def answered(self, response: Response) -> None:
        """The model replied."""
        self._input_tokens.inc(response.input_tokens or 0)
        self._output_tokens.inc(response.output_tokens or 0)

    def batch(self, size: int) -> None:
        """So many requests were asked at once."""
        self._batches.observe(size)

    def split(self, size: int, reason: str) -> None:
        """A batch was halved; said once on stderr each time, for the server's owner."""
        self._splits.inc()
        line = f"modeltest: a batch of {size} was halved ({one_line(reason)})"
        print(line, file=sys.stderr, flush=True)

    def text(self) -> bytes:
        """Everything, in Prometheus' format."""
        return generate_latest(self._registry)
