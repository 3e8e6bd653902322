"""The step that holds a comparison's results to what the project wants to show."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest
from trident_bench.compare.ratios import measured

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


def test_what_was_not_measured_is_missed_only_where_all_is_asked_for(check: ModuleType, tmp_path: Path) -> None:
    file = write(tmp_path)
    assert check.main([file]) == 0
    assert check.main([file, "--all"]) == 1
