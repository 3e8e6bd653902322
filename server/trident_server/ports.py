"""Ports: free ones for tests, and a clear word about taken ones before anything starts."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Mapping

import psutil

from trident_server.errors import PortInUseError


def free_ports(count: int, host: str = "127.0.0.1") -> list[int]:
    """Return ``count`` distinct ports that were free a moment ago."""
    with contextlib.ExitStack() as stack:
        ports = []
        for _ in range(count):
            probe = stack.enter_context(socket.socket())
            probe.bind((host, 0))
            ports.append(int(probe.getsockname()[1]))
        return ports


def check_free(host: str, ports: Mapping[str, int]) -> None:
    """Refuse to start on a taken port.

    Args:
        host: the address the server will bind.
        ports: port number by the name of the setting that chooses it, such as ``{"http_port": 8010}``.

    Raises:
        PortInUseError: naming the port, who holds it where that can be told, and the setting.
    """
    seen: dict[int, str] = {}
    for setting, port in ports.items():
        option = f"--{setting.replace('_', '-')} or TRIDENT_{setting.upper()}"
        if port in seen:
            raise PortInUseError(f"{setting} and {seen[port]} are both {port}; change one with {option}.")
        seen[port] = setting
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError as error:
                raise PortInUseError(
                    f"Cannot listen on {host}:{port} ({error.strerror}{_holder(port)}). "
                    f"Stop what uses it, or choose another port with {option}."
                ) from error


def _holder(port: int) -> str:
    with contextlib.suppress(psutil.Error):
        for connection in psutil.net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port and connection.pid:
                return f"; held by {psutil.Process(connection.pid).name()}, process {connection.pid}"
    return ""
