"""What Triton and the facade have in common as child processes, shown on a small web server."""

import re
import sys
import time

import psutil
import pytest
from trident_server import child
from trident_server.child import ChildServer, Launch
from trident_server.errors import ServerDiedError, ServerStartError
from trident_server.ports import ask_ready, free_ports
from trident_server.process import TritonProcess
from trident_server.supervised import new_shm_prefix

WEB_SERVER = """
import http.server, signal, sys

port, status, stubborn = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "stubborn"
if stubborn:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/last-words":
            print("out of memory", flush=True)
        self.send_response(status)
        self.end_headers()
        self.wfile.write(b"still warming up")

    def log_message(self, *arguments):
        pass


print("listening", flush=True)
http.server.HTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""


class WebServer(ChildServer):
    NAME = "The web server"
    READY_PATH = "/ready"

    def __init__(self, log_file, *, program=WEB_SERVER, status=200, stubborn=False, ready_timeout=120, stop_grace=5):
        (port,) = free_ports(1)
        super().__init__(
            host="127.0.0.1", port=port, log_file=log_file, ready_timeout=ready_timeout, stop_grace=stop_grace
        )
        self._command = [sys.executable, "-c", program, str(port), str(status), "stubborn" if stubborn else "obedient"]

    def _prepare(self):
        return Launch(self._command, {}, new_shm_prefix())


def test_it_is_ready_inside_gone_outside_and_can_be_started_again(tmp_path):
    server = WebServer(tmp_path / "log")
    with pytest.raises(ServerStartError, match=r"The web server was not started\."):
        _ = server.pid
    pids = set()
    for _ in range(2):
        with server:
            server.check()
            pids.add(server.pid)
        assert not psutil.pid_exists(server.pid)
    assert len(pids) == 2


def test_who_is_late_is_stopped_and_quoted(tmp_path):
    # Where the machine is busy, it takes longer than the first of these to listen.
    for seconds in (2, 60):
        server = WebServer(tmp_path / "log", status=503, ready_timeout=seconds)
        with pytest.raises(ServerStartError, match=f"The web server was not ready after {seconds} s") as failure:
            server.start()
        assert not psutil.pid_exists(server.pid)
        if "answers" in str(failure.value):
            break
    says = rf"after {seconds} s: /ready answers 503: still warming up\.\n  listening\n.*log"
    assert re.search(says, str(failure.value))


def test_who_exits_before_it_is_ready_is_told_with_its_log(tmp_path):
    server = WebServer(tmp_path / "log", program="raise SystemExit('no such vocabulary')")
    with pytest.raises(ServerStartError, match=r"exited with status 1 before it was ready\.\n  no such vocabulary\n"):
        server.start()


def test_who_dies_while_it_serves_is_told_with_what_it_said_since_it_was_ready(tmp_path):
    with WebServer(tmp_path / "log") as server:
        ask_ready(server.pid, "127.0.0.1", server._port, "/last-words")
        psutil.Process(server.pid).kill()
        deadline = time.monotonic() + 120
        while (error := death_of(server)) is None and time.monotonic() < deadline:
            time.sleep(0.01)
    log = f"The whole log: {tmp_path / 'log'} (after the next start log.1)"
    assert str(error) == f"The web server was killed by SIGKILL.\n  out of memory\n{log}"


def test_who_is_halted_for_a_moment_goes_on_and_who_stays_so_counts_as_dead(tmp_path, monkeypatch):
    with WebServer(tmp_path / "log") as server:
        psutil.Process(server.pid).suspend()
        assert death_of(server) is None
        psutil.Process(server.pid).resume()
        time.sleep(0.1)
        assert death_of(server) is None
        monkeypatch.setattr(child, "HALTED_SECONDS", 0.3)
        psutil.Process(server.pid).suspend()
        deadline = time.monotonic() + 120
        while (error := death_of(server)) is None and time.monotonic() < deadline:
            time.sleep(0.01)
        assert str(error) == f"The web server is halted (process {server.pid})."


def death_of(server):
    try:
        server.check()
    except ServerDiedError as error:
        return error
    return None


def test_without_grace_it_is_killed_at_once(tmp_path):
    server = WebServer(tmp_path / "log", stubborn=True, stop_grace=0)
    server.start()
    started = time.monotonic()
    server.stop()
    assert time.monotonic() - started < 4
    assert not psutil.pid_exists(server.pid)


def test_triton_takes_free_ports_where_none_are_named_and_those_that_are(tmp_path):
    first, second = (TritonProcess(repository=tmp_path, cache_dir=tmp_path, grpc_port=1234) for _ in range(2))
    assert first.ports["grpc_port"] == second.ports["grpc_port"] == 1234
    assert len({*first.ports.values(), *second.ports.values()}) == 5
    assert first.http_url == f"127.0.0.1:{first.ports['http_port']}"
    assert first.log_file == tmp_path / "triton.log"
