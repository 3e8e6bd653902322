"""What is done to a server that answers, and what became of its requests: the table of faults."""

from __future__ import annotations

import contextlib
import http.client
import json
import resource
import signal
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

from chaos.asking import INTERNALS, Question
from chaos.questions import LIST
from chaos.server import OwnServer
from chaos.traffic import Outcome, Traffic

#: Right answers that must come before and after.
STEADY = 40
RECOVERY_SECONDS = 180.0
HALT_SECONDS = 3.0
#: Longer than a slow body is left in its place when others need that.
SLOW_SECONDS = 20.0
DEEP_BYTES = 400_000
CHUNKS = 600_000
#: What Triton may have more of where it is to run out of memory; a batch of long texts needs more.
MORE_BYTES = 8 * 2**20
LONGEST_LIST = 16_000_000
LONG_LIST = {"model": "sts", "input": ["The river rises in the hills. " * 60] * 512}


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        fault: what was done.
        in_flight: requests under way at that moment.
        right: answers that were those of before, from the fault to the recovery and a moment beyond.
        refused: errors that say what is the matter.
        broken: connections that broke, which their clients see at once.
        lost: requests without an answer or an error.
        wrong: other answers.
        seconds: the longest time without a right answer.
        complaints: what was said to those that were lost or wrong.
    """

    fault: str
    in_flight: int
    right: int
    refused: int
    broken: int
    lost: int
    wrong: int
    seconds: float
    complaints: Sequence[str] = ()


HEAD = ("fault", "requests in flight", "answered right", "refused clearly", "connection broken", "lost", "wrong")


def table(rows: Sequence[Row]) -> str:
    """Return rows as a table in Markdown."""
    lines = [f"| {' | '.join(HEAD)} | seconds to recover |", "|---|" + "---:|" * 7]
    for each in rows:
        numbers = (each.in_flight, each.right, each.refused, each.broken, each.lost, each.wrong)
        lines.append(f"| {each.fault} | {' | '.join(map(str, numbers))} | {each.seconds:.1f} |")
    return "\n".join(lines) + "\n"


def kill(find: Callable[[OwnServer], psutil.Process]) -> Callable[[OwnServer], None]:
    """Make a fault of a process's sudden end."""
    return lambda server: find(server).kill()


def halt(find: Callable[[OwnServer], psutil.Process]) -> Callable[[OwnServer], None]:
    """Make a fault of a process that is halted for a moment and goes on."""

    def act(server: OwnServer) -> None:
        process = find(server)
        process.send_signal(signal.SIGSTOP)
        time.sleep(HALT_SECONDS)
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGCONT)

    return act


def nested_deeply(server: OwnServer) -> None:
    """Send Triton JSON that is nested too deeply."""
    connection = http.client.HTTPConnection("127.0.0.1", server.ports["http-port"], timeout=30)
    with contextlib.suppress(OSError, http.client.HTTPException), contextlib.closing(connection):
        connection.request("POST", "/v2/models/cola/infer", body=b"[" * DEEP_BYTES)
        connection.getresponse().read()


def many_chunks(server: OwnServer) -> None:
    """Send Triton a body in chunks of one byte."""
    head = b"POST /v2/models/cola/infer HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
    with (
        contextlib.suppress(OSError),
        socket.create_connection(("127.0.0.1", server.ports["http-port"]), timeout=60) as connection,
    ):
        connection.sendall(head + b"1\r\n \r\n" * CHUNKS + b"0\r\n\r\n")
        connection.recv(1000)


def hang(server: OwnServer) -> None:
    """Halt a Python model's process and never let it go on."""
    server.stub.send_signal(signal.SIGSTOP)


def starve(server: OwnServer) -> None:
    """Give Triton hardly more address space than it has, and a list that needs more.

    Raises:
        RuntimeError: what it is told names internals.
    """
    triton = server.triton
    before = triton.rlimit(psutil.RLIMIT_AS)
    triton.rlimit(psutil.RLIMIT_AS, (triton.memory_info().vms + MORE_BYTES, before[1]))
    answers = []
    for _ in range(3):
        with contextlib.suppress(httpx.HTTPError):
            answers.append(httpx.post(f"{server.url}/v1/embeddings", json=LONG_LIST, timeout=30, trust_env=False))
    with contextlib.suppress(psutil.NoSuchProcess):
        triton.rlimit(psutil.RLIMIT_AS, before)
    for each in answers:
        if INTERNALS.search(each.text):
            raise RuntimeError(f"an error names internals: {each.status_code} {each.text}")


def fill_disk(server: OwnServer) -> None:
    """Leave no room where logs go, for a moment; of the file system that only the server sees."""
    filling = Path(f"/proc/{server.triton.pid}/root{server.cache_dir}", "filling")
    with contextlib.suppress(OSError), filling.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    time.sleep(HALT_SECONDS)
    filling.unlink()


def connections(
    count: int, sent: bytes, again: bytes = b"", *, slow: bool = False, whole: bool = False
) -> Callable[[OwnServer], None]:
    """Make a fault of many connections to the facade that send something, perhaps a little more, and never read.

    Args:
        count: of connections.
        sent: by each.
        again: what each sends every 100 ms from then on.
        slow: whether they stay for as long as senders that are slow.
        whole: whether all is sent that is to be, also where that takes a while.
    """

    def act(server: OwnServer) -> None:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 4 * count)), hard))
        with contextlib.ExitStack() as opened:
            sockets = [
                opened.enter_context(socket.create_connection(("127.0.0.1", server.ports["port"]), timeout=30))
                for _ in range(count)
            ]
            for each in sockets:
                with contextlib.suppress(OSError):
                    if whole:
                        each.sendall(sent)
                each.setblocking(False)
                with contextlib.suppress(BlockingIOError):
                    each.send(b"" if whole else sent)
            until = time.monotonic() + (SLOW_SECONDS if slow else HALT_SECONDS)
            while time.monotonic() < until:
                for each in sockets if again else ():
                    with contextlib.suppress(OSError):
                        each.send(again)
                time.sleep(0.1)

    return act


def _request(body: bytes, length: int | None = None) -> bytes:
    size = len(body) if length is None else length
    return b"POST /v1/embeddings HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % size + body


FULL_DISK = "the disk of the logs full for 3 s"
#: After which nothing is started again: they may be done to one server, one after the other.
GENTLE: dict[str, Callable[[OwnServer], None]] = {
    "Triton halted for 3 s": halt(lambda server: server.triton),
    "a Python model's process halted for 3 s": halt(lambda server: server.stub),
    "the facade halted for 3 s": halt(lambda server: server.facade),
    "1,000 idle connections": connections(1000, b""),
    "200 connections with half a request": connections(
        200, b"POST /v1/embeddings HTTP/1.1\r\nhost: x\r\nconte", slow=True
    ),
    "200 clients that send a byte in 100 ms": connections(200, _request(b"{", 10_000), b" ", slow=True),
    "20 lists of 16 MB without their last byte": connections(
        20, _request(b" " * (LONGEST_LIST - 1), LONGEST_LIST), slow=True, whole=True
    ),
    "50 clients that ask for lists and never read": connections(50, 4 * _request(json.dumps(LIST).encode())),
}
FAULTS: dict[str, Callable[[OwnServer], None]] = {
    **GENTLE,
    "Triton killed": kill(lambda server: server.triton),
    "a Python model's process killed": kill(lambda server: server.stub),
    "the facade killed": kill(lambda server: server.facade),
    "a Python model's process halted for good": hang,
    "Triton at its limit of memory": starve,
    FULL_DISK: fill_disk,
    "400 KB of `[` to Triton": nested_deeply,
    "600,000 chunks of a byte to Triton": many_chunks,
}


def suffer(server: OwnServer, name: str, questions: Sequence[Question], clients: int) -> Row:
    """Do a fault to a server under load, and wait until it answers as before.

    Raises:
        RuntimeError: it did not answer before, or never again.
    """
    with Traffic(server.url, questions, clients) as traffic:
        if not traffic.wait_for_answers(0.0, STEADY, RECOVERY_SECONDS):
            raise RuntimeError(f"nothing is answered: {traffic.counts()} {traffic.complaints[:3]}")
        before, in_flight, began = traffic.counts(), traffic.in_flight, time.monotonic()
        FAULTS[name](server)
        if not traffic.wait_for_answers(time.monotonic(), STEADY, RECOVERY_SECONDS):
            raise RuntimeError(f"after '{name}' nothing was answered: {traffic.counts()}\n{''.join(server.said)}")
        seconds = traffic.longest_pause(began)
    counts = traffic.counts() - before
    return Row(
        name,
        in_flight,
        *(counts[each] for each in (Outcome.RIGHT, Outcome.REFUSED, Outcome.BROKEN, Outcome.LOST, Outcome.WRONG)),
        seconds,
        traffic.complaints,
    )
