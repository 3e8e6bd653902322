"""Ports: free ones for tests, a clear word about taken ones before anything starts, and who answers on one."""

from __future__ import annotations

import contextlib
import errno
import http.client
import json
import random
import socket
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import psutil

from trident_server.errors import AddressError, PortInUseError

LOWEST_FREE = 15_000
# Of what a server says of why it is not ready; bytes.
LONGEST_REASON = 2000


def free_ports(count: int, host: str = "127.0.0.1") -> list[int]:
    """Return ``count`` distinct ports that nothing listened on a moment ago.

    They lie below the range that the kernel takes outgoing connections' ports from, so that only another server can
    take one between this call and its use.

    Raises:
        AddressError: there are not so many.
    """
    candidates = list(range(LOWEST_FREE, _first_ephemeral_port()))
    random.SystemRandom().shuffle(candidates)
    ports: list[int] = []
    for port in candidates:
        if len(ports) == count:
            break
        with contextlib.suppress(OSError):
            _try_to_bind(host, port)
            ports.append(port)
    if len(ports) < count:
        raise AddressError(f"{host} has no {count} free ports between {LOWEST_FREE} and {_first_ephemeral_port()}.")
    return ports


def check_free(host: str, ports: Mapping[str, int]) -> None:
    """Refuse to start on a taken port.

    Args:
        host: the IPv4 address that the server will bind.
        ports: port number by the name of the setting that chooses it, such as ``{"http_port": 8010}``.

    Raises:
        PortInUseError: naming the port, who holds it where that can be told, and the setting.
        AddressError: two settings name one port, or the address cannot be bound for another reason.
    """
    seen: dict[int, str] = {}
    for setting, port in ports.items():
        option = _option(setting)
        if port in seen:
            raise AddressError(f"{_option(seen[port])} and {option} both name port {port}: give them different ports.")
        seen[port] = setting
        try:
            _try_to_bind(host, port)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise PortInUseError(
                    f"Port {port} on {host} is in use{_holder(port)}: "
                    f"stop what uses it, or choose another port with {option}."
                ) from error
            raise AddressError(
                f"Cannot listen on {host}:{port} ({error.strerror}): choose another address with {_option('host')} "
                f"or another port with {option}."
            ) from error


class Readiness(NamedTuple):
    """What a server says when it is asked whether it is ready.

    Attributes:
        ready: it answered 200.
        reason: what it said where it did not, in one line; empty where it said nothing.
    """

    ready: bool
    reason: str = ""


def ask_ready(pid: int, host: str, port: int, path: str, *, tls: bool = False) -> Readiness:
    """Ask whether process ``pid`` itself listens on ``port`` and answers ``GET path`` with 200.

    The process is part of the question because another server, started on the same ports at the same moment, would
    give the same answer.
    """
    try:
        connections = psutil.Process(pid).net_connections("tcp4")
    except psutil.Error:
        return Readiness(False)
    if not any(each.status == psutil.CONN_LISTEN and each.laddr.port == port for each in connections):
        return Readiness(False)
    # Not urllib: it would send the request to a proxy that the environment names.
    connection = http.client.HTTPConnection(host, port, timeout=2)
    if tls:
        # Whose process it is, is known; its certificate is another name's.
        context = ssl._create_unverified_context()  # noqa: S323
        connection = http.client.HTTPSConnection(host, port, timeout=2, context=context)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        if answer.status == http.client.OK:
            return Readiness(True)
        return Readiness(False, f"{path} answers {answer.status}{_detail(answer.read(LONGEST_REASON))}")
    except (OSError, http.client.HTTPException) as error:
        return Readiness(False, f"{path} is not answered ({error or type(error).__name__})")
    finally:
        connection.close()


def _detail(body: bytes) -> str:
    """Return what a body says of itself, behind a colon: a problem's detail (RFC 9457), else its text in one line."""
    text = body.decode(errors="replace")
    with contextlib.suppress(ValueError, KeyError, TypeError):
        text = str(json.loads(text)["detail"])
    text = " ".join(text.split())
    return f": {text.rstrip('.')}" if text else ""


def _try_to_bind(host: str, port: int) -> None:
    with socket.socket(socket.AF_INET) as probe:
        # As servers do: connections of an earlier server that still linger in TIME_WAIT do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((host, port))


def _first_ephemeral_port() -> int:
    return int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])


def _option(setting: str) -> str:
    return f"--{setting.replace('_', '-')} (TRIDENT_{setting.upper()})"


def _holder(port: int) -> str:
    with contextlib.suppress(psutil.Error):
        for connection in psutil.net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port and connection.pid:
                return f" by {psutil.Process(connection.pid).name()} (process {connection.pid})"
    return ""
