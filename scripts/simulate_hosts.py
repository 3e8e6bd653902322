"""What saturates first between clients and many hosts: requests as events, through stages whose times were measured.

``python scripts/simulate_hosts.py`` prints the table of ``docs/capacity.md``. Three real hosts behind HAProxy answer as
the model says: ``tests/serving/test_several_hosts.py``.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

#: Of the requests, at the beginning, while the queues fill.
WARM_UP = 0.4


class Stage(NamedTuple):
    """A queue in front of servers that are alike: threads, processes, or a line of a network.

    Attributes:
        name: what the outcome calls it.
        servers: how many requests are served at once.
        seconds: that a request took; each draws one of them.
    """

    name: str
    servers: int
    seconds: Sequence[float]


class Outcome(NamedTuple):
    """What a load would see.

    Attributes:
        rate: requests answered a second.
        median: seconds.
        p99: seconds.
        busy: by stage, how much of the time its servers work: the mean of all hosts.
    """

    rate: float
    median: float
    p99: float
    busy: dict[str, float]

    @property
    def saturated(self) -> str:
        """The stage that has least to spare."""
        return max(self.busy, key=self.busy.__getitem__)


class Measured(NamedTuple):
    """Hosts that were asked, and what one client had to wait for when nobody else asked.

    Attributes:
        alone: seconds of one request after another: to ``Triton``, through the ``facade`` to it where there is one, and
            through the ``balancer`` to that.
        hosts: how many there were.
        clients: requests under way.
        requests: that were answered.
        found: what they saw.
    """

    alone: dict[str, list[float]]
    hosts: int
    clients: int
    requests: int
    found: Outcome

    def told(self) -> Outcome:
        """Return what the model says of them: what each stage takes is what it adds to the way behind it."""
        medians = [float(np.median(each)) for each in self.alone.values()]
        added = [max(longer - shorter, 0.0) for shorter, longer in itertools.pairwise(medians)]
        behind = dict(zip(list(self.alone)[1:], added, strict=True))
        front = [Stage("balancer", CORES, [behind.pop("balancer")])]
        host = [Stage(name, 1, [seconds]) for name, seconds in behind.items()]
        host.append(Stage("Triton", 1, self.alone["Triton"]))
        return simulate(front, host, hosts=self.hosts, clients=self.clients, requests=self.requests)

    def as_dict(self) -> dict[str, object]:
        """Return it as JSON has it, with times to a tenth of a millisecond."""
        alone = {name: [round(each, 4) for each in seconds] for name, seconds in self.alone.items()}
        found = {
            "rate": round(self.found.rate, 2),
            "median": round(self.found.median, 4),
            "p99": round(self.found.p99, 4),
        }
        return {**self._asdict(), "alone": alone, "found": found}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Measured:
        """Return what :meth:`as_dict` made."""
        return cls(**{**content, "found": Outcome(**content["found"], busy={})})


class _Queue:
    """A stage of one host, or in front of all."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.waiting: deque[_Request] = deque()
        self.free = stage.servers
        self.worked = 0.0


class _Request(NamedTuple):
    begun: float
    host: int
    way: Iterator[_Queue]


def simulate(
    front: Sequence[Stage], host: Sequence[Stage], *, hosts: int, clients: int, requests: int = 20_000, seed: int = 0
) -> Outcome:
    """Let clients ask, each again when it is answered.

    A request passes ``front``, then the stages of the host that has fewest requests, as HAProxy's ``leastconn`` has it.

    Args:
        front: stages that all share, such as the balancer.
        host: the stages of each host.
        hosts: how many there are.
        clients: requests under way.
        requests: after which it ends.
        seed: of the times that are drawn.
    """
    draw = random.Random(seed)
    shared, own = [_Queue(each) for each in front], [[_Queue(each) for each in host] for _ in range(hosts)]
    events: list[tuple[float, int, _Request, _Queue]] = []
    order, under_way = itertools.count(), [0] * hosts
    # Hosts by requests under way; what is not so any more is passed over.
    least = [(0, each) for each in range(hosts)]
    answered: list[tuple[float, float]] = []

    def enter(now: float, request: _Request) -> None:
        queue = next(request.way, None)
        if queue is None:
            answered.append((now, now - request.begun))
            count_one(request.host, -1)
            ask(now)
            return
        queue.waiting.append(request)
        serve(now, queue)

    def serve(now: float, queue: _Queue) -> None:
        while queue.free and queue.waiting:
            seconds = draw.choice(queue.stage.seconds)
            queue.free -= 1
            queue.worked += seconds
            heapq.heappush(events, (now + seconds, next(order), queue.waiting.popleft(), queue))

    def count_one(host: int, change: int) -> None:
        under_way[host] += change
        heapq.heappush(least, (under_way[host], host))

    def ask(now: float) -> None:
        count, chosen = heapq.heappop(least)
        while count != under_way[chosen]:
            count, chosen = heapq.heappop(least)
        count_one(chosen, 1)
        enter(now, _Request(now, chosen, iter([*shared, *own[chosen]])))

    for _ in range(clients):
        ask(0.0)
    queues = [*shared, *itertools.chain.from_iterable(own)]
    now, warm = 0.0, int(WARM_UP * requests)
    while len(answered) < requests:
        now, _, request, queue = heapq.heappop(events)
        queue.free += 1
        serve(now, queue)
        enter(now, request)
        if len(answered) == warm:
            for each in queues:
                each.worked = 0.0
    counted, seconds = answered[warm:], now - answered[warm - 1][0]
    latencies = [latency for _, latency in counted]
    busy: dict[str, list[float]] = {}
    for queue in queues:
        busy.setdefault(queue.stage.name, []).append(queue.worked / seconds / queue.stage.servers)
    return Outcome(
        len(counted) / seconds,
        float(np.median(latencies)),
        float(np.quantile(latencies, 0.99)),
        {name: float(np.mean(each)) for name, each in busy.items()},
    )


#: Seconds of a processor. Two cores answered 2,401 sentences a second, one a request, over Triton's HTTP, and 1,481
#: through the facade, whose process is one (docs/measured.md).
TRITON = 2 / 2401
FACADE = 2 / 1481 - TRITON
#: Of a request through HAProxy, on the same processor; ``scripts/measure_balancer.py`` measures it anew.
BALANCER = 0.13e-3
#: An embedding in JSON, with its head.
BYTES = 4_715
CORES = 16
GIGABITS = 10
CLIENTS = 24
HOSTS = (1, 10, 1000)
FACADES = (1, 4)


def plan(hosts: int, facades: int) -> Outcome:
    """Return what hosts of so many facades each would do, as full as they get.

    Args:
        hosts: of :data:`CORES` cores, behind one balancer that has as many, in a network of :data:`GIGABITS`.
        facades: processes of the facade on each host.
    """
    front = [Stage("balancer", CORES, [BALANCER]), Stage("network", 1, [BYTES * 8 / GIGABITS / 1e9])]
    host = [Stage("facade", facades, [FACADE]), Stage("Triton", CORES - facades, [TRITON])]
    clients = CLIENTS * hosts
    return simulate(front, host, hosts=hosts, clients=clients, requests=max(20_000, 4 * clients))


def row(hosts: int, facades: int) -> str:
    """Return the table's row."""
    found = plan(hosts, facades)
    cells = (f"{hosts:,}", facades, f"{found.rate:,.0f}", f"{1000 * found.p99:,.0f} ms", found.saturated)
    return "| " + " | ".join(map(str, cells)) + " |"


def main() -> None:
    """Print the table."""
    for facades in FACADES:
        for hosts in HOSTS:
            print(row(hosts, facades))


if __name__ == "__main__":
    main()
