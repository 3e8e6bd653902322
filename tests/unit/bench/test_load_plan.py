"""Ranges and protocols as people write them."""

import pytest
from trident_bench.errors import BenchError
from trident_bench.load.plan import parse_concurrency, parse_protocols, parse_rates


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("1,4,16", [1, 4, 16]),
        ("16, 4,4", [4, 16]),
        ("1:64", [1, 2, 4, 8, 16, 32, 64]),
        ("1:50", [1, 2, 4, 8, 16, 32, 50]),
        ("8", [8]),
        ("none", []),
    ],
)
def test_a_range_of_concurrency_is_its_levels(text, values):
    assert [level.value for level in parse_concurrency(text)] == values


@pytest.mark.parametrize(
    "text", ["0", "1,0", "8:1", "a", "1:9:2", "1.5", "-1", "5000", "1:99999999", "1,,2", "1:2:3:4"]
)
def test_a_bad_range_of_concurrency_is_refused_with_what_is_accepted(text):
    with pytest.raises(BenchError, match="accepted are whole numbers from 1 to 4096"):
        parse_concurrency(text)


def test_rates_are_requests_a_second_or_shares_of_the_highest_throughput():
    assert [level.value for level in parse_rates("100,50.5").levels(None)] == [50.5, 100]
    assert [level.value for level in parse_rates("50%,90%").levels(1234.5)] == [617, 1110]
    assert parse_rates("50%").levels(None) == []
    assert parse_rates("none").levels(100.0) == []


@pytest.mark.parametrize("text", ["0", "50%,100", "fast", "900%", "-5", "1e9", "200000"])
def test_bad_rates_are_refused_with_what_is_accepted(text):
    with pytest.raises(BenchError, match="accepted are requests a second"):
        parse_rates(text)


def test_protocols_come_in_one_order_and_unknown_ones_are_refused():
    assert parse_protocols("facade, http") == ["http", "facade"]
    with pytest.raises(BenchError, match="accepted are http, grpc, facade"):
        parse_protocols("http,udp")
    with pytest.raises(BenchError, match="accepted are"):
        parse_protocols(" ")
