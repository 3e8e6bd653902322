import contextlib
import http.server
import os
import socket
import threading

import pytest
from trident_server.errors import AddressError, PortInUseError
from trident_server.ports import answers, check_free, free_ports


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


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/ready" else 503)
        self.end_headers()

    def log_message(self, *args):
        pass


@pytest.fixture
def web_port():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


def test_answers_means_that_process_and_that_status(web_port):
    assert answers(os.getpid(), "127.0.0.1", web_port, "/ready")
    assert not answers(os.getpid(), "127.0.0.1", web_port, "/not-ready")
    # Another server on the same port is not the one that was asked for.
    assert not answers(os.getppid(), "127.0.0.1", web_port, "/ready")
    assert not answers(os.getpid(), "127.0.0.1", free_ports(1)[0], "/ready")
    assert not answers(2**22 + 1, "127.0.0.1", web_port, "/ready")


def test_a_proxy_in_the_environment_is_not_asked(web_port, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    assert answers(os.getpid(), "127.0.0.1", web_port, "/ready")
