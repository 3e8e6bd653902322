"""What a model of a Triton did between two readings of its statistics."""

from __future__ import annotations

from pydantic import BaseModel
from tritonclient.grpc.service_pb2 import ModelStatistics

COMPUTE = ("compute_input", "compute_infer", "compute_output")
NANOSECONDS = 1e9
NANOSECONDS_PER_MS = 1e6


class ModelUsage(BaseModel):
    """What one model did.

    ``inference_stats`` counts a batch's time once for each of its requests, ``batch_stats`` once for each execution
    (Triton's statistics extension): the first tells what a request waits for, the second how busy an instance is.

    Attributes:
        name: of the model.
        requests: answered.
        items: in them; the facade sends several in one.
        executions: batches computed.
        request_ms: from a request's arrival to its end, on average over requests, as all that follow.
        queue_ms: wait for an instance.
        input_ms: time in which the batch of a request was put together.
        infer_ms: time in which it was computed.
        output_ms: time in which its answers were taken apart.
        computing_seconds: of all executions together.
    """

    name: str
    requests: int
    items: int
    executions: int
    request_ms: float
    queue_ms: float
    input_ms: float
    infer_ms: float
    output_ms: float
    computing_seconds: float

    @property
    def batch(self) -> float:
        """Items in an execution, on average."""
        return self.items / self.executions if self.executions else 0.0

    @property
    def compute_ms(self) -> float:
        """Time of the batch that a request was in, on average over requests."""
        return self.input_ms + self.infer_ms + self.output_ms


def usage(before: ModelStatistics, after: ModelStatistics) -> ModelUsage:
    """Return what a model did between two of Triton's answers about its statistics."""
    old, new = before.inference_stats, after.inference_stats
    requests = new.success.count - old.success.count

    def mean_ms(duration: str) -> float:
        spent = getattr(new, duration).ns - getattr(old, duration).ns
        return float(spent / requests / NANOSECONDS_PER_MS) if requests else 0.0

    return ModelUsage(
        name=after.name,
        requests=requests,
        items=after.inference_count - before.inference_count,
        executions=after.execution_count - before.execution_count,
        request_ms=mean_ms("success"),
        queue_ms=mean_ms("queue"),
        input_ms=mean_ms("compute_input"),
        infer_ms=mean_ms("compute_infer"),
        output_ms=mean_ms("compute_output"),
        computing_seconds=max(0.0, _computing_seconds(after) - _computing_seconds(before)),
    )


def _computing_seconds(statistics: ModelStatistics) -> float:
    return float(sum(getattr(batch, part).ns for batch in statistics.batch_stats for part in COMPUTE) / NANOSECONDS)
