"""Large batches through system shared memory: the same answers, and nothing left, whatever happens."""

import asyncio
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pytest
from trident_client import (
    AsyncTridentClient,
    BadInputError,
    ReadTimeoutError,
    Timeout,
    TridentClient,
    UsageError,
)

pytestmark = pytest.mark.serving

SHARED_MEMORY = Path("/dev/shm")
CONFIG = """
backend: "python"
max_batch_size: 64
input [ { name: "TEXT" data_type: TYPE_STRING dims: [ 1 ] } ]
output [
  { name: "EMBEDDING" data_type: TYPE_FP32 dims: [ 384 ] },
  { name: "TRUNCATED_TOKENS" data_type: TYPE_INT32 dims: [ 1 ] },
  { name: "UNKNOWN_TOKENS" data_type: TYPE_INT32 dims: [ 1 ] }
]
instance_group [ { count: 1 kind: KIND_CPU } ]
"""
MODEL = """
import time

import httpx
import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        responses = []
        for request in requests:
            texts = pb_utils.get_input_tensor_by_name(request, "TEXT").as_numpy()[:, 0]
            if texts[0] == b"refuse":
                error = pb_utils.TritonError("TEXT 0 is refused", pb_utils.TritonError.INVALID_ARG)
                responses.append(pb_utils.InferenceResponse(error=error))
                continue
            if texts[0].startswith(b"wait"):
                time.sleep(3)
            rows = np.array([[len(text)] for text in texts], dtype=np.float32)
            cut = np.zeros_like(rows, dtype=np.int32)
            embedding = rows + np.arange(384, dtype=np.float32)
            tensors = [pb_utils.Tensor("EMBEDDING", embedding)]
            tensors += [pb_utils.Tensor(name, cut) for name in ("TRUNCATED_TOKENS", "UNKNOWN_TOKENS")]
            responses.append(pb_utils.InferenceResponse(tensors))
        return responses
"""


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    """A model that embeds a text as its length in bytes and the numbers above it."""
    folder = tmp_path_factory.mktemp("shared_memory")
    version = folder / "models" / "sts_embedding" / "1"
    version.mkdir(parents=True)
    (version / "model.py").write_text(MODEL, "utf-8")
    (version.parent / "config.pbtxt").write_text(CONFIG)
    return folder / "models"


@pytest.fixture(scope="module")
def server(serve_models, repository):
    with serve_models(repository, shared_memory=True) as server:
        yield server


@pytest.fixture
def named(own_processes):
    """The regions of clients of this session that have a name."""
    return lambda: [region.name for region in own_processes.regions("client-")]


def url(server, protocol):
    return server.http_url if protocol == "http" else server.grpc_url


def regions(server):
    """Return what the server has mapped."""
    return [each["name"] for each in httpx.get(f"http://{server.http_url}/v2/systemsharedmemory/status").json()]


def wait_until(condition):
    """Wait for what happens soon: what a killed process leaves named, its resource tracker takes away."""
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def texts(count):
    return [f"{index} 고양이 " + "x" * (700 + index % 50) for index in range(count)]


def expected(sent):
    lengths = np.array([[len(text.encode())] for text in sent], dtype=np.float32)
    return lengths + np.arange(384, dtype=np.float32)


@pytest.mark.parametrize("protocol", ["http", "grpc"])
async def test_answers_are_the_same_and_nothing_is_left(server, named, protocol):
    sent = texts(64 * 12 + 5)
    with TridentClient(url(server, protocol), protocol=protocol, shared_memory=True) as client:
        for _ in range(2):
            assert np.array_equal(client.embed(sent), expected(sent))
        assert 1 <= len(regions(server)) <= 8
        assert named() == []
        with ThreadPoolExecutor(8) as pool:
            for found in pool.map(client.embed, [sent[:64]] * 40):
                assert np.array_equal(found, expected(sent[:64]))
        assert np.array_equal(client.embed(["short"]), expected(["short"]))
    assert regions(server) == []
    async with AsyncTridentClient(url(server, protocol), protocol=protocol, shared_memory=True) as client:
        for _ in range(2):
            assert np.array_equal(await client.embed(sent), expected(sent))
        assert len(regions(server)) >= 1
    assert (regions(server), named()) == ([], [])


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_a_batch_that_is_refused_harms_no_other(server, named, protocol):
    sent = texts(64)
    with TridentClient(url(server, protocol), protocol=protocol, shared_memory=True) as client:
        for _ in range(3):
            with pytest.raises(BadInputError, match="is refused"):
                client.embed(["refuse", *sent[1:]])
            assert np.array_equal(client.embed(sent), expected(sent))
    assert (regions(server), named()) == ([], [])


def test_a_restarted_server_is_handed_new_regions(server, named):
    sent = texts(64 * 4)
    with (
        TridentClient(server.http_url, protocol="http", shared_memory=True) as over_http,
        TridentClient(server.grpc_url, protocol="grpc", shared_memory=True) as over_grpc,
    ):
        for client in (over_http, over_grpc):
            client.embed(sent)
        server.stop()
        server.start()
        for client in (over_http, over_grpc) * 2:
            assert np.array_equal(client.embed(sent), expected(sent))
    assert (regions(server), named()) == ([], [])


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_a_server_that_does_not_know_the_regions_any_more_is_handed_new_ones(server, named, protocol):
    sent = texts(64 * 4)
    with TridentClient(url(server, protocol), protocol=protocol, shared_memory=True) as client:
        client.embed(sent)
        # As after a restart that no connection of the client's tells.
        unregister = httpx.post(f"http://{server.http_url}/v2/systemsharedmemory/unregister", json={}, timeout=5)
        assert (unregister.status_code, regions(server)) == (200, [])
        for _ in range(2):
            assert np.array_equal(client.embed(sent), expected(sent))
    assert (regions(server), named()) == ([], [])


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_a_request_that_was_given_up_harms_neither_server_nor_client(server, named, protocol):
    # The second of them still waits for the model when its region is given up.
    sent = [["wait" * 300] * 64] * 2
    timeout = Timeout(connect=5, read=1, deadline=2)
    with (
        TridentClient(url(server, protocol), protocol=protocol, shared_memory=True, timeout=timeout) as client,
        ThreadPoolExecutor(2) as pool,
    ):
        for given_up in [pool.submit(client.embed, each) for each in sent]:
            with pytest.raises(ReadTimeoutError):
                given_up.result()
    with TridentClient(url(server, protocol), protocol=protocol, shared_memory=True) as client:
        for _ in range(3):
            assert np.array_equal(client.embed(texts(64)), expected(texts(64)))
    server.check()
    assert (regions(server), named()) == ([], [])


def ask_rightly(client, rounds):
    """Ask for a list of several batches and for single texts, many times, from threads; every answer is checked."""
    sent = texts(64 * 3)
    wanted = expected(sent)
    with ThreadPoolExecutor(4) as pool:
        for _ in range(rounds):
            assert np.array_equal(client.embed(sent), wanted)
            singles = list(pool.map(client.embed, ([text] for text in sent[:40])))
            assert np.array_equal(np.concatenate(singles), wanted[:40])


async def ask_rightly_in_a_loop(client):
    sent = texts(64 * 3)
    assert np.array_equal(await client.embed(sent), expected(sent))


# Python warns of a fork beside threads from 3.12 on, which is what is tried here.
@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("shared_memory", [True, False])
@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_a_client_that_is_forked_answers_rightly_in_children_and_parent(server, named, protocol, shared_memory):
    fork = multiprocessing.get_context("fork")
    options = {"protocol": protocol, "shared_memory": shared_memory}
    alone = AsyncTridentClient(url(server, protocol), **options)
    with TridentClient(url(server, protocol), **options) as client:
        ask_rightly(client, 1)
        asyncio.run(ask_rightly_in_a_loop(alone))
        mine = set(regions(server))
        # grpcio promises nothing where calls are under way, as a stream's are: such a child may be aborted.
        stream = client.stream_embeddings(texts(64 * 30)) if protocol == "http" else iter(())
        next(stream, None)

        def ask_in_a_child():
            if protocol == "http":
                with pytest.raises(UsageError, match="forked"):
                    list(stream)
            ask_rightly(client, 3)
            if protocol == "http":
                asyncio.run(ask_rightly_in_a_loop(alone))
            else:
                with pytest.raises(UsageError, match="before a fork"):
                    asyncio.run(alone.ready())
            # What the child registered goes, and nothing else does.
            client.close()
            asyncio.run(alone.close())
            assert mine <= set(regions(server))

        children = [fork.Process(target=ask_in_a_child) for _ in range(3)]
        for child in children:
            child.start()
        try:
            ask_rightly(client, 3)
            assert len(list(stream)) == (64 * 30 - 1 if protocol == "http" else 0)
            for child in children:
                child.join(120)
            assert [child.exitcode for child in children] == [0, 0, 0]
        finally:
            for child in children:
                child.kill()
            left = set(regions(server))
            asyncio.run(alone.close())
        assert mine <= left
        ask_rightly(client, 1)
    assert (regions(server), named()) == ([], [])


KILLED = """
import sys
from trident_client import TridentClient
client = TridentClient(sys.argv[1], protocol=sys.argv[2], shared_memory=True)
client.embed(["x" * 1000] * 64)
print("embedded", flush=True)
sys.stdin.read() and client.embed(["wait" * 300] * 64)
"""


@pytest.mark.parametrize("protocol", ["http", "grpc"])
@pytest.mark.parametrize("midway", [False, True])
def test_a_killed_client_leaves_nothing_that_the_next_does_not_clean_up(server, named, protocol, midway):
    arguments = [sys.executable, "-c", KILLED, url(server, protocol), protocol]
    killed = subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ)
    assert killed.stdout.readline() == "embedded\n"
    (idle,) = regions(server)
    if midway:
        killed.stdin.write("on")
        killed.stdin.close()
        wait_until(lambda: len(regions(server)) == 2)
    killed.send_signal(signal.SIGKILL)
    killed.wait(30)
    killed.stdin.close()
    killed.stdout.close()
    wait_until(lambda: not named())
    with TridentClient(url(server, protocol), protocol=protocol, shared_memory=True) as client:
        client.embed(texts(64))
        # What the server was still reading from is cleaned up when the client ends.
        assert idle not in regions(server)
    assert (regions(server), named()) == ([], [])


KILLED_BETWEEN = """
import os, signal, sys
from trident_client import TridentClient, _shared_memory

def make_and_die(name, create, size):
    # As the region's own constructor does it, up to where it would tell the tracker.
    open(f"/dev/shm/{name}", "x").close()
    print("made", flush=True)
    os.kill(os.getpid(), signal.SIGKILL)

_shared_memory.SharedMemory = make_and_die
TridentClient(sys.argv[1], shared_memory=True).embed(["x" * 1000] * 64)
"""


def test_a_client_that_is_killed_while_it_makes_a_region_leaves_none(server, named):
    killed = subprocess.run(
        [sys.executable, "-c", KILLED_BETWEEN, server.http_url], stdout=subprocess.PIPE, text=True, timeout=60
    )
    assert (killed.returncode, killed.stdout) == (-signal.SIGKILL, "made\n")
    wait_until(lambda: not named())
