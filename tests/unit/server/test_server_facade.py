"""What the facade's process is told by its environment, and how it stops."""

import asyncio
import http.client
import os
import sys
import threading
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import uvicorn
from trident_api import __main__ as alone
from trident_api.lingering import Linger
from trident_server.errors import ServerError
from trident_server.facade import FacadeProcess, check_installed, without_proxy
from uvicorn.main import main as command_line

PROXIES = ("no_proxy", "NO_PROXY", "no_grpc_proxy")


@pytest.mark.parametrize(
    ("given", "no_proxy", "no_grpc_proxy"),
    [
        ({}, "127.0.0.1", "127.0.0.1"),
        ({"no_proxy": "a,b"}, "a,b,127.0.0.1", "a,b,127.0.0.1"),
        ({"NO_PROXY": "a"}, "a,127.0.0.1", "a,127.0.0.1"),
        ({"no_proxy": "a", "no_grpc_proxy": "c"}, "a,127.0.0.1", "c,127.0.0.1"),
    ],
)
def test_triton_is_exempt_from_proxies_beside_what_is_already(monkeypatch, given, no_proxy, no_grpc_proxy):
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    found = without_proxy(["127.0.0.1", "127.0.0.1"])
    assert found == {"no_proxy": no_proxy, "NO_PROXY": no_proxy, "no_grpc_proxy": no_grpc_proxy}


def test_without_the_facades_packages_it_is_said_which_extra_brings_them(monkeypatch):
    check_installed()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "orjson" else True)
    with pytest.raises(ServerError, match=r"needs the package orjson.*'trident-nlp\[server,api\]'.*--triton-only"):
        check_installed()


@pytest.mark.parametrize(("given", "kept"), [({}, 75), ({"UVICORN_TIMEOUT_KEEP_ALIVE": "5"}, 5)])
def test_idle_connections_are_kept_longer_than_a_balancer_keeps_them(monkeypatch, tmp_path, given, kept):
    monkeypatch.delenv("UVICORN_TIMEOUT_KEEP_ALIVE", raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    process = FacadeProcess(triton_url="a:1", triton_grpc_url="a:2", log_file=tmp_path / "log", port=8000)
    launch = process._prepare()
    taken = {}
    monkeypatch.setattr(alone.log, "configure", lambda level: None)
    monkeypatch.setattr(uvicorn, "run", lambda app, **options: taken.update(options))
    alone.main()
    assert taken["timeout_keep_alive"] == kept
    monkeypatch.setattr(os, "environ", launch.environment)
    assert command_line.make_context("uvicorn", launch.command[3:]).params["timeout_keep_alive"] == kept


SLOW_SECONDS = 7


def slow_application():
    """Return an application that answers requests after some seconds, but for those that ask whether it is ready."""

    async def application(scope, receive, send):
        if scope["type"] != "http":
            return
        if scope["path"] == "/slow":
            (application.folder / "asked").touch()
            await asyncio.sleep(SLOW_SECONDS)
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": b"whole"})

    application.folder = Path(os.environ["TRIDENT_TEST_FOLDER"])
    return application


def test_a_request_of_several_seconds_is_answered_before_it_stops(monkeypatch, tmp_path):
    monkeypatch.setenv("TRIDENT_TEST_FOLDER", str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parent), *sys.path]))
    application, answers = f"{Path(__file__).stem}:slow_application", []
    triton = {"triton_url": "127.0.0.1:1", "triton_grpc_url": "127.0.0.1:2"}
    with FacadeProcess(**triton, log_file=tmp_path / "log", application=application) as facade:
        url = f"{facade.url}/slow"
        ask = threading.Thread(target=lambda: answers.append(urllib.request.urlopen(url, timeout=30).read()))
        ask.start()
        for _ in range(500):
            if (tmp_path / "asked").exists():
                break
            time.sleep(0.02)
        facade.stop()
        ask.join(30)
    assert answers == [b"whole"]


def busy_application():
    """Return an application that answers after a moment."""

    async def application(scope, receive, send):
        if scope["type"] == "lifespan":
            for each in ("startup", "shutdown"):
                await receive()
                await send({"type": f"lifespan.{each}.complete"})
            return
        await asyncio.sleep(0.05)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]})
        await send({"type": "http.response.body", "body": b"whole"})

    return Linger(application)


def test_a_stop_under_load_resets_no_connection_and_loses_nothing_that_began_before(monkeypatch, tmp_path):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parent), *sys.path]))
    triton = {"triton_url": "127.0.0.1:1", "triton_grpc_url": "127.0.0.1:2"}
    application = f"{Path(__file__).stem}:busy_application"
    answered, lost = [], []

    def ask(port, *, keeps):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        while True:
            asked = time.monotonic()
            try:
                connection.request("GET", "/")
                reply = connection.getresponse()
                answered.append((asked, reply.getheader("connection"), reply.read()))
            except ConnectionRefusedError:
                return
            except (OSError, http.client.HTTPException) as error:
                lost.append((asked, repr(error)))
                connection.close()
            if not keeps:
                connection.close()

    with FacadeProcess(**triton, log_file=tmp_path / "log", application=application) as facade:
        port = int(facade.url.rpartition(":")[2])
        with ThreadPoolExecutor(8) as pool:
            asking = [pool.submit(ask, port, keeps=bool(number % 2)) for number in range(8)]
            while len(answered) < 100:
                time.sleep(0.01)
            told_to_stop = time.monotonic()
            facade.stop()
        assert all(each.done() and each.exception() is None for each in asking)
    assert [error for asked, error in lost if asked < told_to_stop] == []
    assert {body for *_, body in answered} == {b"whole"}
    # Whose connection was kept, is told, and asks by a new one as long as there is a door.
    late = [header for asked, header, _ in answered if asked > told_to_stop + 0.2]
    assert len(late) > 8
    assert set(late) == {"close"}
    # Between the last look at the door and its closing there is a moment that no program can take away.
    assert len(lost) <= 1, lost
