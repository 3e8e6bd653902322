"""One name may stand for several servers: gRPC's channel asks them in turn."""

import asyncio
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from trident_client import AsyncTridentClient, TridentClient
from tritonclient.grpc import service_pb2, service_pb2_grpc


class Counting(service_pb2_grpc.GRPCInferenceServiceServicer):
    def __init__(self, name: str, calls: Counter[str]) -> None:
        self.name, self.calls = name, calls

    def ServerReady(self, request, context):  # noqa: N802 (the protocol's name)
        self.calls[self.name] += 1
        return service_pb2.ServerReadyResponse(ready=True)

    def ModelReady(self, request, context):  # noqa: N802
        self.calls[self.name] += 1
        return service_pb2.ModelReadyResponse(ready=True)


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
