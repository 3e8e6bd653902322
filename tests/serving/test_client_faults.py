"""Several real servers, and one of them killed under load: nothing is lost. All of them killed: one clear error."""

import asyncio
import os
import shutil
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import psutil
import pytest
from trident_api.app import create_app
from trident_api.settings import ApiSettings
from trident_client import AsyncTridentClient, Balancing, OverloadedError, Retry, Timeout, TransportError, TridentClient
from trident_server.errors import ServerStartError
from trident_server.ports import free_ports

pytestmark = pytest.mark.serving

# Stands in for the model of acceptability, and answers with the text's length.
CONFIG = """
backend: "python"
max_batch_size: 64
input [ { name: "TEXT" data_type: TYPE_STRING dims: [ 1 ] } ]
output [
  { name: "PROBABILITY" data_type: TYPE_FP32 dims: [ 1 ] },
  { name: "TRUNCATED_TOKENS" data_type: TYPE_INT32 dims: [ 1 ] },
  { name: "UNKNOWN_TOKENS" data_type: TYPE_INT32 dims: [ 1 ] }
]
instance_group [ { count: 1 kind: KIND_CPU } ]
"""
MODEL = """
import time

import numpy as np
import triton_python_backend_utils as pb_utils


SECONDS = 0.005


class TritonPythonModel:
    def execute(self, requests):
        responses = []
        for request in requests:
            texts = pb_utils.get_input_tensor_by_name(request, "TEXT").as_numpy()
            time.sleep(SECONDS)
            lengths = np.array([[len(text)] for text in texts[:, 0]], dtype=np.float32)
            cut = np.zeros_like(lengths, dtype=np.int32)
            tensors = [pb_utils.Tensor("PROBABILITY", lengths)]
            tensors += [pb_utils.Tensor(name, cut) for name in ("TRUNCATED_TOKENS", "UNKNOWN_TOKENS")]
            responses.append(pb_utils.InferenceResponse(tensors))
        return responses
"""
TIMEOUT = Timeout(connect=5, read=20, deadline=30)
SOON = Balancing(health_check_interval=0.2)
SECONDS_TO_WAIT = 60.0
SECONDS_TO_STOP = 15.0


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    version = tmp_path_factory.mktemp("faults") / "models" / "cola" / "1"
    version.mkdir(parents=True)
    (version / "model.py").write_text(MODEL, "utf-8")
    (version.parent / "config.pbtxt").write_text(CONFIG)
    return version.parents[1]


@pytest.fixture(scope="module")
def servers(serve_models, repository):
    """Two servers; a test may leave them dead, but neither halted nor about to stop."""
    made = [serve_models(repository, stop_grace=SECONDS_TO_STOP) for _ in range(2)]
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
        if not runs(server):
            server.stop()
            server.start()
    return servers


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


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_a_killed_server_loses_nothing_comes_back_and_both_killed_is_one_error(protocol, two_servers):
    first, second = two_servers
    urls = [url(each, protocol) for each in two_servers]
    with TridentClient(urls, protocol=protocol, concurrency=8, timeout=TIMEOUT, balancing=SOON) as client:
        sent = texts(64 * 150)
        found = []
        for index, value in enumerate(client.stream_acceptability(sent)):
            if index == 64 * 40:
                kill(first)
            found.append(value)
        assert found == [len(text) for text in sent]
        assert [each.ejected for each in client.servers()] == [True, False]

        first.stop()
        first.start()
        wait_until(lambda: not client.servers()[0].ejected)
        kill(second)
        assert client.acceptability(sent).tolist() == [len(text) for text in sent]
        assert [each.ejected for each in client.servers()] == [False, True]


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_threads_and_tasks_see_nothing_of_a_killed_server_and_one_error_when_both_are(protocol, two_servers):
    first, second = two_servers
    urls = [url(each, protocol) for each in two_servers]
    killed = threading.Event()
    with (
        TridentClient(urls, protocol=protocol, timeout=TIMEOUT, balancing=SOON) as client,
        ThreadPoolExecutor(16) as pool,
    ):

        def ask(index):
            if index == 100:
                kill(first)
                killed.set()
            return client.acceptability(["x" * (index + 1)])[0]

        assert list(pool.map(ask, range(400))) == [index + 1 for index in range(400)]
        assert killed.is_set()

        async def ask_as_a_task():
            async with AsyncTridentClient(urls, protocol=protocol, timeout=TIMEOUT, balancing=SOON) as twin:
                sent = texts(64 * 20)
                assert (await twin.acceptability(sent)).tolist() == [len(text) for text in sent]
                kill(second)
                with pytest.raises(TransportError, match="none of the servers can be reached") as caught:
                    await twin.acceptability(sent)
                return caught.value

        started = time.monotonic()
        error = asyncio.run(ask_as_a_task())
        with pytest.raises(TransportError, match="none of the servers can be reached") as caught:
            client.acceptability(texts(640))
        assert time.monotonic() - started < 2 * TIMEOUT.deadline
    for each in (error, caught.value):
        assert each.model == "cola"
        assert all(address in str(each) for address in urls)
        assert each.cause is not None


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
def test_a_server_told_to_stop_loses_nothing(protocol, two_servers):
    urls = [url(each, protocol) for each in two_servers]
    with TridentClient(urls, protocol=protocol, concurrency=8, timeout=TIMEOUT, balancing=SOON) as client:
        sent = texts(64 * 200)
        found = []
        for index, value in enumerate(client.stream_acceptability(sent)):
            if index == 64 * 20:
                os.kill(two_servers[0].pid, signal.SIGTERM)
            found.append(value)
    assert found == [len(text) for text in sent]
    two_servers[0].stop()


@pytest.fixture(scope="module")
def overloaded(repository, serve_models, tmp_path_factory):
    """A slow server with a queue of two."""
    repository = shutil.copytree(repository, tmp_path_factory.mktemp("overloaded") / "models")
    queue = "dynamic_batching { default_queue_policy { max_queue_size: 2 } }"
    (repository / "cola" / "config.pbtxt").write_text(CONFIG + queue)
    model = repository / "cola" / "1" / "model.py"
    model.write_text(MODEL.replace("SECONDS = 0.005", "SECONDS = 0.1"))
    with serve_models(repository) as server:
        yield server


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_a_full_queue_is_waited_for_and_without_retries_an_overloaded_error(protocol, overloaded):
    sent = ["x" * (1 + index) for index in range(16)]

    def ask_all(retry):
        with (
            TridentClient(url(overloaded, protocol), protocol=protocol, retry=retry) as client,
            ThreadPoolExecutor(16) as pool,
        ):
            return [float(found[0]) for found in pool.map(lambda text: client.acceptability([text]), sent)]

    assert ask_all(Retry(attempts=100, first_wait=0.05, budget=10_000)) == [len(text) for text in sent]
    with pytest.raises(OverloadedError):
        ask_all(Retry(attempts=1))


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


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["killed", "stopped"])
async def test_a_restart_of_triton_loses_no_request_of_the_facade(two_servers, number):
    first, _ = two_servers
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
