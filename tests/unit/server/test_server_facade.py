"""What the facade's process is told by its environment, and how it stops."""

import asyncio
import os
import sys
import threading
import time
import urllib.request
from pathlib import Path

import pytest
import uvicorn
from trident_api import __main__ as alone
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
