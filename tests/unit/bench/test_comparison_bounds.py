"""The step that holds a comparison's results to what the project wants to show."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest
from trident_bench.compare.ratios import measured
from trident_bench.options import RESULTS
from trident_bench.report import JSON_FILE

SCRIPT = Path(__file__).parents[3] / "scripts" / "check_comparison.py"


@pytest.fixture
def check() -> ModuleType:
    spec = importlib.util.spec_from_file_location("check_comparison", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def write(folder: Path, **medians: float) -> str:
    ratios = [{"name": name, "found": {"median": each, "low": each, "high": each}} for name, each in medians.items()]
    file = folder / "results.json"
    file.write_text(json.dumps({"ratios": [*ratios, {"name": "facade/peers", "found": None}]}))
    return str(file)


def test_every_ratio_has_a_bound_and_every_bound_a_ratio(check: ModuleType) -> None:
    assert {each.name for each in measured({})} == check.AT_LEAST.keys() | check.AT_MOST.keys()


@pytest.mark.parametrize(
    ("name", "median", "status"),
    [
        ("engine/products", 0.6, 0),
        ("engine/products", 0.59, 1),
        ("http/engine, one at a time", 1.4, 0),
        ("http/engine, one at a time", 1.51, 1),
    ],
)
def test_a_median_is_held_to_its_bound(
    check: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, median: float, status: int
) -> None:
    assert check.main([write(tmp_path, **{name: median})]) == status
    assert f"{name}: {median:.2f}" in capsys.readouterr().out


def test_what_was_not_measured_is_never_met_and_missed_only_where_all_is_asked_for(
    check: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write(tmp_path)
    assert check.main([file]) == 0
    told = capsys.readouterr().out
    assert "facade/peers: not measured" in told
    assert "met" not in told
    assert check.main([file, "--all"]) == 1
    assert "MISSED facade/peers: not measured" in capsys.readouterr().out


def test_what_is_judged_is_what_make_bench_writes(check: ModuleType) -> None:
    assert str(check.RESULTS) == str(RESULTS / "compare" / JSON_FILE)
