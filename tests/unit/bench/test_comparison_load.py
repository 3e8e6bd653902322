"""The load generator: so many requests under way, and no answer taken for good that is not."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import numpy as np
import pytest
from trident_bench.compare import load, requests

ANSWER = b'{"embedding": [1.0, 2.0]}'


class Server:
    """Answers HTTP requests after a while, and notes them and how many were under way at most."""

    def __init__(self, status: str = "200 OK", seconds: float = 0.01, chunked: bool = False, closes: bool = False):
        self.status, self.seconds, self.chunked, self.closes = status, seconds, chunked, closes
        self.under_way = self.most = 0
        self.bodies: list[bytes] = []

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
                self.bodies.append(await reader.readexactly(length))
                self.under_way += 1
                self.most = max(self.most, self.under_way)
                await asyncio.sleep(self.seconds)
                self.under_way -= 1
                if self.closes:
                    break
                writer.write(self.answer())
        except asyncio.IncompleteReadError:
            pass
        finally:
            writer.close()

    def answer(self) -> bytes:
        if self.chunked:
            parts = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (ANSWER[:9], ANSWER[9:], b""))
            return b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + parts
        return f"HTTP/1.1 {self.status}\r\ncontent-length: {len(ANSWER)}\r\n\r\n".encode() + ANSWER


@asynccontextmanager
async def served(server: Server) -> AsyncIterator[str]:
    listening = await asyncio.start_server(server.handle, "127.0.0.1", 0)
    async with listening:
        yield f"127.0.0.1:{listening.sockets[0].getsockname()[1]}"


async def test_as_many_requests_are_under_way_as_asked_for() -> None:
    server = Server()
    async with served(server) as address:
        contents = [requests.json_request(address, "/embed", {"text": str(number)}) for number in range(20)]
        sample = await load.closed_loop(load.http(address), contents, in_flight=8, seconds=0.4, turns=2)
    assert server.most == 8
    # Eight at a time and a hundredth of a second each are 800 a second at most.
    assert 0 < sample.rate <= 800
    assert min(sample.times) >= 0.01
    # The warm-up's requests were asked, and are not counted.
    assert len(server.bodies) > len(sample.times)
    assert {json.loads(body)["text"] for body in server.bodies} == {str(number) for number in range(20)}


async def test_answers_in_chunks_are_read_whole() -> None:
    async with served(Server(chunked=True)) as address:
        content = requests.json_request(address, "/", {})
        assert await load.ask_once(load.http(address), content) == ANSWER


@pytest.mark.parametrize(
    ("server", "message"),
    [
        (Server(status="503 Service Unavailable"), "status 503"),
        (Server(closes=True), "closed the connection"),
    ],
)
async def test_failed_requests_are_no_measurement(server: Server, message: str) -> None:
    async with served(server) as address:
        with pytest.raises(load.LoadError, match=message):
            await load.closed_loop(load.http(address), [requests.json_request(address, "/", {})], 2, seconds=0.1)


async def test_a_slow_server_is_measured_until_every_connection_had_its_turns() -> None:
    async with served(Server(seconds=0.1)) as address:
        contents = [requests.json_request(address, "/", {})]
        sample = await load.closed_loop(load.http(address), contents, in_flight=4, seconds=0.05, turns=3)
    assert len(sample.times) >= 12
    # Four in a tenth of a second; bursts are not cut in two.
    assert 0 < sample.rate <= 44


async def test_a_server_that_is_too_slow_is_no_measurement(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "LONGEST_SECONDS", 0.1)
    async with served(Server(seconds=0.05)) as address:
        contents = [requests.json_request(address, "/", {})]
        with pytest.raises(load.LoadError, match=r"only \d requests were answered"):
            await load.closed_loop(load.http(address), contents, in_flight=1, seconds=0.05, turns=1000)


async def test_a_server_that_never_answers_is_no_measurement(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "LONGEST_SECONDS", 0.1)
    async with served(Server(seconds=1.0)) as address:
        with pytest.raises(load.LoadError, match="no end to it"):
            await load.closed_loop(load.http(address), [requests.json_request(address, "/", {})], 2, seconds=0.1)


async def test_a_server_that_is_not_there_is_reported() -> None:
    with pytest.raises(OSError, match="Connect call failed"):
        await load.closed_loop(load.http("127.0.0.1:1"), [b""], 1, seconds=0.1)


@pytest.mark.parametrize(
    ("read", "answer"),
    [
        (requests.from_json("embedding"), b'{"embedding": [1.0, 2.0]}'),
        (requests.from_json("data", 0, "embedding"), b'{"data": [{"embedding": [1.0, 2.0]}]}'),
        (requests.from_triton_http, b'{"outputs": []}' + np.array([1, 2], dtype=np.float32).tobytes()),
    ],
)
def test_embeddings_are_read_out_of_answers(read: Callable[[bytes], np.ndarray], answer: bytes) -> None:
    assert read(answer).tolist() == [1.0, 2.0]
