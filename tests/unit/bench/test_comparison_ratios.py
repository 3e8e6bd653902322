"""What is made of measurements: ratios round by round, goals, and the model of a batch's cost."""

from __future__ import annotations

import pytest
from trident_bench.compare import cost
from trident_bench.compare.goals import GOALS, Goal, judge, judge_padding
from trident_bench.compare.rounds import Results
from trident_bench.compare.statistics import Sample, Spread, ratios


def results(**rates: list[float | None]) -> Results:
    samples = {
        name.replace("_", "-"): [None if rate is None else Sample(rate, times=[1 / rate]) for rate in values]
        for name, values in rates.items()
    }
    return Results([], samples=samples)


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


def test_goals_compare_the_median_of_ratios() -> None:
    goals = (Goal("faster", "a", ("b",), 2.0), Goal("quicker", "a", ("b",), 0.4, at_least=False))
    faster, quicker = judge(results(a=[30.0, 10.0, 25.0], b=[10.0, 10.0, 10.0]), goals)
    assert faster.found == Spread(2.5, 1.0, 3.0)
    assert (faster.met, quicker.met) == (True, False)


def test_a_goal_without_its_rows_is_not_met_and_not_missed() -> None:
    assert {outcome.met for outcome in judge(results(engine_64=[10.0]))} == {None}


def test_a_goal_on_latency_compares_median_times() -> None:
    (goal,) = [each for each in GOALS if each.above == "ensemble-http-1"]
    (outcome,) = judge(results(ensemble_http_1=[100.0], engine_1=[140.0]), [goal])
    assert outcome.found is not None
    assert outcome.found.median == pytest.approx(1.4)
    assert outcome.met


@pytest.mark.parametrize(("computed", "met"), [(1000, True), (1050, True), (1200, False)])
@pytest.mark.parametrize("where", ["linear", "attention"])
def test_padding_is_the_share_of_what_is_computed_where_there_is_the_most(where: str, computed: int, met: bool) -> None:
    outcome = judge_padding({"real": 1000, "linear": 1000, "attention": 1000} | {where: computed})
    assert outcome.found is not None
    assert outcome.found.median == pytest.approx(1 - 1000 / computed)
    assert outcome.met is met


def test_padding_that_was_not_counted_is_not_called_none() -> None:
    assert judge_padding({"real": 1000, "linear": 1000, "attention": None}).met is None
    assert judge_padding(None).met is None


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
