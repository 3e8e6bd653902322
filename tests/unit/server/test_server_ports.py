import contextlib
import http.server
import json
import os
import socket
import threading

import pytest
from trident_server.errors import AddressError, PortInUseError
from trident_server.ports import ask_ready, check_free, free_ports


@pytest.fixture
def taken():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def test_free_ports_are_distinct_and_can_be_bound():
    ports = free_ports(20)
    assert len(set(ports)) == 20
    with contextlib.ExitStack() as stack:
        for port in ports:
            stack.enter_context(socket.create_server(("127.0.0.1", port)))


def test_free_ports_pass_the_check():
    port, other = free_ports(2)
    check_free("127.0.0.1", {"http_port": port, "grpc_port": other})


def test_a_taken_port_is_named_with_its_holder_and_its_setting(taken):
    with pytest.raises(PortInUseError) as refusal:
        check_free("127.0.0.1", {"http_port": free_ports(1)[0], "grpc_port": taken})
    message = str(refusal.value)
    assert f"Port {taken} on 127.0.0.1 is in use by " in message
    assert f"(process {os.getpid()})" in message
    assert "--grpc-port (TRIDENT_GRPC_PORT)" in message


def test_a_port_taken_on_one_address_is_taken_for_all_addresses(taken):
    with pytest.raises(PortInUseError):
        check_free("0.0.0.0", {"port": taken})


def test_one_port_for_two_settings_is_refused():
    port = free_ports(1)[0]
    with pytest.raises(AddressError, match=rf"--port .* and --http-port .* both name port {port}"):
        check_free("127.0.0.1", {"port": port, "http_port": port})


def test_an_address_of_another_machine_is_not_called_in_use():
    with pytest.raises(AddressError, match=r"Cannot listen on 192\.0\.2\.1:\d+ .*--host") as refusal:
        check_free("192.0.2.1", {"port": free_ports(1)[0]})
    assert not isinstance(refusal.value, PortInUseError)


#: What the server below answers to a path: status and body.
ANSWERS = {
    "/ready": (200, b"{}"),
    "/problem": (503, json.dumps({"title": "Not ready", "detail": "Triton's models\nare not ready."}).encode()),
    "/text": (500, b"out  of\nmemory"),
    "/list": (503, b"[1]"),
    "/silent": (503, b""),
}


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        status, body = ANSWERS[self.path]
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


@pytest.fixture
def web_port():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


def test_ready_means_that_process_and_that_status(web_port):
    assert ask_ready(os.getpid(), "127.0.0.1", web_port, "/ready").ready
    assert not ask_ready(os.getpid(), "127.0.0.1", web_port, "/silent").ready
    # Another server on the same port is not the one that was asked for.
    assert not ask_ready(os.getppid(), "127.0.0.1", web_port, "/ready").ready
    assert not ask_ready(os.getpid(), "127.0.0.1", free_ports(1)[0], "/ready").ready
    assert not ask_ready(2**22 + 1, "127.0.0.1", web_port, "/ready").ready


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/problem", "/problem answers 503: Triton's models are not ready"),
        ("/text", "/text answers 500: out of memory"),
        ("/list", "/list answers 503: [1]"),
        ("/silent", "/silent answers 503"),
    ],
)
def test_who_is_not_ready_is_quoted(web_port, path, reason):
    assert ask_ready(os.getpid(), "127.0.0.1", web_port, path).reason == reason


def test_a_proxy_in_the_environment_is_not_asked(web_port, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    assert ask_ready(os.getpid(), "127.0.0.1", web_port, "/ready").ready
