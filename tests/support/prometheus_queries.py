"""Every query that dashboards, rules and the autoscaler's adapter send to Prometheus, and what they name."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import promql_parser
import yaml

DOCKER = Path(__file__).resolve().parents[2] / "docker"
RULES = DOCKER / "prometheus" / "rules.yml"
DASHBOARD = DOCKER / "grafana" / "dashboards" / "trident.json"
ADAPTER = DOCKER / "k8s" / "prometheus-adapter.yaml"
#: What Prometheus itself gives every scrape, and what it and a cluster add to every sample.
OWN_METRICS = {"up"}
OWN_LABELS = {"job", "instance", "namespace", "pod"}
#: Triton has these on machines with a GPU alone.
GPU_METRICS = {"nv_gpu_utilization", "nv_gpu_memory_used_bytes", "nv_gpu_memory_total_bytes"}


class Query(NamedTuple):
    """A query and where it stands."""

    place: str
    text: str


def rules() -> Iterator[dict[str, object]]:
    """Yield the recording rules and the alerts."""
    for group in yaml.safe_load(RULES.read_text())["groups"]:
        yield from group["rules"]


def queries() -> list[Query]:
    """Return all queries, with what Grafana and the adapter fill in filled in."""
    found = [Query(str(each.get("alert") or each["record"]), str(each["expr"])) for each in rules()]
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        found += [Query(panel["title"], each["expr"].replace("$__rate_interval", "1m")) for each in panel["targets"]]
    for rule in yaml.safe_load(ADAPTER.read_text())["rules"]["custom"]:
        found.append(Query(rule["name"]["as"], rule["seriesQuery"]))
        query = rule["metricsQuery"].replace("<<.LabelMatchers>>", 'namespace="trident"').replace("<<.GroupBy>>", "pod")
        found.append(Query(rule["name"]["as"], query))
    return found


def named(query: str) -> dict[str, set[str]]:
    """Return the metrics that a query names, each with the labels that it selects or groups them by.

    Raises:
        ValueError: the query is not PromQL.
    """
    found: dict[str, set[str]] = {}
    _collect(promql_parser.parse(query), frozenset(), found)
    return found


def _collect(expression: object, grouped: frozenset[str], found: dict[str, set[str]]) -> None:
    if isinstance(expression, promql_parser.VectorSelector):
        labels = {each.name for each in expression.matchers.matchers} - {"__name__"}
        found.setdefault(str(expression.name), set()).update(labels, grouped)
        return
    modifier = getattr(expression, "modifier", None)
    if isinstance(expression, promql_parser.AggregateExpr) and modifier is not None:
        grouped = grouped | set(modifier.labels)
    for part in ("expr", "lhs", "rhs", "vector_selector"):
        if (inner := getattr(expression, part, None)) is not None:
            _collect(inner, grouped, found)
    for argument in getattr(expression, "args", None) or ():
        _collect(argument, grouped, found)
