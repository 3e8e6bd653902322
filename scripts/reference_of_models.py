"""The part of ``docs/reference/`` that model repository and registries tell: tensors and metrics."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
REPOSITORY = ROOT / "model_repository"


def tensors_page() -> str:
    """Return the page of all tensors, as the configurations of the repository have them."""
    from trident_client import contract

    text = (
        "# Tensors\n\nWhat Triton is asked and answers with, of the sets that answer where none is named; those of"
        " another set have its name in front (`sts_ko`, `sts_ko_embedding`). `n` items of a request are rows, `-1` is"
        " any number. Texts are UTF-8, optional inputs may be left out.\n\n## Ensembles\n"
    )
    inner: dict[str, None] = {}
    for task, ensemble in contract.ensembles():
        if task.like is not None:
            continue
        name = ensemble.of(task.name)
        configuration = _read(name)
        steps = [step.model_name for step in configuration.ensemble_scheduling.step]
        inner |= dict.fromkeys(steps)
        said = {each.tensor: f"`{each.column}` in files and JSON" for each in ensemble.inputs}
        said |= {each.tensor: f"`{each.field}`, {each.minimum} to {each.maximum}" for each in ensemble.numbers}
        said |= {each.tensor: f"`{each.field}` in the answer" for each in ensemble.outputs if each.field}
        text += _model(configuration, name, said, f"Steps: {', '.join(f'`{step}`' for step in steps)}.")
    text += "\n## Tasks of labels\n\nSets of these tasks are made by an export, and each has a name of its own.\n"
    for task, ensemble in contract.ensembles():
        if task.like is None:
            continue
        rows = [(each.tensor, "STRING", "input, optional" if each.optional else "input") for each in ensemble.inputs]
        rows += [(each.tensor, each.datatype.replace("BYTES", "STRING"), "output") for each in ensemble.outputs]
        text += f"\n### {task.name}\n\n" + _table(("tensor", "type", ""), rows)
    text += "\n## Models of the ensembles\n\nTriton serves them by themselves, too.\n"
    return text + "".join(_model(_read(name), name, {}, "") for name in inner)


def _read(model: str) -> Any:
    from google.protobuf import text_format
    from tritonclient.grpc import model_config_pb2

    return text_format.Parse((REPOSITORY / model / "config.pbtxt").read_text("utf-8"), model_config_pb2.ModelConfig())


def _model(configuration: Any, name: str, said: dict[str, str], end: str) -> str:
    """Return a model's tensors: with what its configuration's comments say of it and of them."""
    from tritonclient.grpc import model_config_pb2

    lines = (REPOSITORY / name / "config.pbtxt").read_text("utf-8")
    first = re.match(r"(?:# .*\n)+", lines)
    text = f"\n### {name}\n\n{_uncommented(first[0]) if first else ''}\n\n"
    rows = []
    for kind, tensors in (("input", configuration.input), ("output", configuration.output)):
        for tensor in tensors:
            above = re.search(rf'((?:^ *# .*\n)+) *\{{ name: "{tensor.name}"', _block(lines, kind), re.MULTILINE)
            told = [said.get(tensor.name, ""), _uncommented(above[1]) if above else ""]
            datatype = model_config_pb2.DataType.Name(tensor.data_type).removeprefix("TYPE_")
            shape = ", ".join(["n", *map(str, tensor.dims)])
            optional = ", optional" if kind == "input" and tensor.optional else ""
            rows.append((tensor.name, f"{datatype} `[{shape}]`", f"{kind}{optional}", ". ".join(filter(None, told))))
    most = f"At most {configuration.max_batch_size} items a request." if configuration.max_batch_size > 1 else ""
    most = most or "One item a request."
    return text + _table(("tensor", "type", "", ""), rows) + f"\n{' '.join(filter(None, (most, end)))}\n"


def _block(text: str, kind: str) -> str:
    """Return the part of a configuration that lists inputs, or outputs."""
    found = re.search(rf"^{kind} \[.*?^\]|^{kind} \[.*\]$", text, re.MULTILINE | re.DOTALL)
    return found[0] if found else ""


def _uncommented(text: str) -> str:
    return " ".join(line.strip().lstrip("# ") for line in text.splitlines())


def metrics_page() -> str:
    """Return the page of the facade's metrics, of the registry that ``/metrics`` shows."""
    from trident_api.admission import Admission
    from trident_api.metrics import Metrics

    registry = Metrics(Admission(1, 1, 1.0, 1.0))._registry
    rows = []
    buckets = ["| metric | buckets |", "|---|---|"]
    for family in registry.collect():
        collector = registry._names_to_collectors[family.name]
        labels = ", ".join(f"`{label}`" for label in collector._labelnames)
        name = f"{family.name}_total" if family.type == "counter" else family.name
        rows.append((name, family.type, labels, family.documentation))
        if family.type == "histogram":
            buckets.append(f"| `{name}` | {', '.join(f'{bound:g}' for bound in collector._kwargs['buckets'])} |")
    return (
        "# Metrics\n\nWhat the facade's `/metrics` tells Prometheus. A histogram `x` comes as `x_bucket`, `x_sum` and "
        "`x_count`. Triton's own (`nv_inference_...`) are at `/metrics` of its third port, 8012.\n\n"
        + _table(("metric", "type", "labels", ""), rows)
        + "\nHistograms count up to:\n\n"
        + "\n".join(buckets)
        + "\n"
    )


def _table(heads: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
    lines += [f"| `{name}` | {' | '.join(cells)} |" for name, *cells in rows]
    return "\n".join(lines) + "\n"
