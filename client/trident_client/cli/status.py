"""What servers serve, whether they are ready, and what they do right now."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import httpx
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from trident_client import ModelStatistics, TridentClient
from trident_client._settings import DEFAULT_URLS
from trident_client.errors import TridentError

METRICS_PORT = 8012
METRICS_TIMEOUT = 2.0
WAIT_SECONDS = 0.25
GIGABYTE = 1e9


def default_url(protocol: str) -> str:
    """Return where the local server is."""
    return DEFAULT_URLS[protocol]


def show_models(client: TridentClient, *, as_json: bool) -> None:
    """Print what is served."""
    found = client.models()
    if as_json:
        print(json.dumps([dataclasses.asdict(each) for each in found], ensure_ascii=False))  # noqa: T201
        return
    table = Table("model", "task", "languages", "dimension", "similar from", "metrics", box=None)
    for each in found:
        metrics = ", ".join(f"{name} {value:.4g}" for name, value in each.metrics.items())
        cells = [each.dimension, each.threshold]
        table.add_row(
            each.name,
            each.task,
            " ".join(each.languages),
            *("" if cell is None else f"{cell:g}" for cell in cells),
            metrics,
        )
    Console(highlight=False).print(table)


def show_ready(servers: Mapping[str, TridentClient], wait: float) -> bool:
    """Print of each server whether it is ready, waiting up to ``wait`` seconds for all; say whether all are."""
    console = Console(highlight=False, soft_wrap=True)
    deadline = time.monotonic() + wait
    while True:
        states = {url: _readiness(client) for url, client in servers.items()}
        all_ready = all(each == "ready" for each in states.values())
        remaining = deadline - time.monotonic()
        if all_ready or remaining <= 0:
            break
        time.sleep(min(WAIT_SECONDS, remaining))
    for url, each in states.items():
        console.print(f"{url} {each}", markup=False)
    for client in servers.values():
        client.close()
    return all_ready


def _readiness(client: TridentClient) -> str:
    try:
        return "ready" if client.ready() else "not ready: a model does not answer yet"
    except TridentError as error:
        return f"away: {error}"


@dataclass(frozen=True)
class Snapshot:
    """What the servers had counted at one time."""

    taken_at: float
    models: Mapping[tuple[str, str], ModelStatistics]
    metrics: Mapping[str, Mapping[tuple[str, str], float]]


def watch(client: TridentClient, metrics_urls: Sequence[str], interval: float, count: int) -> None:
    """Print a table of what each model did between two snapshots, again and again.

    Args:
        client: asks the servers for their statistics.
        metrics_urls: where Triton's metrics are, in the order of the servers; each server's port 8012 if empty.
        interval: seconds between two snapshots.
        count: tables to print; 0 goes on for ever.
    """
    servers = [each.url for each in client.servers()]
    hosts = [f"{url.rpartition(':')[0]}:{METRICS_PORT}" for url in servers]
    metrics_of = dict(zip(servers, [*metrics_urls, *hosts[len(metrics_urls) :]], strict=False))
    console = Console(highlight=False)
    shown = 0
    with (
        httpx.Client(timeout=METRICS_TIMEOUT, trust_env=False) as http,
        Live(console=console, auto_refresh=False) as live,
    ):
        previous = _snapshot(client, metrics_of, http)
        while count == 0 or shown < count:
            time.sleep(interval)
            current = _snapshot(client, metrics_of, http)
            table = table_of(previous, current)
            if console.is_terminal:
                live.update(table, refresh=True)
            else:
                console.print(table)
            previous, shown = current, shown + 1


def table_of(previous: Snapshot, current: Snapshot) -> Group:
    """Return a table of what happened between two snapshots."""
    seconds = max(current.taken_at - previous.taken_at, 1e-9)
    several = len({server for server, _ in current.models}) > 1
    # Two lines a heading, and so at most 80 columns with numbers of six digits, of one server.
    headings = [
        "model",
        "requests\n/s",
        "items\n/s",
        "items\n/run",
        "wait-\ning",
        "in all\nms",
        "queue\nms",
        "model\nms",
    ]
    table = Table(*(["server"] if several else []), box=None, pad_edge=False, collapse_padding=True)
    for heading in [*headings, "failed"]:
        table.add_column(heading, justify="left" if heading == "model" else "right", no_wrap=True)
    for key, model in current.models.items():
        earlier = previous.models.get(key, model)
        if model.successes < earlier.successes:
            # The server was restarted between the snapshots, and counts from 0.
            earlier = model
        requests, items = model.successes - earlier.successes, model.inferences - earlier.inferences
        runs, failed = model.executions - earlier.executions, model.failures - earlier.failures
        waiting = current.metrics.get(model.server, {}).get(("nv_inference_pending_request_count", model.name))
        durations = [
            model.request_seconds - earlier.request_seconds,
            model.queue_seconds - earlier.queue_seconds,
            model.compute_infer_seconds - earlier.compute_infer_seconds,
        ]
        cells = [
            f"{requests / seconds:,.1f}",
            f"{items / seconds:,.1f}",
            f"{items / runs:.1f}" if runs else "",
            "" if waiting is None else f"{waiting:.0f}",
            *(f"{each / requests * 1000:,.2f}" if requests else "" for each in durations),
            str(failed) if failed else "",
        ]
        table.add_row(*([model.server] if several else []), model.name, *cells)
    return Group(table, *(Text(each, style="dim") for each in _resource_lines(current)))


def _resource_lines(snapshot: Snapshot) -> list[str]:
    lines = []
    for server, metrics in snapshot.metrics.items():
        usage = []
        if (used := metrics.get(("nv_cpu_utilization", ""))) is not None:
            usage.append(f"processors {used:.0%}")
        if (memory := metrics.get(("nv_cpu_memory_used_bytes", ""))) is not None:
            usage.append(f"memory in use {memory / GIGABYTE:.1f} GB")
        usage += [f"GPU {value:.0%}" for (name, _), value in metrics.items() if name == "nv_gpu_utilization"]
        lines.append(f"{server}: {', '.join(usage)}" if usage else f"{server}: its metrics cannot be read")
    return lines


def _snapshot(client: TridentClient, metrics_of: Mapping[str, str], http: httpx.Client) -> Snapshot:
    models = {(each.server, each.name): each for each in client.statistics()}
    return Snapshot(time.monotonic(), models, {server: _metrics(http, url) for server, url in metrics_of.items()})


def _metrics(http: httpx.Client, url: str) -> dict[tuple[str, str], float]:
    try:
        answer = http.get(f"http://{url}/metrics")
    except httpx.HTTPError:
        return {}
    return read_metrics(answer.text) if answer.status_code == 200 else {}


def read_metrics(text: str) -> dict[tuple[str, str], float]:
    """Return the samples of Prometheus' text format, by name and by model or GPU."""
    # `trident watch` alone reads them, and `trident doctor` runs without.
    from prometheus_client.parser import text_string_to_metric_families

    try:
        families = list(text_string_to_metric_families(text))
    except ValueError:
        # Not Prometheus: whatever answers there counts nothing.
        return {}
    return {
        (sample.name, sample.labels.get("model") or sample.labels.get("gpu_uuid") or ""): sample.value
        for family in families
        for sample in family.samples
    }
