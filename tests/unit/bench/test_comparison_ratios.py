"""Ratios, round by round."""

from __future__ import annotations

import pytest
from trident_bench.compare.ratios import Outcome, measured, ratios
from trident_bench.generator.loop import Sample
from trident_bench.report import Spread


def found(**rates: list[float | None]) -> dict[str, Outcome]:
    samples = {
        name.replace("_", "-"): [None if rate is None else Sample(rate, times=[1 / rate]) for rate in values]
        for name, values in rates.items()
    }
    return {each.name: each for each in measured(samples)}


def test_drift_of_the_machine_cancels_in_ratios() -> None:
    assert ratios([100.0, 50.0, 25.0], [[10.0, 5.0, 2.5]]) == [10.0, 10.0, 10.0]


def test_the_best_of_several_rows_counts_in_each_round() -> None:
    assert ratios([12.0, 12.0], [[1.0, 6.0], [3.0, 2.0]]) == [4.0, 2.0]


def test_rounds_that_were_not_measured_make_no_ratio() -> None:
    assert ratios([8.0, None, 8.0], [[2.0, 2.0, None], [None, None, None]]) == [4.0]


def test_a_ratio_without_its_rows_is_not_measured() -> None:
    outcomes = found(engine_64=[30.0, 10.0, 25.0], products_64=[10.0, 10.0, 10.0])
    assert outcomes["engine/products"].found == Spread(2.5, 1.0, 3.0)
    assert {name for name, each in outcomes.items() if each.found} == {"engine/products"}


def test_a_ratio_of_latencies_is_one_of_median_times() -> None:
    outcome = found(ensemble_http_1=[100.0], engine_1=[140.0])["http/engine, one at a time"]
    assert outcome.found is not None
    assert outcome.found.median == pytest.approx(1.4)
