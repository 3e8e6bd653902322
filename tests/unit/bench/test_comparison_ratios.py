"""What is made of measurements: ratios round by round, goals, and the model of a batch's cost."""

from __future__ import annotations

import pytest
from trident_bench.compare import cost
from trident_bench.compare.ratios import Outcome, Spread, measured, ratios
from trident_bench.generator.loop import Sample


def found(padding: dict[str, int | None] | None = None, **rates: list[float | None]) -> dict[str, Outcome]:
    samples = {
        name.replace("_", "-"): [None if rate is None else Sample(rate, times=[1 / rate]) for rate in values]
        for name, values in rates.items()
    }
    return {each.name: each for each in measured(samples, padding)}


def test_drift_of_the_machine_cancels_in_ratios() -> None:
    assert ratios([100.0, 50.0, 25.0], [[10.0, 5.0, 2.5]]) == [10.0, 10.0, 10.0]


def test_the_best_of_several_rows_counts_in_each_round() -> None:
    assert ratios([12.0, 12.0], [[1.0, 6.0], [3.0, 2.0]]) == [4.0, 2.0]


def test_rounds_that_were_not_measured_make_no_ratio() -> None:
    assert ratios([8.0, None, 8.0], [[2.0, 2.0, None], [None, None, None]]) == [4.0]


def test_a_spread_is_median_and_extremes() -> None:
    assert Spread.of([3.0, 1.0, 8.0]) == Spread(median=3.0, low=1.0, high=8.0)
    with pytest.raises(ValueError, match="at least one"):
        Spread.of([])


def test_a_ratio_without_its_rows_is_not_measured() -> None:
    outcomes = found(engine_64=[30.0, 10.0, 25.0], products_64=[10.0, 10.0, 10.0])
    assert outcomes["engine/products"].found == Spread(2.5, 1.0, 3.0)
    assert {name for name, each in outcomes.items() if each.found} == {"engine/products"}


def test_a_ratio_of_latencies_is_one_of_median_times() -> None:
    outcome = found(ensemble_http_1=[100.0], engine_1=[140.0])["http/engine, one at a time"]
    assert outcome.found is not None
    assert outcome.found.median == pytest.approx(1.4)


@pytest.mark.parametrize("where", ["linear", "attention"])
def test_padding_is_the_share_of_what_is_computed_where_there_is_the_most(where: str) -> None:
    outcome = found({"real": 1000, "linear": 1000, "attention": 1000} | {where: 1050})["padding"]
    assert outcome.found is not None
    assert outcome.found.median == pytest.approx(1 - 1000 / 1050)


def test_padding_that_was_not_counted_is_not_called_none() -> None:
    assert found({"real": 1000, "linear": 1000, "attention": None})["padding"].found is None
    assert found(None)["padding"].found is None


def test_the_cost_of_a_batch_is_found_again() -> None:
    truth = cost.CostModel(call=2e-3, token=3e-5, pair=4e-8, error=0, worst=0)
    points = [cost.Point(batch, length, truth.seconds(batch, length)) for batch, length in cost.shapes(quick=False)]
    found = cost.fit(points)
    assert (found.call, found.token, found.pair) == pytest.approx((2e-3, 3e-5, 4e-8), rel=1e-6)
    assert found.worst < 1e-6
    assert points[0].rate == pytest.approx(1 / truth.seconds(1, 8))


def test_no_part_of_a_cost_is_negative() -> None:
    points = [cost.Point(batch, length, 1e-5 * batch * length) for batch in (1, 8, 64) for length in (8, 64)]
    assert min(cost.fit(points).call, cost.fit(points).pair) >= 0


def test_a_cost_needs_enough_measurements() -> None:
    with pytest.raises(ValueError, match="there are 2"):
        cost.fit([cost.Point(1, 8, 0.1), cost.Point(2, 8, 0.2)])


def test_the_sweep_goes_from_one_to_512_both_ways_and_leaves_out_the_largest() -> None:
    shapes = cost.shapes(quick=False)
    assert {1, 512} <= {batch for batch, _ in shapes}
    assert {8, 512} <= {length for _, length in shapes}
    assert max(batch * length for batch, length in shapes) <= cost.MOST_TOKENS
