"""What the facade counts of itself, for Prometheus."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from trident_api.admission import Admission

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096)


class Metrics:
    """The metrics of one application, in a registry of their own.

    Labels take few values: a route is a path as it was declared, never as it was asked for.

    Args:
        admission: the queue whose length is shown.
    """

    def __init__(self, admission: Admission) -> None:
        registry = self._registry = CollectorRegistry()
        self.requests = Counter(
            "trident_http_requests", "Requests answered.", ["method", "route", "status"], registry=registry
        )
        self.seconds = Histogram(
            "trident_http_request_seconds",
            "Seconds from a request's first byte to its answer's last.",
            ["route"],
            buckets=SECONDS,
            registry=registry,
        )
        self.in_flight = Gauge("trident_http_requests_in_flight", "Requests being handled.", registry=registry)
        self.batch = Histogram(
            "trident_batch_size",
            "Sentences, pairs or questions in a request.",
            ["task"],
            buckets=SIZES,
            registry=registry,
        )
        self.carried = Histogram(
            "trident_joined_size",
            "Sentences or pairs that were carried to Triton together, of one request or of several.",
            ["task"],
            buckets=SIZES,
            registry=registry,
        )
        self.inference = Histogram(
            "trident_inference_seconds", "Seconds that Triton took.", ["task"], buckets=SECONDS, registry=registry
        )
        self.queued = Histogram(
            "trident_queue_seconds",
            "Seconds that a request waited for its turn.",
            ["task"],
            buckets=SECONDS,
            registry=registry,
        )
        self.errors = Counter(
            "trident_upstream_errors",
            "Requests that Triton or the queue before it did not answer, by kind of error.",
            ["task", "kind"],
            registry=registry,
        )
        running = Gauge("trident_queue_running", "Requests that are with Triton.", registry=registry)
        running.set_function(lambda: admission.running)
        waiting = Gauge("trident_queue_waiting", "Requests that wait for their turn.", registry=registry)
        waiting.set_function(lambda: admission.waiting)
        work = Gauge("trident_queue_work_tokens", "Tokens under way and waiting, as estimated.", registry=registry)
        work.set_function(lambda: admission.work)

    def text(self) -> bytes:
        """Return all of them in Prometheus' text format."""
        return generate_latest(self._registry)
