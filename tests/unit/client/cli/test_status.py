"""Models, readiness and the live table, over fake transports and made-up counts."""

import io
import json
from dataclasses import replace

import pytest
from rich.console import Console
from trident_client import FakeTransport, ModelStatistics, NotReadyError, TransportError, TridentClient
from trident_client.cli import progress, readers, status
from trident_client.cli.processing import Report

METRICS = """\
# HELP nv_inference_pending_request_count Instantaneous number of pending requests awaiting execution per-model.
# TYPE nv_inference_pending_request_count gauge
nv_inference_pending_request_count{model="sts",version="1"} 3
nv_inference_pending_request_count{model="odd \\"one\\"",version="1"} 2
nv_cpu_utilization 0.25
nv_cpu_memory_used_bytes 8e+09
nv_gpu_utilization{gpu_uuid="GPU-1"} 0.5
"""
DESCRIBED = {
    "sts_ko": {
        "parameters": {
            "task": {"string_value": "sts"},
            "languages": {"string_value": "ko,en"},
            "threshold": {"string_value": "0.43"},
            "metrics": {"string_value": '{"f1": 0.8}'},
        }
    },
    "sts_ko_embedding": {"output": [{"name": "EMBEDDING", "dims": [384]}]},
}
BEFORE = ModelStatistics("a:1", "sts", "1", 100, 10, 20, 0, 1.0, 0.5, 0.0, 0.4, 0.0)
NOW = ModelStatistics("a:1", "sts", "1", 228, 12, 24, 3, 1.04, 0.52, 0.0, 0.412, 0.0)


def shown(before: ModelStatistics, now: ModelStatistics, metrics: str = METRICS, width: int = 200) -> str:
    def snapshot(at, each):
        return status.Snapshot(at, {(each.server, each.name): each}, {each.server: status.read_metrics(metrics)})

    console = Console(file=io.StringIO(), width=width)
    console.print(status.table_of(snapshot(0.0, before), snapshot(2.0, now)))
    return console.file.getvalue()


def test_metrics_are_read_by_name_and_model():
    assert status.read_metrics(METRICS) == {
        ("nv_inference_pending_request_count", "sts"): 3,
        ("nv_inference_pending_request_count", 'odd "one"'): 2,
        ("nv_cpu_utilization", ""): 0.25,
        ("nv_cpu_memory_used_bytes", ""): 8e9,
        ("nv_gpu_utilization", "GPU-1"): 0.5,
    }


@pytest.mark.parametrize(
    "text", ["<html>no metrics</html>", 'nv_broken{model="sts"} many\n', METRICS + "not a metric\n"]
)
def test_what_is_not_prometheus_counts_nothing(text: str):
    assert status.read_metrics(text) == {}


def test_the_table_shows_what_happened_between_two_looks():
    *_, row, machine = shown(BEFORE, NOW).splitlines()
    assert row.split() == ["sts", "2.0", "64.0", "64.0", "3", "10.00", "5.00", "3.00", "3"]
    assert machine.strip() == "a:1: processors 25%, memory in use 8.0 GB, GPU 50%"


def test_a_model_at_rest_and_metrics_that_are_away_are_shown_as_such():
    *_, row, machine = shown(BEFORE, BEFORE, "").splitlines()
    assert row.split() == ["sts", "0.0", "0.0"]
    assert machine.strip() == "a:1: its metrics cannot be read"


def test_a_restarted_server_has_no_negative_rates():
    restarted = replace(NOW, inferences=5, executions=1, successes=1, failures=0, request_seconds=0.1, queue_seconds=0)
    assert "-" not in shown(BEFORE, restarted).splitlines()[-2]


def test_the_table_fits_80_columns():
    busy = replace(NOW, name="qa_span_decoder", inferences=700_100, successes=99_900, request_seconds=9_990.0)
    busy = replace(busy, queue_seconds=8_880.0, compute_infer_seconds=900.0, executions=30_000)
    rows = shown(replace(BEFORE, name="qa_span_decoder"), busy, width=80).splitlines()
    assert max(map(len, rows)) <= 80
    assert "…" not in "".join(rows)
    assert len(rows) == 4


def test_models_are_listed_as_a_table_and_as_json(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "150")
    with TridentClient(transport=FakeTransport(dict, configurations=DESCRIBED)) as client:
        status.show_models(client, as_json=True)
        (model,) = json.loads(capsys.readouterr().out)
        status.show_models(client, as_json=False)
    assert model["name"] == "sts_ko"
    assert model["threshold"] == 0.43
    assert capsys.readouterr().out.splitlines()[1].split() == ["sts_ko", "sts", "ko", "en", "384", "0.43", "f1", "0.8"]


def test_every_servers_readiness_is_told(capsys):
    class Away(FakeTransport):
        def ready(self, models):
            raise TransportError("connection refused")

    servers = {
        "a:1": TridentClient(transport=FakeTransport(dict)),
        "b:2": TridentClient(transport=FakeTransport(dict, is_ready=False)),
        "c:3": TridentClient(transport=Away(dict)),
    }
    assert not status.show_ready(servers, 0)
    assert capsys.readouterr().out.splitlines() == [
        "a:1 ready",
        "b:2 not ready: a model does not answer yet",
        "c:3 away: connection refused",
    ]


def test_waiting_ends_when_all_are_ready():
    class Soon(FakeTransport):
        requested = 0

        def ready(self, models):
            self.requested += 1
            if self.requested < 3:
                raise NotReadyError("loading")
            return True

    assert status.show_ready({"a:1": TridentClient(transport=Soon(dict))}, 60)


@pytest.mark.parametrize("terminal", [True, False])
def test_progress_tells_rows_rate_and_what_is_left(tmp_path, monkeypatch, terminal):
    (tmp_path / "in.csv").write_text("sentence\n" + "text\n" * 100_000)
    source = readers.open_source(tmp_path / "in.csv", None, ["sentence"])
    console = Console(file=io.StringIO(), width=150, force_terminal=terminal, highlight=False)
    monkeypatch.setattr(progress, "REPORT_INTERVAL", 0.0)
    now = 0.0

    def clock():
        nonlocal now
        now += 0.001
        return now

    monkeypatch.setattr(progress.time, "monotonic", clock)
    with progress.ProgressReport(console, source, quiet=False) as progress_report:
        for row in source:
            progress_report.row(row, None)
        progress_report.end(Report(rows=100_000))
    source.close()
    reported = console.file.getvalue()
    assert "rows/s" in reported
    if not terminal:
        assert "s left" in reported
    assert "100,000 rows in" in reported
    assert "peak memory" in reported
