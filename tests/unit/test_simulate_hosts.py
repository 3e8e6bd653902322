"""The simulation of hosts, beside what the theory of queues says."""

import json
import random
from pathlib import Path

import pytest
from simulate_hosts import Measured, Stage, simulate

#: Three hosts behind HAProxy, without facades and with, as ``tests/serving/test_several_hosts.py`` wrote them.
RECORDED = json.loads(Path(__file__).with_name("several_hosts.json").read_text("utf-8"))


def exponential(mean: float) -> list[float]:
    draw = random.Random(1)
    return [draw.expovariate(1 / mean) for _ in range(5_000)]


@pytest.mark.parametrize("servers", [1, 4])
def test_as_many_clients_as_servers_never_wait(servers):
    found = simulate([], [Stage("host", servers, [0.01])], hosts=3, clients=3 * servers, requests=900)
    assert found.rate == pytest.approx(300 * servers, rel=0.02)
    assert (found.median, found.p99) == pytest.approx((0.01, 0.01))


def test_a_closed_loop_obeys_littles_law_and_its_slowest_stage():
    front, host = [Stage("balancer", 1, exponential(0.001))], [Stage("host", 2, exponential(0.01))]
    found = simulate(front, host, hosts=2, clients=40, requests=10_000)
    # Four servers of 10 ms answer 400 a second, well below the balancer's 1,000.
    assert found.rate == pytest.approx(400, rel=0.05)
    assert found.saturated == "host"
    assert found.busy["balancer"] == pytest.approx(0.4, rel=0.1)
    mean = simulate(front, host, hosts=4, clients=40, requests=10_000)
    assert mean.rate == pytest.approx(800, rel=0.1)
    assert simulate(front, host, hosts=9, clients=200, requests=10_000).saturated == "balancer"


def test_a_machine_repair_model_has_the_rate_of_the_books():
    """Two clients that think for no time before one exponential server: it always works."""
    think, serve = [Stage("think", 2, exponential(0.01))], [Stage("server", 1, exponential(0.01))]
    found = simulate(think, serve, hosts=1, clients=2, requests=20_000)
    # The queue M/M/1//2 with as long a pause as service: busy 4/5 of the time.
    assert found.busy["server"] == pytest.approx(0.8, abs=0.02)
    assert found.rate == pytest.approx(80, rel=0.03)


@pytest.mark.parametrize("path", ["haproxy-http", "haproxy-facade"])
def test_three_hosts_that_were_recorded_did_what_the_model_tells_of_one(path):
    recorded = Measured.from_dict(RECORDED[path])
    assert list(recorded.alone) == ["Triton", *(["facade"] if "facade" in path else []), "balancer"]
    assert recorded.hosts == 3
    told, found = recorded.told(), recorded.found
    assert found[:2] == pytest.approx(told[:2], rel=0.1)
    assert told.p99 == pytest.approx(found.p99, rel=0.5)
    # The stage that takes most is full, and the others idle.
    assert told.saturated == "Triton"
    # One host alone would answer a third.
    assert recorded._replace(hosts=1).told().rate == pytest.approx(told.rate / 3, rel=0.05)
    # As recorded, so read.
    assert Measured.from_dict(recorded.as_dict()) == recorded


def test_what_a_stage_takes_is_what_it_adds_to_the_way_behind_it():
    alone = {"Triton": [0.01] * 3, "facade": [0.05] * 3, "balancer": [0.0502] * 3}
    told = Measured(alone, 2, 20, 2_000, None).told()
    # The facade takes 40 ms of each, one after the other, on either host.
    assert told.saturated == "facade"
    assert told.rate == pytest.approx(2 / 0.04, rel=0.02)
    assert told.busy["Triton"] == pytest.approx(0.25, rel=0.05)
