"""Requests that are refused before their bodies' ends, over real connections: their senders get the answer."""

import asyncio
import contextlib
import io
import json
import shutil
import socket
import subprocess
import threading
import time

import aiohttp
import pytest
import uvicorn
from trident_api import body
from trident_api.app import create_app
from trident_api.connections import PatientProtocol
from trident_api.draining import ReadToTheEnd
from trident_api.settings import ApiSettings
from trident_client import AsyncTridentClient

LIMIT = 1_000_000
# More than the sockets between hold.
BODY_BYTES = 15_000_000
UPLOADS, UPLOAD_BYTES = 8, 30_000_000
#: Writes the uploads one after another, and prints of each the status and the message.
NODE = """
const [url, count, bytes] = process.argv.slice(1);
const form = new FormData();
form.append("file", new Blob([new Uint8Array(bytes)]), "a.csv");
for (let number = 0; number < count; number++) {
  const answer = await fetch(url, { method: "POST", body: form });
  console.log(answer.status + " " + (await answer.json()).detail);
}
"""
FORM = b'--x\r\ncontent-disposition: form-data; name="file"; filename="a.csv"\r\n\r\n'


@pytest.fixture
def serve(transport):
    """Serves an application on a port of its own, and returns the port."""
    with contextlib.ExitStack() as running:

        def start(**settings):
            listener = running.enter_context(socket.create_server(("127.0.0.1", 0)))
            app = create_app(ApiSettings(**settings), lambda chosen: AsyncTridentClient(transport=transport))
            options = {"http": PatientProtocol, "timeout_keep_alive": app.state.settings.keep_alive}
            server = uvicorn.Server(uvicorn.Config(app, log_level="error", **options))
            thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
            thread.start()
            running.callback(thread.join)
            running.callback(setattr, server, "should_exit", True)
            return listener.getsockname()[1]

        yield start


def ask(port, path, body, *headers, size=None):
    """Send the whole request, then read the whole answer: its status and content."""
    head = [f"POST {path} HTTP/1.1", "host: x", *headers]
    head += ["transfer-encoding: chunked"] if size == "chunked" else [f"content-length: {size or len(body)}"]
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.sendall("\r\n".join([*head, "", ""]).encode())
        for start in range(0, len(body), 1 << 16):
            piece = body[start : start + (1 << 16)]
            connection.sendall(b"%x\r\n%b\r\n" % (len(piece), piece) if size == "chunked" else piece)
        if size == "chunked":
            connection.sendall(b"0\r\n\r\n")
        answer = b""
        while received := connection.recv(1 << 16):
            answer += received
            if b"connection: close" not in answer.lower() and b"}" in answer:
                break
    head, _, content = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(content)


@pytest.mark.parametrize(
    ("path", "headers", "size"),
    [("/pred/file/", ["content-type: multipart/form-data; boundary=x"], None), ("/qa", [], "chunked")],
)
def test_who_writes_a_body_that_is_too_long_and_reads_then_gets_the_refusal(serve, path, headers, size):
    port = serve(max_file_bytes=LIMIT, max_list_bytes=LIMIT)
    body = FORM + b"x" * BODY_BYTES
    status, content = ask(port, path, body, *headers, size=size)
    assert (status, content["status"]) == (413, 413)
    assert f"{LIMIT} bytes" in content["detail"]


@pytest.mark.skipif(not shutil.which("node"), reason="there is no node")
def test_fetch_of_node_reads_the_refusal_of_each_of_eight_forms(serve):
    url = f"http://127.0.0.1:{serve(max_file_bytes=LIMIT)}/pred/file"
    command = ["node", "--input-type=module", "--eval", NODE, url, str(UPLOADS), str(UPLOAD_BYTES)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert_refused([line.split(" ", 1) for line in done.stdout.splitlines()])


async def test_aiohttp_reads_the_refusal_of_each_of_eight_forms(serve):
    url = f"http://127.0.0.1:{serve(max_file_bytes=LIMIT)}/pred/file"
    read = []
    async with aiohttp.ClientSession() as session:
        for _ in range(UPLOADS):
            form = aiohttp.FormData()
            form.add_field("file", io.BytesIO(bytes(UPLOAD_BYTES)), filename="a.csv")
            async with session.post(url, data=form) as answer:
                read.append((answer.status, (await answer.json())["detail"]))
    assert_refused(read)


def assert_refused(read):
    assert [int(status) for status, _ in read] == [413] * UPLOADS
    assert all(f"{LIMIT} bytes" in message for _, message in read)


def test_so_does_who_has_no_key(serve, keys_file):
    assert ask(serve(api_keys_file=keys_file), "/generate", b"x" * BODY_BYTES)[0] == 401


async def answer_of(app, size, received, headers=()):
    """Return what is sent to a body that goes on for ever, and how many of its parts were read."""
    sent, parts = [], 0

    async def receive():
        nonlocal parts
        parts += 1
        await asyncio.sleep(0.001)
        return {"type": "http.request", "body": b"x" * size, "more_body": True}

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "headers": [(b"content-length", b"1000000000"), *headers]}
    await app(scope, receive, send)
    return sent, parts


async def refuse(scope, receive, send):
    await send({"type": "http.response.start", "status": 413, "headers": []})
    await send({"type": "http.response.body", "body": b"no"})


@pytest.mark.parametrize(
    ("limits", "parts"), [({"max_bytes": 1000}, range(10, 11)), ({"max_seconds": 0.05}, range(1, 60))]
)
async def test_what_is_thrown_away_is_bounded_in_bytes_and_seconds(limits, parts):
    sent, read = await answer_of(ReadToTheEnd(refuse, **limits), 100, parts)
    # The answer is there before the rest is read; only its end waits.
    assert [each.get("more_body") for each in sent] == [None, True, False]
    assert b"".join(each.get("body", b"") for each in sent) == b"no"
    assert read in parts


async def test_who_waits_for_leave_to_send_a_body_is_not_given_it():
    sent, read = await answer_of(ReadToTheEnd(refuse), 100, 0, [(b"expect", b"100-continue")])
    assert (len(sent), read) == (2, 0)


@contextlib.contextmanager
def half_sent(port, *requests):
    """Send each on a connection of its own; give the connections."""
    with contextlib.ExitStack() as opened:
        connections = []
        for each in requests:
            connections.append(opened.enter_context(socket.create_connection(("127.0.0.1", port), timeout=60)))
            connections[-1].sendall(each)
        yield connections


def rest_of(connection):
    """Return what comes until the server closes the connection, and after how many seconds it did."""
    began, answer = time.monotonic(), b""
    while received := connection.recv(1 << 16):
        answer += received
    return answer, time.monotonic() - began


def head(path, size, *headers):
    return "\r\n".join([f"POST {path} HTTP/1.1", "host: x", f"content-length: {size}", *headers, "", ""]).encode()


FORM_HEAD = "content-type: multipart/form-data; boundary=x"


@pytest.mark.parametrize(
    "begun",
    [
        head("/acceptability", 1000) + b"{",
        head("/generate", 10),
        head("/pred/file", 1000, FORM_HEAD) + FORM + b"a,b",
        head("/acceptability", 1000, "content-encoding: gzip"),
    ],
    ids=["list", "nothing", "form", "compressed"],
)
def test_a_body_that_does_not_arrive_in_time_is_answered_408_and_its_connection_closed(serve, begun):
    port = serve(body_timeout=1.0)
    with half_sent(port, begun, begun) as (silent, dripping):
        until = time.monotonic() + 0.8
        while time.monotonic() < until:
            # Of what is compressed there is no other byte that may come.
            dripping.sendall(b"" if b"gzip" in begun else b" ")
            time.sleep(0.1)
        for each in (silent, dripping):
            answer, seconds = rest_of(each)
            assert answer.startswith(b"HTTP/1.1 408 ")
            assert b"The body did not arrive within 1 s." in answer
            assert b"connection: close" in answer.lower()
            assert seconds < 8, "it has had its time"
    assert ask(port, "/generate", b'{"passage": "x"}')[0] == 200


@pytest.mark.parametrize(
    ("begun", "says"),
    [
        (b"", b""),
        (b"POST /generate HTTP/1.1\r\nhost: x\r\nconte", b"HTTP/1.1 408 "),
        (b"\r\n", b"HTTP/1.1 408 "),
        (b"GET /health/live HTTP/1.1\r\nhost: x\r\n\r\n", b"HTTP/1.1 200 "),
        (b"GET /health/live HTTP/1.1\r\nhost: x\r\n\r\nGET /", b"HTTP/1.1 200 "),
    ],
    ids=["nothing", "half a head", "blank lines", "one that is kept", "half a second head"],
)
def test_who_sends_no_head_is_not_waited_for(serve, monkeypatch, begun, says):
    monkeypatch.setenv("UVICORN_TIMEOUT_KEEP_ALIVE", "2")
    port = serve(head_timeout=1.0)
    with half_sent(port, begun) as (connection,):
        answer, seconds = rest_of(connection)
    assert answer.startswith(says)
    assert bool(answer) == bool(says)
    assert 0.9 < seconds < 20
    assert (b"The request's head did not arrive within 1 s." in answer) == (b"408" in says)


def test_a_head_that_drips_is_not_waited_for_and_who_only_rests_between_requests_is(serve):
    port = serve(head_timeout=1.0)
    with half_sent(port, b"POST /generate HTTP/1.1\r\nx: ", b"") as (dripping, resting):
        began = time.monotonic()
        with contextlib.suppress(OSError):
            while time.monotonic() < began + 20:
                dripping.sendall(b"x")
                time.sleep(0.1)
        assert 0.9 < time.monotonic() - began < 15
        for _ in range(3):
            resting.sendall(head("/generate", 16) + b'{"passage": "x"}')
            assert resting.recv(1 << 16).startswith(b"HTTP/1.1 200 ")
            time.sleep(1.2)


LIST = b'{"sentences": ["x"]}'


def test_half_sent_bodies_hold_no_room_that_others_need(serve, monkeypatch):
    monkeypatch.setattr(body, "SLOW_SECONDS", 1.0)
    port = serve(max_held_bytes=1_000_000, max_held_bytes_each=1_000_000)
    short = head("/acceptability", 100_001) + b" " * 100_000
    with half_sent(port, *[short] * 10) as slow:
        # For a moment they may be such as end.
        assert ask(port, "/acceptability", LIST)[0] == 429
        time.sleep(1.2)
        for _ in range(20):
            assert ask(port, "/acceptability", LIST)[0] == 200
        # One that was small enough went, and the others may end.
        slow[0].sendall(b" ")
        gone = [each for each in slow if b" 408 " in peek(each)]
        assert len(gone) == 1
        assert b"others needed its room" in rest_of(gone[0])[0]
    deadline = time.monotonic() + 20
    while ask(port, "/acceptability", b" " * 900_000 + LIST)[0] != 200:
        assert time.monotonic() < deadline, "what is gone holds room"


def peek(connection):
    connection.setblocking(False)
    try:
        return connection.recv(100, socket.MSG_PEEK)
    except BlockingIOError:
        return b""
    finally:
        connection.settimeout(60)


def test_one_key_holds_no_room_that_anothers_needs(serve, keys_file):
    port = serve(max_held_bytes=1_000_000, max_held_bytes_each=500_000, api_keys_file=keys_file)
    first, second = ("authorization: Bearer first-key", "authorization: Bearer second-key")
    short = head("/acceptability", 100_001, first) + b" " * 100_000
    with half_sent(port, *[short] * 20):
        time.sleep(0.5)
        for _ in range(5):
            assert ask(port, "/acceptability", b" " * 200_000 + LIST, second)[0] == 200
        status, content = ask(port, "/acceptability", b" " * 100_000 + LIST, first)
        assert status == 429
        assert "one key, or address, hold 500000 bytes" in content["detail"]
