"""Tables, JSON and pictures of a comparison."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import matplotlib.image
import pytest
from trident_bench.compare.ratios import measured
from trident_bench.compare.report import PICTURE, Comparison, make_report
from trident_bench.compare.rounds import Results
from trident_bench.compare.rows import Group, Row
from trident_bench.generator.loop import Sample


class Named:
    facts: dict[str, object] = {}  # noqa: RUF012

    def __init__(self, name: str) -> None:
        self.name = name

    def start(self) -> None: ...

    def stop(self) -> None: ...

    def pids(self) -> list[int]:
        return []


def make(name: str, group: Group, contender: str, *, ours: bool = False) -> Row:
    return Row(name, f"title of {name}", group, SimpleNamespace(contenders=(Named(contender),)), ours=ours)


@pytest.fixture
def comparison() -> Comparison:
    rows = [
        make("engine-64", Group.BARE, "engine", ours=True),
        make("products-64", Group.BARE, "products"),
        make("grpc-64", Group.SERVED, "ensemble", ours=True),
        make("infinity-64", Group.SERVED, "infinity"),
        make("engine-1", Group.ALONE, "engine", ours=True),
        make("cola-64", Group.COLA, "ensemble", ours=True),
        make("qa-32", Group.QA, "ensemble", ours=True),
    ]
    samples = {row.name: [Sample(1200.0, [0.01, 0.03]), Sample(1000.0, [0.02], generator=0.25)] for row in rows}
    samples["infinity-64"] = [None, None]
    results = Results(
        rows,
        samples=samples,
        facts={"engine": {"dtype": "bfloat16"}},
        cosines={"engine": 0.99982},
        failures={"infinity": "infinity.txt cannot be installed: no network"},
        memory={row.name: 500_000_000 for row in rows if row.name != "infinity-64"},
    )
    return Comparison(results=results, outcomes=measured(samples), seconds=2.0, threads=2)


def test_json_holds_every_round_and_why_something_was_not_measured(
    comparison: Comparison, tmp_path: Path, without_pictures: None
) -> None:
    found = json.loads(make_report(comparison, tmp_path).write(tmp_path)[0].read_text())
    rows = {row["name"]: row for row in found["rows"]}
    assert rows["engine-64"]["rates"] == [1200.0, 1000.0]
    assert rows["engine-64"]["rate"] == {"median": 1100.0, "low": 1000.0, "high": 1200.0}
    assert rows["engine-64"]["median_ms"]["median"] == pytest.approx(20.0)
    assert rows["infinity-64"]["rate"] is None
    assert rows["infinity-64"]["not_measured"] == "infinity.txt cannot be installed: no network"
    ratios = {each["name"]: each["found"] for each in found["ratios"]}
    assert ratios["engine/products"] == {"median": 1.0, "low": 1.0, "high": 1.0}
    assert ratios["facade/peers"] is None
    assert found["contenders"]["engine"] == {"dtype": "bfloat16"}


def test_the_page_has_a_line_for_every_row_and_a_picture(comparison: Comparison, tmp_path: Path) -> None:
    page = make_report(comparison, tmp_path).write(tmp_path)[1].read_text()
    assert "| title of engine-64 | 1,100 | 1,000 to 1,200 | 20 |" in page
    assert "| title of infinity-64 | not measured |" in page
    assert "infinity was not measured: infinity.txt cannot be installed: no network" in page
    assert "| bare engine, share of the matrix products alone | 1 | 1 to 1 |" in page
    assert "| ensemble over gRPC at 64 under way, times the best served peer | not measured |" in page
    assert "in float32: engine 0.9998." in page
    assert "Interrupted" not in page
    assert matplotlib.image.imread(tmp_path / PICTURE).std() > 0.02


def test_an_interrupted_comparison_of_nothing_makes_a_page_and_no_picture(tmp_path: Path) -> None:
    row = make("engine-64", Group.BARE, "engine")
    results = Results([row], samples={"engine-64": [None]}, failures={"engine": "it died"}, interrupted=True)
    report = make_report(Comparison(results, measured(results.samples), seconds=1.0, threads=1), tmp_path)
    page = report.write(tmp_path)[1].read_text()
    assert not (tmp_path / PICTURE).exists()
    assert "engine was not measured: it died" in page
    assert "Interrupted" in page
