"""``trident-bench load`` on servers of its own: what it writes is there, is whole, and agrees with itself."""

import base64
import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from trident_server.backends.pytorch.inprocess import MOST_WORKERS
from trident_server.process import TritonProcess

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 1.0
#: A guard against what never ends: on a machine that has much else to do, a run of half a minute takes many.
MOST_SECONDS = 1200
#: How many executions an instance of each stage has under way at most.
CONCURRENT_EXECUTIONS = {"cola_tokenizer": 1, "cola_classifier": MOST_WORKERS}

pytestmark = [
    pytest.mark.serving,
    pytest.mark.slow,
    pytest.mark.bench,
    pytest.mark.timeout(2 * MOST_SECONDS),
]


def run(output: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from trident_bench.cli import main; main()", "load", "cola"]
    command += ["--seconds", str(SECONDS), "--output", str(output), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=MOST_SECONDS, cwd=ROOT, env=os.environ)


@pytest.fixture(scope="module")
def output(tmp_path_factory) -> Path:
    """What a run over both protocols wrote."""
    folder = tmp_path_factory.mktemp("load")
    done = run(folder, "--protocols", "http,grpc", "--concurrency", "1,4", "--rates", "30")
    assert done.returncode == 0, done.stderr
    return folder


def read(folder: Path) -> list[dict]:
    """Return the results' sweeps, each with all its ``points``."""
    sweeps = json.loads((folder / "results.json").read_text("utf-8"))["sweeps"]
    return [each | {"points": [point for curve in each["curves"] for point in curve["points"]]} for each in sweeps]


@pytest.fixture(scope="module")
def sweeps(output) -> list[dict]:
    return read(output)


def test_every_point_of_both_protocols_was_answered_without_failures(sweeps):
    assert [sweep["protocol"] for sweep in sweeps] == ["http", "grpc"]
    for sweep in sweeps:
        assert [(point["mode"], point["value"]) for point in sweep["points"]] == [
            ("concurrency", 1),
            ("concurrency", 4),
            ("rate", 30),
        ]
        for point in sweep["points"]:
            load, latency = point["load"], point["load"]["latency"]
            assert load["requests"] > 0
            assert load["failures"] == 0
            assert load["throughput"] > 0
            assert 0 < latency["p50"] <= latency["p90"] <= latency["p95"] <= latency["p99"]


def test_a_closed_loop_obeys_littles_law(sweeps):
    """Requests under way = throughput x mean latency: both are of one and the same load."""
    for sweep in sweeps:
        for point in sweep["points"][:2]:
            under_way = point["load"]["throughput"] * point["load"]["latency"]["mean"] / 1000
            assert under_way == pytest.approx(point["value"], rel=0.25)


def test_stages_did_what_was_requested_of_the_ensemble(sweeps):
    for sweep in sweeps:
        for point in sweep["points"]:
            stages = point["window"]["stages"]
            assert [stage["name"] for stage in stages] == list(CONCURRENT_EXECUTIONS)
            for stage in stages:
                assert 0 < stage["executions"] <= stage["requests"] + 1
                # Each execution is of a request under way, of which a closed loop has so many.
                assert 0 < stage["busy"] <= 1.1 * min(point["value"], CONCURRENT_EXECUTIONS[stage["name"]])
                assert 0 < stage["infer_ms"] < point["load"]["latency"]["p99"]
            assert stages[1]["busy"] > stages[0]["busy"]


def test_a_knee_is_one_of_its_curves_points(sweeps):
    for curve in (curve for sweep in sweeps for curve in sweep["curves"]):
        assert curve["knee"]["point"] is None or curve["knee"]["point"] in curve["points"]


def test_perf_analyzers_tables_say_the_same_as_the_results(output, sweeps):
    for point in (point for sweep in sweeps for point in sweep["points"]):
        folder = output / "points" / "cola" / point["protocol"]
        name = f"{point['mode']}-{point['value']:g}"
        (row,) = csv.DictReader((folder / f"{name}.csv").read_text().splitlines())
        assert float(row["Inferences/Second"]) == point["load"]["throughput"]
        assert float(row["p99 latency"]) == pytest.approx(1000 * point["load"]["latency"]["p99"])
        for stage in ("cola_tokenizer", "cola_classifier"):
            (served,) = csv.DictReader((folder / f"{stage}_v1.{name}.csv").read_text().splitlines())
            assert {"Server Queue", "Server Compute Infer"} <= set(served)


def test_the_picture_stands_in_the_page(output):
    picture = (output / "cola.png").read_bytes()
    page = (output / "report.html").read_text("utf-8")
    assert base64.b64encode(picture).decode() in page
    assert "cola_classifier" in page


def test_the_facade_of_running_servers_is_measured_at_rates_that_it_can_answer(triton: TritonProcess, tmp_path):
    """Also that running servers are taken, and that their statistics are those of the asked ensemble."""
    from trident_server.facade import FacadeProcess
    from trident_server.ports import free_ports

    (port,) = free_ports(1)
    facade = FacadeProcess(
        host="127.0.0.1",
        port=port,
        triton_url=triton.http_url,
        triton_grpc_url=triton.grpc_url,
        log_file=tmp_path / "facade.log",
    )
    with facade:
        given = ["--url", triton.http_url, "--facade-url", facade.url, "--protocols", "facade", "--seconds", "3"]
        # A share of what it has just answered: what a busy machine cannot answer is not asked of it.
        done = run(tmp_path, *given, "--concurrency", "4", "--rates", "25%")
    assert done.returncode == 0, done.stderr
    (sweep,) = read(tmp_path)
    closed, opened = sweep["points"]
    for point in (closed, opened):
        name = f"{point['mode']}-{point['value']:g}.latencies.json"
        written = json.loads((tmp_path / "points/cola/facade" / name).read_text())
        assert len(written["latencies"]) == point["load"]["requests"] > 0
        assert point["load"]["failures"] == 0
        assert [stage["name"] for stage in point["window"]["stages"]] == list(CONCURRENT_EXECUTIONS)
        assert all(stage["requests"] > 0 for stage in point["window"]["stages"])
    assert opened["value"] == pytest.approx(closed["load"]["throughput"] / 4, rel=0.01)
    load = opened["load"]
    # Where all are sent in time and answered soon, as many are answered as are asked; else others had the cores.
    in_time = load["late"] < 0.05 and load["latency"]["p99"] < 250
    assert not in_time or load["throughput"] == pytest.approx(opened["value"], rel=0.7)
