"""The load generator: so many requests under way, and no answer taken for good that is not."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import numpy as np
import pytest
from trident_bench.errors import MeasurementError
from trident_bench.generator import loop, requests
from trident_bench.generator.http import http

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
        sample = await loop.closed_loop(http(address), contents, in_flight=8, seconds=0.4, turns=2)
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
        assert await loop.send_once(http(address), content) == ANSWER


@pytest.mark.parametrize(
    ("server", "message"),
    [
        (Server(status="503 Service Unavailable"), "status 503"),
        (Server(closes=True), "closed the connection"),
    ],
)
async def test_failed_requests_are_no_measurement(server: Server, message: str) -> None:
    async with served(server) as address:
        with pytest.raises(MeasurementError, match=message):
            await loop.closed_loop(http(address), [requests.json_request(address, "/", {})], 2, seconds=0.1)


async def test_a_slow_server_is_measured_until_every_connection_had_its_turns() -> None:
    async with served(Server(seconds=0.1)) as address:
        contents = [requests.json_request(address, "/", {})]
        sample = await loop.closed_loop(http(address), contents, in_flight=4, seconds=0.05, turns=3)
    assert len(sample.times) >= 12
    # Four in a tenth of a second; bursts are not cut in two.
    assert 0 < sample.rate <= 44


async def test_a_server_that_is_too_slow_is_no_measurement(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "LONGEST_SECONDS", 0.5)
    async with served(Server(seconds=0.05)) as address:
        contents = [requests.json_request(address, "/", {})]
        with pytest.raises(MeasurementError, match=r"only \d+ requests were answered"):
            await loop.closed_loop(http(address), contents, in_flight=1, seconds=0.05, turns=1000)


async def test_a_server_that_never_answers_is_no_measurement(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "LONGEST_SECONDS", 0.1)
    async with served(Server(seconds=1.0)) as address:
        with pytest.raises(MeasurementError, match="no end to it"):
            await loop.closed_loop(http(address), [requests.json_request(address, "/", {})], 2, seconds=0.1)


async def test_a_server_that_is_not_there_is_reported() -> None:
    with pytest.raises(MeasurementError, match="Connect call failed"):
        await loop.closed_loop(http("127.0.0.1:1"), [b""], 1, seconds=0.1)


async def test_failures_of_a_tolerant_load_are_counted_and_connections_are_opened_again() -> None:
    class Flaky(Server):
        closes = property(lambda self: len(self.bodies) % 5 == 4, lambda self, value: None)

    async with served(Flaky(seconds=0.002)) as address:
        contents = [requests.json_request(address, "/", {})]
        sample = await loop.closed_loop(http(address), contents, 3, seconds=0.3, turns=12, tolerant=True)
    assert len(sample.times) > 20
    assert sample.failures.total() > 0
    assert all("closed the connection" in reason for reason in sample.failures)


async def test_an_open_loop_sends_at_its_own_rate_whether_or_not_it_is_answered() -> None:
    server = Server(seconds=0.1)
    async with served(server) as address:
        contents = [requests.json_request(address, "/", {"text": str(number)}) for number in range(20)]
        sample = await loop.open_loop(http(address), contents, rate=150, seconds=1.0)
    # One after the other, ten a second would be answered.
    assert sample.rate == pytest.approx(150, rel=0.35)
    assert server.most > 5
    assert min(sample.times) >= 0.1
    assert 0 <= sample.late <= 1


async def test_an_open_loop_of_refusals_says_why() -> None:
    async with served(Server(status="429 Too Many Requests")) as address:
        with pytest.raises(MeasurementError, match="no request was answered: status 429"):
            await loop.open_loop(http(address), [requests.json_request(address, "/", {})], rate=50, seconds=0.2)


async def test_a_load_ends_with_its_first_failure_whatever_it_is() -> None:
    async def connect(stack: object, count: int) -> list[loop.Send]:
        async def ask(item: object) -> None:
            raise ValueError("refused")

        return [ask] * count

    with pytest.raises(ValueError, match="refused"):
        await loop.closed_loop(connect, ["a"], 4, seconds=60)


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
