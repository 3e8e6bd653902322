"""Connections: several servers behind one name, networks that fall silent, and more than one event loop."""

import asyncio
import contextlib
import json
import os
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import grpc
import numpy as np
import pytest
from trident_client import (
    AsyncTridentClient,
    DeadlineError,
    Retry,
    Timeout,
    TransportError,
    TridentClient,
    UsageError,
)
from tritonclient.grpc import service_pb2, service_pb2_grpc


class Counting(service_pb2_grpc.GRPCInferenceServiceServicer):
    def __init__(self, name: str, calls: Counter[str]) -> None:
        self.name, self.calls = name, calls

    def ServerReady(self, request, context):  # noqa: N802 (the protocol's name)
        self.calls[self.name] += 1
        return service_pb2.ServerReadyResponse(ready=True)

    def ModelReady(self, request, context):  # noqa: N802
        while request.name == "slow" and context.is_active():
            time.sleep(0.05)
        self.calls[self.name] += 1
        return service_pb2.ModelReadyResponse(ready=True)


class Lacking(service_pb2_grpc.GRPCInferenceServiceServicer):
    """Answers first without an output, as Triton does whose Python model's process has just died, and then with it."""

    def __init__(self) -> None:
        self.asked = 0

    def ModelInfer(self, request, context):  # noqa: N802
        self.asked += 1
        if self.asked == 1:
            return service_pb2.ModelInferResponse(model_name=request.model_name)
        outputs = [{"name": each.name, "datatype": "FP32", "shape": [1, 1]} for each in request.outputs]
        content = np.float32(0).tobytes()
        return service_pb2.ModelInferResponse(outputs=outputs, raw_output_contents=[content] * len(outputs))


class LackingOverHttp(BaseHTTPRequestHandler):
    """The same."""

    asked = 0

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        header = json.loads(body[: int(self.headers["inference-header-content-length"])])
        type(self).asked += 1
        names = [each["name"] for each in header["outputs"]] if self.asked > 1 else []
        outputs = [{"name": name, "datatype": "FP32", "shape": [1, 1], "data": [0.0]} for name in names]
        answer = json.dumps({"model_name": "cola", "outputs": outputs}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *arguments):
        pass


def test_an_answer_that_lacks_an_output_is_asked_for_again():
    server = grpc.server(ThreadPoolExecutor(2))
    servicer = Lacking()
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        with TridentClient(f"127.0.0.1:{port}", protocol="grpc") as client:
            assert client.acceptability(["I am a boy."]).tolist() == [0]
        assert servicer.asked == 2
        servicer.asked = 0
        once = Retry(attempts=1)
        with (
            TridentClient(f"127.0.0.1:{port}", protocol="grpc", retry=once) as client,
            pytest.raises(TransportError, match="the answer has no PROBABILITY, TRUNCATED_TOKENS"),
        ):
            client.acceptability(["I am a boy."])
    finally:
        server.stop(0).wait()


def test_an_answer_over_http_that_lacks_an_output_is_asked_for_again():
    with ThreadingHTTPServer(("127.0.0.1", 0), LackingOverHttp) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            with TridentClient(f"127.0.0.1:{server.server_port}") as client:
                assert client.acceptability(["I am a boy."]).tolist() == [0]
        finally:
            server.shutdown()
    assert LackingOverHttp.asked == 2


@pytest.fixture
def two_servers():
    """Two servers under one target, as a name service answers with two addresses, and how often each was asked."""
    calls: Counter[str] = Counter()
    servers, ports = [], []
    for name in ("first", "second"):
        server = grpc.server(ThreadPoolExecutor(2))
        service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(Counting(name, calls), server)
        ports.append(server.add_insecure_port("127.0.0.1:0"))
        server.start()
        servers.append(server)
    yield "ipv4:" + ",".join(f"127.0.0.1:{port}" for port in ports), calls
    for server in servers:
        server.stop(0).wait()


def test_servers_behind_one_name_take_turns(two_servers):
    url, calls = two_servers
    with TridentClient(url, protocol="grpc") as client:
        for _ in range(1000):
            assert client.ready()
            if len(calls) == 2:
                break
    assert set(calls) == {"first", "second"}


async def test_servers_behind_one_name_take_turns_in_an_event_loop(two_servers):
    url, calls = two_servers
    async with AsyncTridentClient(url, protocol="grpc") as client:
        for _ in range(1000):
            assert await client.ready()
            if len(calls) == 2:
                break
            await asyncio.sleep(0)
    assert set(calls) == {"first", "second"}


class Forwarder:
    """Passes bytes to a server and back, until it is told to be silent: then it takes them and passes none.

    What is connected afterwards is served again, as behind a network that forgot the old connections.
    """

    def __init__(self, port: int) -> None:
        self.connections = 0
        self._port, self._silent = port, threading.Event()
        self._sockets: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def fall_silent(self) -> None:
        self._silent.set()
        self._silent = threading.Event()

    def close(self) -> None:
        for each in (self._listener, *self._sockets):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection(("127.0.0.1", self._port))
                self.connections += 1
                self._sockets += [near, far]
                for ends in ((near, far), (far, near)):
                    threading.Thread(target=self._pass, args=(*ends, self._silent), daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket, silent: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while taken := source.recv(65536):
                if not silent.is_set():
                    target.sendall(taken)


@pytest.fixture
def forwarder(two_servers) -> Iterator[Forwarder]:
    url, _ = two_servers
    forwarder = Forwarder(int(url.rpartition(":")[2]))
    yield forwarder
    forwarder.close()


#: Long enough for a machine that has other things to do.
PATIENT = Timeout(connect=4)


def test_a_connection_that_falls_silent_is_replaced(forwarder):
    with TridentClient(forwarder.url, protocol="grpc", timeout=PATIENT) as client:
        assert client.ready()
        forwarder.fall_silent()
        with ThreadPoolExecutor(3) as pool:
            under_way = [pool.submit(client.ready) for _ in range(3)]
        assert all(isinstance(each.exception(), DeadlineError) for each in under_way)
        assert client.ready()
        assert client.ready()
        assert forwarder.connections == 2


async def test_a_connection_that_falls_silent_is_replaced_in_an_event_loop(forwarder):
    async with AsyncTridentClient(forwarder.url, protocol="grpc", timeout=PATIENT) as client:
        assert await client.ready()
        forwarder.fall_silent()
        failed = await asyncio.gather(*(client.ready() for _ in range(3)), return_exceptions=True)
        assert all(isinstance(each, DeadlineError) for each in failed)
        assert await client.ready()
        assert forwarder.connections == 2


# The facade's: it cancels at its deadline, which may be shorter than a call's own timeout.
@pytest.mark.parametrize("patience", [Timeout(connect=8, deadline=4), Timeout(connect=4.2, deadline=60)])
async def test_one_that_is_silent_until_its_calls_are_cancelled_is_replaced_and_only_those_fail(forwarder, patience):
    async with AsyncTridentClient(forwarder.url, protocol="grpc", timeout=patience) as client:
        assert await client.ready()
        forwarder.fall_silent()
        under_way = [asyncio.create_task(client.ready()) for _ in range(3)]
        # Who gives up at once says nothing of the connection.
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(client.ready(), 0.1)
        assert forwarder.connections == 1
        _, late = await asyncio.wait(under_way, timeout=3.9)
        for each in late:
            each.cancel()
        await asyncio.gather(*late, return_exceptions=True)
        assert len(late) == 3
        assert await asyncio.wait_for(client.ready(), 3.9)
        assert forwarder.connections == 2


def test_a_slow_model_is_no_silent_connection(forwarder):
    with TridentClient(forwarder.url, protocol="grpc", timeout=PATIENT) as client, ThreadPoolExecutor(1) as pool:
        assert client.ready()
        slow = pool.submit(client.ready, ["slow"])
        while not slow.done():
            assert client.ready()
            # Without a pause, this waits on a processor of its own.
            time.sleep(0.01)
        assert isinstance(slow.exception(), DeadlineError)
        assert client.ready()
        assert forwarder.connections == 1


def test_what_is_not_acknowledged_breaks_a_connection_in_time(two_servers):
    url, _ = two_servers
    with TridentClient(url, protocol="grpc", timeout=Timeout(connect=4.321)) as client:
        assert client.ready()
        limits = []
        for number in map(int, os.listdir("/proc/self/fd")):
            with contextlib.suppress(OSError), socket.socket(fileno=os.dup(number)) as each:
                if each.family in (socket.AF_INET, socket.AF_INET6):
                    limits.append(each.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT))
        assert 4321 in limits


class Ready(BaseHTTPRequestHandler):
    """Says of everything that it is ready, and keeps the connection."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *arguments):
        pass


@pytest.fixture(params=["http", "grpc"])
def unused(request, two_servers):
    """A client made outside of any event loop."""
    url, _ = two_servers
    with contextlib.ExitStack() as stack:
        if request.param == "http":
            server = stack.enter_context(ThreadingHTTPServer(("127.0.0.1", 0), Ready))
            server.daemon_threads = True
            threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
            stack.callback(server.shutdown)
            url = f"127.0.0.1:{server.server_port}"
        yield AsyncTridentClient(url, protocol=request.param)


# The connections of a loop that is closed cannot be closed in it.
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_asynchronous_client_serves_one_event_loop_after_the_other(unused):
    async def ask_in_another_loop_meanwhile():
        assert await unused.ready()
        with pytest.raises(UsageError, match="another event loop"):
            await asyncio.to_thread(asyncio.run, unused.ready())
        assert await unused.ready()

    for _ in range(2):
        assert asyncio.run(unused.ready())
    asyncio.run(ask_in_another_loop_meanwhile())
    asyncio.run(unused.close())


@pytest.mark.parametrize("unused", ["http"], indirect=True)
def test_a_port_of_http_is_no_port_of_grpc(unused):
    (server,) = unused.servers()
    with TridentClient(server.url, protocol="grpc") as client, pytest.raises(UsageError, match="port of HTTP"):
        client.ready()
