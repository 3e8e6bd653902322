"""OpenTelemetry: spans of the facade, and Triton's own spans below them, as one trace.

The packages are an extra of their own and imported only where traces are wanted. Triton reads the trace's context from
the header ``traceparent``, over gRPC and HTTP alike; OpenTelemetry's instrumentation of both adds it to every call.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from fastapi.telemetry import TelemetryConfig

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

#: Metrics are Prometheus', and OpenTelemetry's log entries would quote what users sent.
OFF: TelemetryConfig = {"tracing": False, "metrics": False, "logs": False, "operation_spans": False}


def make_provider(endpoint: str) -> TracerProvider:
    """Return what makes spans and sends them, as OTLP in JSON, to a collector.

    Args:
        endpoint: the collector's address, such as ``http://localhost:4318``.

    Raises:
        RuntimeError: the packages for it are not installed.
    """
    try:
        from opentelemetry.exporter.otlp.json.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise RuntimeError(
            f"TRIDENT_OTLP_ENDPOINT needs the extra `tracing`: pip install 'trident-nlp[tracing]' ({error})"
        ) from None
    provider = TracerProvider(resource=Resource.create({"service.name": "trident-api"}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(f"{endpoint.rstrip('/')}/v1/traces")))
    return provider


def settings_of(provider: TracerProvider | None) -> TelemetryConfig:
    """Return FastAPI's settings: a span a request where there is a provider, and nothing else."""
    return OFF if provider is None else {**OFF, "tracing": True, "tracer_provider": provider}


@contextmanager
def calls_carry_the_trace(provider: TracerProvider | None) -> Iterator[None]:
    """Give every call to Triton a span and the trace's context; what is left is sent at the end."""
    if provider is None:
        yield
        return
    from opentelemetry.instrumentation.grpc import GrpcAioInstrumentorClient
    from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor

    instrumentors = (GrpcAioInstrumentorClient(), HTTPXClientInstrumentor())  # type: ignore[no-untyped-call]
    for each in instrumentors:
        each.instrument(tracer_provider=provider)
    try:
        yield
    finally:
        for each in instrumentors:
            each.uninstrument()
        provider.shutdown()
