"""Requests that are refused before their bodies' ends, over real connections: their senders get the answer."""

import asyncio
import contextlib
import io
import json
import shutil
import socket
import subprocess
import threading

import aiohttp
import pytest
import uvicorn
from trident_api.app import create_app
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
            server = uvicorn.Server(uvicorn.Config(app, log_level="error"))
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
