"""The simulation of hosts, beside what the theory of queues says."""

import random

import pytest
from simulate_hosts import Stage, simulate


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
