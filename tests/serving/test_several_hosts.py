"""Three hosts, each with Triton and a facade, behind the client's own balancer and behind HAProxy as docker/ has it.

A host is a loopback address; all listen on the same ports, as hosts do. With TRIDENT_TEST_RECORD=FILE, what one host
takes and what three did is written there, for ``tests/unit/test_simulate_hosts.py``.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import httpx
import numpy as np
import psutil
import pytest
from haproxy import balancer
from measure_balancer import processor_seconds
from served_models import READY_SECONDS
from simulate_hosts import Measured, Outcome
from toy_acceptability import write_toy_acceptability
from trident_client import Balancing, Retry, Timeout, TridentClient
from trident_server import process
from trident_server.facade import FacadeProcess
from trident_server.ports import free_ports
from trident_server.process import TritonProcess

pytestmark = pytest.mark.serving

BALANCER = "127.0.0.1"
ADDRESSES = ("127.0.0.2", "127.0.0.3", "127.0.0.4")
KEY = "one key for all hosts"
AUTHORIZATION = {"authorization": f"Bearer {KEY}"}
PATHS = ("client-http", "client-grpc", "haproxy-http", "haproxy-grpc", "haproxy-facade")
THREADS = 4
REQUESTS = 120
#: Of a text in the model: so few a second keep no core busy, and some are under way whenever a host is lost.
SECONDS = 0.06
SECONDS_TO_ANSWER = 6
SECONDS_TO_WAIT = 120.0
#: Hosts are alike while the machine is busy with them alone, so a spread that something else made is measured again.
MEASUREMENTS = 3
#: Of the simulation: clients, so many that each host has some waiting, and how close it is to be.
CLIENTS, CLOSE = 12, 0.15
#: Requests of one client, before and after, by which it is told what each stage takes.
ALONE = 10
#: Answers of each thread, so many that the balancers have long noticed who is gone.
MANY = 10
#: That a Triton gives requests in flight when it is stopped, more than they take; it takes all of it where a client has
#: a connection over HTTP open.
EXIT_SECONDS = 4
Ask = Callable[[str], float]


class Ports(NamedTuple):
    """The same on each host, and on the balancer's address."""

    facade: int
    http: int
    grpc: int
    metrics: int


class Host:
    """One address with a Triton and a facade."""

    def __init__(self, triton: TritonProcess, facade: FacadeProcess) -> None:
        self._servers = (triton, facade)
        self.url = triton.http_url
        self.facade = facade.url

    def start(self) -> None:
        """Start both, and wait for both."""
        with ThreadPoolExecutor(len(self._servers)) as pool:
            list(pool.map(lambda each: each.start(), self._servers))

    def stop(self) -> None:
        """Stop the facade first, as ``trident-serve`` does."""
        for each in reversed(self._servers):
            each.stop()

    def signal(self, number: int) -> None:
        """Send both a signal at once."""
        for each in self._servers:
            os.kill(each.pid, number)

    def answered(self) -> int:
        """Return how many sentences its Triton has answered."""
        with TridentClient(self.url) as client:
            return sum(each.inferences for each in client.statistics() if each.name == "cola")

    def counted(self) -> int:
        """Return how many requests its facade has counted on the route."""
        text = httpx.get(f"{self.facade}/metrics", headers=AUTHORIZATION, timeout=10).text
        return sum(int(float(each)) for each in re.findall(r'requests_total\{.*route="/generate".*\} (\S+)', text))


class Traffic:
    """Asks over one path from several threads until it is left; every answer must be right."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._over = threading.Event()
        self._pool = ThreadPoolExecutor(THREADS)
        self._counts = [0] * THREADS

    def _run(self, thread: int) -> None:
        while not self._over.is_set():
            sent = "x" * (1 + self._counts[thread] % 97)
            assert self._ask(sent) == len(sent)
            self._counts[thread] += 1

    def __enter__(self) -> Traffic:
        self._running = [self._pool.submit(self._run, thread) for thread in range(THREADS)]
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        with self._pool:
            for each in self._running:
                each.result()

    def to_answer(self, answers: int) -> Callable[[], bool]:
        """Return what tells whether every thread has so many answers more than now."""
        wanted = [count + answers for count in self._counts]
        return lambda: all(count >= each for count, each in zip(self._counts, wanted, strict=True))

    def check(self) -> None:
        """Fail where a thread did."""
        for each in self._running:
            if each.done():
                each.result()


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS_TO_WAIT
    while not holds() and time.monotonic() < deadline:
        # To look costs as much as some requests.
        time.sleep(0.2)
    assert holds()


@pytest.fixture(scope="module")
def ports() -> Ports:
    return Ports(*free_ports(len(Ports._fields), BALANCER))


@pytest.fixture(scope="module")
def hosts(serve_models, ports, tmp_path_factory) -> Iterator[list[Host]]:
    folder = tmp_path_factory.mktemp("hosts")
    repository = write_toy_acceptability(folder / "models", seconds=SECONDS, for_each_text=True)
    (folder / "keys").write_text(f"{KEY}\n")
    named = {"http_port": ports.http, "grpc_port": ports.grpc, "metrics_port": ports.metrics}
    made = []
    for address in ADDRESSES:
        triton = serve_models(repository, host=address, stop_grace=15.0, **named)
        facade = FacadeProcess(
            triton_url=triton.http_url,
            triton_grpc_url=triton.grpc_url,
            log_file=folder / f"facade-{address}.log",
            host=address,
            port=ports.facade,
            ready_timeout=READY_SECONDS,
            settings={"models": "cola", "api_keys_file": folder / "keys"},
        )
        made.append(Host(triton, facade))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(process, "EXIT_TIMEOUT_SECONDS", EXIT_SECONDS)
        with ThreadPoolExecutor(len(made)) as pool:
            list(pool.map(Host.start, made))
        yield made
    with ThreadPoolExecutor(len(made)) as pool:
        list(pool.map(Host.stop, made))


@pytest.fixture(scope="module")
def haproxy(ports, hosts, tmp_path_factory) -> Iterator[str]:
    """The balancer's address, once it knows that all hosts are there."""
    settings = {f"HOST_{number}": address for number, address in enumerate(ADDRESSES, 1)}
    settings |= {f"{name.upper()}_PORT": str(port) for name, port in ports._asdict().items()}
    settings |= {"LISTEN": BALANCER, "SECONDS_TO_ANSWER": str(SECONDS_TO_ANSWER)}
    log = tmp_path_factory.mktemp("haproxy") / "log"
    with balancer(settings, f"{BALANCER}:{ports.facade}", log, SECONDS_TO_WAIT):
        yield BALANCER


@pytest.fixture
def asking(ports, hosts, request) -> Iterator[Callable[[str], Ask]]:
    """Opens a path to the hosts; behind HAProxy, which is to try again, no client does."""
    with contextlib.ExitStack() as stack:

        def open_path(path: str) -> Ask:
            balancer, protocol = path.split("-")
            if protocol == "facade":
                base = f"http://{request.getfixturevalue('haproxy')}:{ports.facade}"
                http = stack.enter_context(httpx.Client(base_url=base, headers=AUTHORIZATION, timeout=60))
                return lambda text: http.post("/generate", json={"passage": text}).raise_for_status().json()["prob"]
            port = ports.http if protocol == "http" else ports.grpc
            if balancer == "haproxy":
                at, retry = [request.getfixturevalue("haproxy")], Retry(attempts=1)
            else:
                at, retry = list(ADDRESSES), Retry()
            client = TridentClient(
                [f"{each}:{port}" for each in at],
                protocol=protocol,
                retry=retry,
                timeout=Timeout(connect=5, read=60 if balancer == "haproxy" else SECONDS_TO_ANSWER, deadline=60),
                balancing=Balancing(health_check_interval=0.2),
            )
            stack.enter_context(client)
            return lambda text: float(client.acceptability([text])[0])

        yield open_path


@pytest.mark.parametrize("path", PATHS)
def test_hosts_that_are_alike_get_as_many_requests_within_10_percent(path, hosts, asking):
    ask = asking(path)
    even = pytest.approx([REQUESTS / len(hosts)] * len(hosts), rel=0.1)
    for _ in range(MEASUREMENTS):
        before = [(each.answered(), each.counted()) for each in hosts]
        with ThreadPoolExecutor(THREADS) as pool:
            assert list(pool.map(ask, ["x" * 7] * REQUESTS)) == [7] * REQUESTS
        after = [(each.answered(), each.counted()) for each in hosts]
        answered = [now[0] - then[0] for now, then in zip(after, before, strict=True)]
        assert sum(answered) == REQUESTS
        # What each facade counted adds up to what was asked.
        counted = [now[1] - then[1] for now, then in zip(after, before, strict=True)]
        assert sum(counted) == (REQUESTS if "facade" in path else 0)
        if answered == even:
            break
    assert answered == even


@pytest.mark.parametrize("path", ["haproxy-http", "haproxy-facade"])
def test_a_simulation_of_one_host_tells_what_three_behind_haproxy_do(path, ports, hosts, haproxy, asking):
    """``-s`` prints both: on a machine that does nothing else they are of one another."""
    with contextlib.ExitStack() as stack:
        triton = stack.enter_context(TridentClient(hosts[0].url))
        facade = stack.enter_context(httpx.Client(base_url=hosts[0].facade, headers=AUTHORIZATION, timeout=60))
        through = asking(path)
        ways: dict[str, Callable[[], object]] = {"Triton": lambda: triton.acceptability(["x"])}
        if "facade" in path:
            ways["facade"] = lambda: facade.post("/generate", json={"passage": "x"}).raise_for_status()
        ways["balancer"] = lambda: through("x")

        def timed(ask: Callable[[], object]) -> float:
            begun = time.perf_counter()
            ask()
            return time.perf_counter() - begun

        def measure() -> Measured:
            # One thread of the model answers, a text after another: what one client waits for is what each takes.
            before = {name: [timed(ask) for _ in range(ALONE)] for name, ask in ways.items()}
            begun = time.perf_counter()
            with ThreadPoolExecutor(CLIENTS) as pool:
                latencies = list(pool.map(lambda _: timed(ways["balancer"]), range(REQUESTS)))
            rate = REQUESTS / (time.perf_counter() - begun)
            # What other work takes of the machine comes and goes.
            alone = {name: before[name] + [timed(ask) for _ in range(ALONE)] for name, ask in ways.items()}
            found = Outcome(rate, float(np.median(latencies)), float(np.quantile(latencies, 0.99)), {})
            return Measured(alone, len(hosts), CLIENTS, REQUESTS, found)

        (balancer,) = (each.pid for each in psutil.Process().children() if each.name() == "haproxy")
        before, asked = processor_seconds(balancer), 0
        for _ in range(MEASUREMENTS):
            measured = measure()
            told, found = measured.told(), measured.found
            used, asked = processor_seconds(balancer) - before, asked + 2 * ALONE + REQUESTS
            print(f"{path}: HAProxy {1000 * used / asked:.2f} ms of a processor a request")
            print(f"told {told.rate:.1f} a second, {told.median:.3f} s; found {found.rate:.1f}, {found.median:.3f} s")
            if found[:2] == pytest.approx(told[:2], rel=CLOSE):
                break
    assert found[:2] == pytest.approx(told[:2], rel=CLOSE)
    if record := os.environ.get("TRIDENT_TEST_RECORD"):
        file = Path(record)
        recorded = json.loads(file.read_text()) if file.is_file() else {}
        file.write_text(json.dumps(recorded | {path: measured.as_dict()}, indent=1) + "\n")


def test_a_key_is_one_on_every_host_and_without_it_nobody_is_let_in(ports, hosts, haproxy):
    asked = {"url": f"http://{haproxy}:{ports.facade}/generate", "json": {"passage": "x"}}
    with httpx.Client(timeout=30) as http:
        assert [http.post(**asked, headers=AUTHORIZATION).status_code for _ in ADDRESSES] == [200] * 3
        assert [http.post(**asked).status_code for _ in ADDRESSES] == [401] * 3


@pytest.fixture
def traffic(asking) -> Iterator[list[Traffic]]:
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(Traffic(asking(each))) for each in PATHS]


def all_go_on(traffic: list[Traffic], answers: int = 3) -> None:
    """Return once every thread of every path has so many answers more."""
    answered = [each.to_answer(answers) for each in traffic]

    def holds() -> bool:
        for each in traffic:
            each.check()
        return all(each() for each in answered)

    wait_until(holds)


def is_asked_again(host: Host) -> None:
    """Wait until a host answers as it did before."""
    before = host.answered()
    wait_until(lambda: host.answered() > before + 30)


def test_a_host_that_is_halted_loses_no_request_and_is_asked_again_when_it_goes_on(hosts, traffic):
    all_go_on(traffic)
    hosts[1].signal(signal.SIGSTOP)
    try:
        all_go_on(traffic, MANY)
    finally:
        hosts[1].signal(signal.SIGCONT)
    is_asked_again(hosts[1])


def test_a_host_is_killed_and_then_all_are_restarted_in_turn_and_no_request_fails(hosts, traffic):
    all_go_on(traffic)
    # The first in turn has been killed before.
    hosts[1].signal(signal.SIGKILL)
    all_go_on(traffic, MANY)
    for host in (hosts[1], hosts[0], hosts[2]):
        all_go_on(traffic)
        host.stop()
        host.start()
        is_asked_again(host)
