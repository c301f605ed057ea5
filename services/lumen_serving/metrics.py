"""All metrics of a model server; their labels are closed sets, never names from requests."""

from collections.abc import Callable
from functools import partial

import grpc
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64, 128)


class ServerMetrics:
    """One registry and the verbs that fill it; every verb may be called from any thread."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        counter = partial(Counter, registry=self._registry)
        gauge = partial(Gauge, registry=self._registry)
        histogram = partial(Histogram, buckets=_SECONDS, registry=self._registry)
        self._requests = counter("lumen_requests", "Requests answered.", ["task", "code"])
        self._calls = counter("lumen_grpc_calls", "gRPC calls ended.", ["method", "code"])
        self._call_seconds = histogram(
            "lumen_grpc_call_seconds", "How long gRPC calls lasted.", ["method"]
        )
        self._errors = counter("lumen_errors", "Requests answered with an error.", ["code"])
        self._latency = histogram(
            "lumen_request_seconds", "From the complete request to its answer.", ["task"]
        )
        self._inflight = gauge("lumen_inflight", "Requests being answered.")
        self._held_bytes = gauge(
            "lumen_held_payload_bytes", "Raw payload of requests that arrive or are in flight."
        )
        self._decode_bytes = gauge(
            "lumen_decode_memory_bytes",
            "Memory that is promised to the pictures that are being decoded.",
        )
        self._refused = counter("lumen_refused", "Requests refused at admission.", ["bound"])
        self._queue_length = gauge("lumen_queue_length", "Items that wait for the model.")
        self._queue_wait = histogram(
            "lumen_queue_wait_seconds", "From the decoded item to the start of its batch."
        )
        self._predicted = gauge(
            "lumen_predicted_wait_seconds",
            "How long a request would take that waits for all that is in flight.",
        )
        self._batch_size = histogram(
            "lumen_batch_size", "Items in a batch.", ["modality"], buckets=_BATCH_SIZES
        )
        self._inference = histogram(
            "lumen_inference_seconds", "How long the model took for a batch.", ["modality"]
        )
        self._decode = histogram(
            "lumen_decode_seconds",
            "Decoding and preprocessing of a picture, or tokenising of a text.",
            ["modality"],
        )
        self._dropped = counter(
            "lumen_dropped_dead",
            "Items dropped before the model because their caller left or their deadline passed.",
        )
        self._batch_failures = counter("lumen_batch_failures", "Batches on which the model failed.")
        self._ready = gauge("lumen_ready", "1 while the model serves.")
        self._model = gauge(
            "lumen_model_info",
            "What computes: always 1, its labels say it.",
            ["runtime", "version", "device", "precision", "embedding_space"],
        )

    def request_done(self, task: str, code: str, seconds: float) -> None:
        """Count an answered request; `task` is a task's kind, `code` a gRPC status name."""
        self._requests.labels(task, code).inc()
        self._latency.labels(task).observe(seconds)
        if code != "OK":
            self._errors.labels(code).inc()

    def call_done(self, method: str, code: grpc.StatusCode, seconds: float) -> None:
        """Count a gRPC call that has ended; a stream is one call."""
        self._calls.labels(method, code.name).inc()
        self._call_seconds.labels(method).observe(seconds)

    def inflight(self, requests: int) -> None:
        """Set how many requests are being answered."""
        self._inflight.set(requests)

    def held_bytes_with(self, held: Callable[[], float]) -> None:
        """Ask that function for the held bytes whenever metrics are read."""
        self._held_bytes.set_function(held)

    def decode_bytes_with(self, held: Callable[[], float]) -> None:
        """Ask that function for the memory of decoding whenever metrics are read."""
        self._decode_bytes.set_function(held)

    def refused(self, bound: str) -> None:
        """Count a refusal by the bound that caused it: count, wait, deadline or decode."""
        self._refused.labels(bound).inc()

    def predict_wait_with(self, seconds: Callable[[], float]) -> None:
        """Ask that function for the predicted wait whenever metrics are read."""
        self._predicted.set_function(seconds)

    def queue_length(self, length: int) -> None:
        """Set how many items wait for the model."""
        self._queue_length.set(length)

    def queue_waited(self, seconds: float) -> None:
        """Record how long one item waited for its batch."""
        self._queue_wait.observe(seconds)

    def batch_done(self, modality: str, size: int, seconds: float) -> None:
        """Record one batch that went through the model."""
        self._batch_size.labels(modality).observe(size)
        self._inference.labels(modality).observe(seconds)

    def batch_failed(self) -> None:
        """Count a batch on which the model failed."""
        self._batch_failures.inc()

    def decoded(self, modality: str, seconds: float) -> None:
        """Record how long one payload took to become the model's input."""
        self._decode.labels(modality).observe(seconds)

    def dropped_dead(self, items: int) -> None:
        """Count items that were dropped because nobody waits for them any more."""
        self._dropped.inc(items)

    def ready(self, serves: bool) -> None:
        """Set whether the model serves."""
        self._ready.set(1 if serves else 0)

    def model_is(
        self, runtime: str, version: str, device: str, precision: str, embedding_space: str
    ) -> None:
        """Say once what computes."""
        self._model.labels(runtime, version, device, precision, embedding_space).set(1)

    def page(self) -> tuple[str, bytes]:
        """Return the content type and the text of `/metrics`."""
        return CONTENT_TYPE_LATEST, generate_latest(self._registry)
