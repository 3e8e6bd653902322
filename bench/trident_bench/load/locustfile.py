"""What Locust does to the facade: requests of a file, in a closed or an open loop, with every latency kept.

Runs in Locust's own environment, not in this package's. Locust's own summary rounds latencies above 100 ms to two
digits, so they are kept here as they were measured.
"""

from __future__ import annotations

import itertools
import json
import random
import time
from pathlib import Path
from typing import Any

import gevent
from locust import FastHttpUser, events, task
from locust.env import Environment
from locust.runners import STATE_STOPPING

# Connections that an open loop may have open at once.
MOST_OPEN = 4096
# A request that is sent so much after its time is counted as late.
LATE_SECONDS = 0.01


class Kept:
    """What was measured: times of requests that were answered while the load was on."""

    def __init__(self) -> None:
        self.latencies: list[float] = []
        self.failures: dict[str, int] = {}
        self.begins = self.ends = 0.0
        self.sent = self.late = 0


KEPT = Kept()


@events.init_command_line_parser.add_listener
def add_options(parser: Any) -> None:
    """Add what a point is."""
    parser.add_argument("--requests", help="file with the path and the bodies")
    parser.add_argument("--mode", choices=["concurrency", "rate"])
    parser.add_argument("--value", type=float)
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--warm-up", type=float)
    parser.add_argument("--begun", help="file that is made when measuring begins")
    parser.add_argument("--result", help="file to write")


@events.request.add_listener
def keep(response_time: float, exception: Exception | None, start_time: float, **_: Any) -> None:
    """Keep one request that was answered while the load was on: by its start, slow ones at the end would be missed."""
    if KEPT.begins <= start_time + response_time / 1000 <= KEPT.ends:
        if exception is None:
            KEPT.latencies.append(response_time)
        else:
            name = str(exception)[:200]
            KEPT.failures[name] = KEPT.failures.get(name, 0) + 1


@events.test_start.add_listener
def begin(environment: Environment, **_: Any) -> None:
    """Plan when to measure: after a warm-up that is not counted."""
    given = environment.parsed_options
    KEPT.begins = time.time() + given.warm_up
    KEPT.ends = KEPT.begins + given.seconds
    gevent.spawn_later(given.warm_up, Path(given.begun).touch)
    gevent.spawn_later(given.warm_up + given.seconds, environment.runner.quit)


@events.quitting.add_listener
def write(environment: Environment, **_: Any) -> None:
    """Write what was kept."""
    late = KEPT.late / KEPT.sent if KEPT.sent else 0.0
    result = {"latencies": KEPT.latencies, "failures": KEPT.failures, "late": late}
    Path(environment.parsed_options.result).write_text(json.dumps(result))


class Asking(FastHttpUser):
    """One connection after another answer (closed loop), or the one user that sends at random times (open loop)."""

    concurrency = MOST_OPEN
    numbers = itertools.count()

    def on_start(self) -> None:
        """Read the requests."""
        given = self.environment.parsed_options
        told = json.loads(Path(given.requests).read_text("utf-8"))
        self.path = told["path"]
        self.bodies = [json.dumps(body, ensure_ascii=False).encode() for body in told["bodies"]]
        self.rate = given.value if given.mode == "rate" else None

    @task
    def ask(self) -> None:
        """Ask once, or send for as long as the test lasts."""
        if self.rate is None:
            self.send()
            return
        rng = random.Random(7)
        due = time.perf_counter()
        while self.environment.runner.state != STATE_STOPPING:
            due += rng.expovariate(self.rate)
            gevent.sleep(max(due - time.perf_counter(), 0))
            KEPT.sent += 1
            KEPT.late += time.perf_counter() - due > LATE_SECONDS
            gevent.spawn(self.send)

    def send(self) -> None:
        """Send the next request of the file."""
        body = self.bodies[next(self.numbers) % len(self.bodies)]
        self.client.post(self.path, data=body, headers={"content-type": "application/json"})
