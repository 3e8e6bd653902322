"""Several real servers, and one of them killed under load: nothing is lost. All of them killed: one clear error."""

import asyncio
import contextlib
import functools
import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import psutil
import pytest
from fastapi.testclient import TestClient
from toy_acceptability import write_toy_acceptability
from trident_api.app import create_app
from trident_api.settings import ApiSettings
from trident_client import AsyncTridentClient, Balancing, OverloadedError, Retry, Timeout, TransportError, TridentClient
from trident_server import process
from trident_server.errors import ServerStartError
from trident_server.ports import free_ports

pytestmark = pytest.mark.serving

TIMEOUT = Timeout(connect=5, read=20, deadline=30)
SOON = Balancing(health_check_interval=0.2)
PROTOCOLS = ("http", "grpc")
SECONDS_TO_WAIT = 60.0
SECONDS_TO_STOP = 15.0


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    return write_toy_acceptability(tmp_path_factory.mktemp("faults") / "models")


@pytest.fixture(scope="module")
def repository_with_a_queue(tmp_path_factory):
    """The same beside a slow model with a queue of two."""
    both = write_toy_acceptability(tmp_path_factory.mktemp("overloaded") / "models")
    queue = "dynamic_batching { default_queue_policy { max_queue_size: 2 } }"
    return write_toy_acceptability(both, "cola_slow", seconds=0.1, scheduling=queue)


@pytest.fixture(scope="module")
def servers(serve_models, repository, repository_with_a_queue):
    """Two servers; a test may leave them dead, but neither halted nor about to stop.

    The tests stand in an order in which as few as can be are started again.
    """
    made = [serve_models(each, stop_grace=SECONDS_TO_STOP) for each in (repository, repository_with_a_queue)]
    yield made
    for server in made:
        server.stop()


def runs(server):
    try:
        return psutil.Process(server.pid).status() != psutil.STATUS_ZOMBIE
    except (ServerStartError, psutil.NoSuchProcess):
        return False


@pytest.fixture
def two_servers(servers):
    """Two servers that run: those that the test before left alive, and new ones for those that it did not."""
    for server in servers:
        run(server)
    return servers


def run(server):
    if not runs(server):
        server.stop()
        server.start()


def url(server, protocol):
    return server.http_url if protocol == "http" else server.grpc_url


def kill(server):
    os.kill(server.pid, signal.SIGKILL)


def texts(count):
    return ["x" * (1 + index % 97) for index in range(count)]


def wait_until(holds):
    deadline = time.monotonic() + SECONDS_TO_WAIT
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert holds()


def open_client(kind, servers, protocol, **options):
    urls = [url(each, protocol) for each in servers]
    return kind(urls, protocol=protocol, timeout=TIMEOUT, balancing=SOON, **options)


def stream(client, sent, place, together):
    """Return the answers to a stream; at one place of it, wait for the others who stream."""
    found = []
    for index, value in enumerate(client.stream_acceptability(sent)):
        if index == place:
            together.wait(SECONDS_TO_WAIT)
        found.append(value)
    return found


def test_a_server_that_stops_in_between_is_a_503_of_the_facade_until_it_is_back(servers):
    first, _ = servers
    with contextlib.ExitStack() as running, pytest.MonkeyPatch.context() as patch:
        # Nothing is in flight, but the facade's connections over HTTP would hold the stop for all of it.
        patch.setattr(process, "EXIT_TIMEOUT_SECONDS", 1)
        # Each protocol notices by itself.
        settings = {"triton_url": first.http_url, "triton_grpc_url": first.grpc_url, "models": "cola"}
        apps = [create_app(ApiSettings(**settings, triton_protocol=each, retries=3)) for each in PROTOCOLS]
        apis = [running.enter_context(TestClient(app, raise_server_exceptions=False)) for app in apps]
        assert [api.get("/health/ready").status_code for api in apis] == [503, 503]
        with first:
            for api in apis:
                # A gRPC channel that found nobody waits a moment before it looks again.
                wait_until(lambda api=api: api.get("/health/ready").status_code == 200)
                assert api.post("/generate", json={"passage": "x"}).status_code == 200
        for api in apis:
            answer = api.post("/generate", json={"passage": "x"})
            assert answer.status_code == 503
            assert answer.headers["retry-after"]
            assert api.get("/health/live").status_code == 200
        patch.undo()
        first.start()
        for api in apis:
            wait_until(lambda api=api: api.post("/generate", json={"passage": "x"}).status_code == 200)


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_a_server_that_answers_nothing_is_passed_over(protocol, two_servers):
    first, _ = two_servers
    urls = [url(each, protocol) for each in two_servers]
    timeout = Timeout(connect=2, read=2, deadline=60)
    with TridentClient(urls, protocol=protocol, timeout=timeout, balancing=Balancing(failures=1)) as client:
        client.acceptability(["a"] * 640)
        os.kill(first.pid, signal.SIGSTOP)
        try:
            sent = texts(640)
            assert client.acceptability(sent).tolist() == [len(text) for text in sent]
            assert client.servers()[0].ejected
        finally:
            os.kill(first.pid, signal.SIGCONT)


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_a_full_queue_is_waited_for_and_without_retries_an_overloaded_error(protocol, two_servers):
    sent = ["x" * (1 + index) for index in range(16)]

    def ask_all(retry):
        with (
            TridentClient(url(two_servers[1], protocol), protocol=protocol, retry=retry) as client,
            ThreadPoolExecutor(16) as pool,
        ):
            ask = functools.partial(client.acceptability, model="cola_slow")
            return [float(found[0]) for found in pool.map(lambda text: ask([text]), sent)]

    assert ask_all(Retry(attempts=100, first_wait=0.05, budget=10_000)) == [len(text) for text in sent]
    with pytest.raises(OverloadedError):
        ask_all(Retry(attempts=1))


def test_a_server_told_to_stop_loses_nothing(two_servers):
    sent = texts(64 * 200)
    together = threading.Barrier(len(PROTOCOLS), lambda: os.kill(two_servers[0].pid, signal.SIGTERM))

    def ask(protocol):
        with open_client(TridentClient, two_servers, protocol, concurrency=8) as client:
            return stream(client, sent, 64 * 20, together)

    with ThreadPoolExecutor(2) as pool:
        for found in pool.map(ask, PROTOCOLS):
            assert found == [len(text) for text in sent]
    two_servers[0].stop()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["killed", "stopped"])
async def test_a_restart_of_triton_loses_no_request_of_the_facade(servers, number):
    first, _ = servers
    run(first)
    app = create_app(ApiSettings(triton_grpc_url=first.grpc_url, retries=200, read_timeout=120))
    answered = 0
    restarted = asyncio.Event()

    async def ask(http):
        nonlocal answered
        while not restarted.is_set():
            answer = await http.post("/generate", json={"passage": "x"})
            assert answer.status_code == 200, answer.text
            answered += 1

    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as http,
        asyncio.TaskGroup() as group,
    ):
        for _ in range(16):
            group.create_task(ask(http))
        while answered < 100:
            await asyncio.sleep(0.01)
        os.kill(first.pid, number)
        await asyncio.to_thread(first.stop)
        await asyncio.to_thread(first.start)
        before = answered
        while answered < before + 100:
            await asyncio.sleep(0.01)
        restarted.set()


def test_a_killed_server_loses_nothing_comes_back_and_the_other_killed_loses_nothing_either(two_servers):
    first, second = two_servers
    sent = texts(64 * 150)
    with contextlib.ExitStack() as stack, ThreadPoolExecutor(2) as pool:
        clients = [
            stack.enter_context(open_client(TridentClient, two_servers, protocol, concurrency=8))
            for protocol in PROTOCOLS
        ]
        together = threading.Barrier(len(clients), lambda: kill(first))
        for found in pool.map(lambda client: stream(client, sent, 64 * 40, together), clients):
            assert found == [len(text) for text in sent]
        for client in clients:
            assert [each.ejected for each in client.servers()] == [True, False]

        first.stop()
        first.start()
        for client in clients:
            wait_until(lambda client=client: not client.servers()[0].ejected)
        kill(second)
        for client in clients:
            assert client.acceptability(sent).tolist() == [len(text) for text in sent]
            assert [each.ejected for each in client.servers()] == [False, True]


def test_threads_and_tasks_see_nothing_of_a_killed_server_and_one_error_when_both_are(two_servers):
    first, second = two_servers
    urls = [[url(each, protocol) for each in two_servers] for protocol in PROTOCOLS]
    killed = threading.Event()
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(open_client(TridentClient, two_servers, protocol)) for protocol in PROTOCOLS]

        def ask(index):
            if index == 200:
                kill(first)
                killed.set()
            return clients[index % 2].acceptability(["x" * (index + 1)])[0]

        with ThreadPoolExecutor(16) as pool:
            assert list(pool.map(ask, range(800))) == [index + 1 for index in range(800)]
        assert killed.is_set()

        async def ask_as_tasks():
            async with contextlib.AsyncExitStack() as stack:
                twins = [
                    await stack.enter_async_context(open_client(AsyncTridentClient, two_servers, protocol))
                    for protocol in PROTOCOLS
                ]
                sent = texts(64 * 20)
                for found in await asyncio.gather(*(twin.acceptability(sent) for twin in twins)):
                    assert found.tolist() == [len(text) for text in sent]
                kill(second)
                return await asyncio.gather(*(twin.acceptability(sent) for twin in twins), return_exceptions=True)

        started = time.monotonic()
        errors = asyncio.run(ask_as_tasks())
        for client in clients:
            with pytest.raises(TransportError) as caught:
                client.acceptability(texts(640))
            errors.append(caught.value)
        assert time.monotonic() - started < 3 * TIMEOUT.deadline
    for error, asked in zip(errors, urls * 2, strict=True):
        assert isinstance(error, TransportError), error
        assert "none of the servers can be reached" in str(error)
        assert error.model == "cola"
        assert all(address in str(error) for address in asked)
        assert error.cause is not None


def test_servers_that_were_never_there_are_one_error_within_the_deadline():
    urls = [f"127.0.0.1:{port}" for port in free_ports(2)]
    for protocol in ("http", "grpc"):
        timeout = Timeout(connect=2, read=5, deadline=20)
        started = time.monotonic()
        with (
            TridentClient(urls, protocol=protocol, timeout=timeout) as client,
            pytest.raises(TransportError, match="none of the servers can be reached"),
        ):
            client.acceptability(texts(640))
        assert time.monotonic() - started < timeout.deadline
