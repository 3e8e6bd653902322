"""The gRPC load, against gRPC's own server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import grpc
import pytest
from trident_bench.errors import MeasurementError
from trident_bench.generator import grpc as over_grpc
from trident_bench.generator import loop
from trident_bench.generator.grpc import triton_grpc

METHOD = "/test.Service/Call"
Answer = Callable[[bytes, grpc.aio.ServicerContext], Awaitable[bytes]]


@asynccontextmanager
async def served(answer: Answer) -> AsyncIterator[loop.Connector]:
    server = grpc.aio.server()
    handler = grpc.unary_unary_rpc_method_handler(answer)
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("test.Service", {"Call": handler})])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield triton_grpc(f"127.0.0.1:{port}", METHOD)
    finally:
        await server.stop(None)


async def echo(request: bytes, context: grpc.aio.ServicerContext) -> bytes:
    await asyncio.sleep(0.001 * (len(request) % 7))
    return 3 * request


async def test_each_call_gets_its_own_answer() -> None:
    async with served(echo) as connector, AsyncExitStack() as stack:
        senders = await connector(stack, 16)
        for size in (0, 1, 1000, 16_000):
            sent = [b"%d " % number + b"x" * size for number in range(len(senders))]
            sent = [each[: over_grpc.MOST_BYTES - 5] for each in sent]
            assert await asyncio.gather(*(ask(each) for ask, each in zip(senders, sent, strict=True))) == [
                3 * each for each in sent
            ]


async def test_more_than_both_windows_take_goes_through(monkeypatch: pytest.MonkeyPatch) -> None:
    # What is sent in one connection is many times what the server takes without granting more, and so is its answer.
    monkeypatch.setattr(over_grpc, "CONNECTIONS", 1)
    monkeypatch.setattr(over_grpc, "LARGEST_WINDOW", 2**17)
    async with served(echo) as connector, AsyncExitStack() as stack:
        senders = await connector(stack, 64)
        # gRPC's server takes 4 MB before it grants more.
        answers = await asyncio.gather(*(ask(b"x" * 16_000) for ask in 8 * senders))
        assert [len(each) for each in answers] == [48_000] * 512


async def test_as_many_calls_are_under_way_as_asked_for() -> None:
    under_way = most = 0

    async def slow(request: bytes, context: grpc.aio.ServicerContext) -> bytes:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0.01)
        under_way -= 1
        return request

    async with served(slow) as connector:
        sample = await loop.closed_loop(connector, [b"a", b"b"], in_flight=8, seconds=0.3, turns=2)
    assert most == 8
    assert 0 < sample.rate <= 800


async def test_what_the_server_refuses_is_told() -> None:
    async def refuse(request: bytes, context: grpc.aio.ServicerContext) -> bytes:
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "TEXT 0 is empty")

    async with served(refuse) as connector:
        with pytest.raises(MeasurementError, match="status 3: TEXT 0 is empty"):
            await loop.send_once(connector, b"x")


async def test_a_server_that_stops_is_told() -> None:
    asked = asyncio.Event()

    async def never(request: bytes, context: grpc.aio.ServicerContext) -> bytes:
        asked.set()
        await asyncio.sleep(600)
        return request

    async with AsyncExitStack() as stack:
        async with served(never) as connector:
            (ask,) = await connector(stack, 1)
            under_way = asyncio.ensure_future(ask(b"x"))
            await asyncio.wait_for(asked.wait(), 60)
        with pytest.raises(MeasurementError, match=r"closed the connection|status 14|reset"):
            await asyncio.wait_for(under_way, 60)
        with pytest.raises(MeasurementError, match="closed the connection"):
            await asyncio.wait_for(ask(b"x"), 60)


async def test_a_request_that_is_longer_than_a_frame_is_refused() -> None:
    async with served(echo) as connector:
        with pytest.raises(MeasurementError, match="at most 16384 are carried"):
            await loop.send_once(connector, b"x" * over_grpc.MOST_BYTES)


async def test_what_is_no_grpc_server_is_told() -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)
        writer.close()

    async with await asyncio.start_server(hang_up, "127.0.0.1", 0) as listening:
        address = f"127.0.0.1:{listening.sockets[0].getsockname()[1]}"
        with pytest.raises(MeasurementError, match="closed the connection"):
            await loop.send_once(triton_grpc(address), b"x")
