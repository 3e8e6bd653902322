"""The command as people call it: what is refused, what is kept, and what goes on from where."""

import contextlib
import json
import signal
from pathlib import Path

import pytest
from google.protobuf import json_format
from trident_bench.cli import app
from trident_bench.ensembles import Ensemble, find_ensembles
from trident_bench.errors import MeasurementError, TooShortError
from trident_bench.load import command, sweep
from trident_bench.load.plan import Level
from trident_bench.load.points import Point
from trident_bench.store import Store
from trident_server.ports import free_ports
from tritonclient.grpc.model_config_pb2 import ModelConfig
from typer.testing import CliRunner

COLA = json_format.ParseDict(
    {
        "name": "cola",
        "input": [{"name": "TEXT"}],
        "output": [{"name": "PROBABILITY"}],
        "ensemble_scheduling": {"step": [{"model_name": "cola_classifier"}]},
    },
    ModelConfig(),
)


def load(*arguments: object):
    return CliRunner().invoke(app, ["load", *map(str, arguments)])


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--concurrency", "8:1"], "'8:1' is no range of concurrency"),
        (["--rates", "fast"], "'fast' is no list of request rates"),
        (["--protocols", "udp"], "accepted are http, grpc, facade"),
        (["--concurrency", "none"], "nothing to measure"),
        (["--facade-url", "http://127.0.0.1:1"], "give its --url too"),
        (["--protocols", "grpc", "--url", "127.0.0.1:1"], "give --grpc-url"),
        (["--protocols", "facade", "--url", "127.0.0.1:1"], "Nothing else was asked for"),
        (["--repository", "/nowhere"], "/nowhere"),
    ],
)
def test_what_cannot_be_measured_is_refused_with_the_reason(arguments, reason, tmp_path):
    result = load(*arguments, "--output", tmp_path)
    assert result.exit_code == 1
    assert reason in " ".join(result.output.split())
    assert not (tmp_path / "report.html").exists()


def test_a_server_that_is_not_there_is_named(tmp_path):
    (port,) = free_ports(1)
    result = load("--protocols", "http", "--url", f"127.0.0.1:{port}", "--output", tmp_path)
    assert result.exit_code == 1
    assert f"No Triton answers over http at 127.0.0.1:{port}" in result.output


def test_seconds_and_multiples_out_of_range_are_refused():
    for option in ("--seconds", "--knee"):
        result = load(option, "0.01")
        assert result.exit_code == 2
        assert option in result.output


class FakeState:
    """A Triton with one ensemble."""

    def __init__(self, url: str) -> None:
        self.url = url

    def version(self) -> str:
        return "triton 2.51.0"

    def ensembles(self) -> dict[str, Ensemble]:
        return find_ensembles({"cola": COLA, "cola_classifier": ModelConfig()})

    def __enter__(self) -> "FakeState":
        return self

    def __exit__(self, *_: object) -> None:
        pass


@pytest.fixture
def measured(monkeypatch, point, without_pictures):
    """Points are made up; which ones, in order, is returned. ``broken`` fails, ``interrupted`` is like Ctrl-C."""
    monkeypatch.setattr(command, "TritonState", FakeState)
    monkeypatch.setattr(command.perf_analyzer, "environment", lambda: contextlib.nullcontext({}))
    points: list[str] = []

    def measure(self, ensemble, protocol, level: Level, seconds, folder: Path):
        if seconds == sweep.WARM_UP_SECONDS:
            return None, None
        points.append(f"{protocol} {level}")
        if points[-1] in measure.slow and seconds < measure.slow[points[-1]]:
            raise TooShortError("too short")
        if points[-1] in measure.broken:
            raise MeasurementError("the generator broke")
        if points[-1] == measure.interrupted:
            signal.raise_signal(signal.SIGTERM)
        made = point(level.value, 100 * level.value**0.5, 10 * level.value**0.5)
        return made.load, made.window

    measure.broken, measure.slow, measure.interrupted, measure.points = set(), {}, None, points
    monkeypatch.setattr(sweep.Sweeper, "_measure", measure)
    return measure


def points_of(results: dict) -> list[int]:
    """Return how many points each sweep has."""
    return [sum(len(curve["points"]) for curve in each["curves"]) for each in results["sweeps"]]


def arguments(folder: Path) -> list[object]:
    given = ["--url", "127.0.0.1:1", "--grpc-url", "127.0.0.1:2", "--protocols", "http,grpc"]
    return [*given, "--concurrency", "1,4", "--rates", "50%", "--output", folder]


def test_finished_points_are_not_measured_again_unless_asked(measured, tmp_path):
    first = load(*arguments(tmp_path))
    assert first.exit_code == 0, first.output
    every = [
        f"{protocol} {level}"
        for protocol in ("http", "grpc")
        for level in ("concurrency 1", "concurrency 4", "rate 100")
    ]
    assert measured.points == every
    second = load(*arguments(tmp_path))
    assert second.exit_code == 0
    assert measured.points == every
    assert "6 points were measured by an earlier run" in " ".join(second.output.split())
    load(*arguments(tmp_path), "--fresh")
    assert measured.points == 2 * every


def test_points_of_other_conditions_are_measured_again(measured, tmp_path):
    load(*arguments(tmp_path))
    load(*arguments(tmp_path), "--seconds", 7)
    assert len(measured.points) == 12


def test_an_interrupted_run_keeps_what_it_has_and_goes_on_from_there(measured, tmp_path):
    measured.interrupted = "grpc concurrency 1"
    result = load(*arguments(tmp_path))
    assert result.exit_code == 130
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["interrupted"] is True
    assert points_of(results) == [3]
    assert "interrupted" in (tmp_path / "report.html").read_text()
    measured.interrupted = None
    measured.points.clear()
    assert load(*arguments(tmp_path)).exit_code == 0
    assert measured.points == ["grpc concurrency 1", "grpc concurrency 4", "grpc rate 100"]
    assert json.loads((tmp_path / "results.json").read_text())["interrupted"] is False


def test_a_point_that_fails_is_told_and_the_others_are_measured(measured, tmp_path):
    measured.broken = {"http concurrency 4"}
    result = load(*arguments(tmp_path))
    assert result.exit_code == 1
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["not_measured"] == {"cola http concurrency 4": "the generator broke"}
    assert points_of(results) == [2, 3]


def test_a_slow_point_is_measured_for_longer_and_says_so(measured, tmp_path):
    measured.slow = {"http concurrency 4": 20}
    assert load(*arguments(tmp_path), "--seconds", 2).exit_code == 0
    http = json.loads((tmp_path / "results.json").read_text())["sweeps"][0]
    assert [point["seconds"] for curve in http["curves"] for point in curve["points"]] == [2, 32, 2]
    measured.slow = {"http concurrency 4": 100}
    result = load(*arguments(tmp_path), "--seconds", 3)
    assert "too short" in " ".join(result.output.split())
    assert measured.points.count("http concurrency 4") == 6


def test_a_server_that_answers_no_more_is_given_up(measured, tmp_path):
    measured.broken = {"http concurrency 4", "http rate 50", "grpc concurrency 1"}  # Three in a row.
    result = load(*arguments(tmp_path))
    assert result.exit_code == 1
    assert "Gave up after 3 points in a row" in " ".join(result.output.split())
    assert measured.points[-1] == "grpc concurrency 1"


def test_half_a_point_is_no_point(tmp_path, point):
    store = Store(tmp_path, Point)
    name = "sts/grpc/concurrency-4"
    store.keep(name, point(4))
    file = tmp_path / f"{name}.json"
    assert store.find(name, "same") is not None
    assert store.find(name, "other") is None
    file.write_text(file.read_text()[:100])
    assert store.find(name, "same") is None
