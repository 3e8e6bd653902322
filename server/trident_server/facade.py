"""The facade as a child process. It is started by its command line: this package imports nothing of ``trident_api``."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType

from trident_server.child import ChildServer, Launch
from trident_server.errors import ServerError
from trident_server.ports import free_ports
from trident_server.settings import Tls, reachable
from trident_server.supervised import new_shm_prefix

APPLICATION = "trident_api.app:create_app"
STOP_GRACE_SECONDS = 18.0
# Open requests get less than the whole grace, so that uvicorn closes them itself; and enough for a passage of 100,000
# characters beside others, so that a stop loses none.
DRAIN_SECONDS = 15
# Idle connections outlive those of a balancer in front, which are kept for a minute.
KEPT_ALIVE = {"UVICORN_TIMEOUT_KEEP_ALIVE": "75"}


class FacadeProcess(ChildServer):
    """A uvicorn child process that serves the facade; see :class:`ChildServer`.

    Args:
        triton_url: ``host:port`` of Triton's HTTP service.
        triton_grpc_url: ``host:port`` of Triton's gRPC service.
        log_file: where its log goes.
        host: IPv4 address to bind.
        port: port to bind; a free one where none is named.
        ready_timeout: seconds until ``/health/ready``, which asks Triton, must answer 200.
        stop_grace: seconds that open requests and the stop may take before it is killed, 0 to kill it at once.
        application: the factory to serve, ``module:function``.
        settings: further settings of the facade, by their names without ``TRIDENT_``; those that are None, and all
            others, are left to the environment.
        tls: the files with which it takes HTTPS, and nothing else.
    """

    NAME = "The facade"
    READY_PATH = "/health/ready"

    def __init__(
        self,
        *,
        triton_url: str,
        triton_grpc_url: str,
        log_file: Path,
        host: str = "127.0.0.1",
        port: int | None = None,
        ready_timeout: float = 60.0,
        stop_grace: float = STOP_GRACE_SECONDS,
        application: str = APPLICATION,
        settings: Mapping[str, object] = MappingProxyType({}),
        tls: Tls | None = None,
    ) -> None:
        if port is None:
            (port,) = free_ports(1, host)
        super().__init__(
            host=host,
            port=port,
            log_file=log_file,
            ready_timeout=ready_timeout,
            stop_grace=stop_grace,
            tls=tls is not None,
        )
        self.url = f"{'https' if tls else 'http'}://{reachable(host)}:{port}"
        self._files = {"ssl-certfile": tls.certificate, "ssl-keyfile": tls.key} if tls else {}
        self._application = application
        self._triton_hosts = [address.rpartition(":")[0] for address in (triton_url, triton_grpc_url)]
        given = {"host": host, "port": port, "triton_url": triton_url, "triton_grpc_url": triton_grpc_url, **settings}
        self._settings = {f"TRIDENT_{name.upper()}": str(value) for name, value in given.items() if value is not None}

    def _prepare(self) -> Launch:
        options = {"host": self._host, "port": self._port, "timeout-graceful-shutdown": DRAIN_SECONDS, **self._files}
        command = [sys.executable, "-m", "trident_api.uvicorn", "--factory", self._application, "--no-access-log"]
        command += [f"--{name}={value}" for name, value in options.items()]
        environment = {**KEPT_ALIVE, **os.environ, **without_proxy(self._triton_hosts), **self._settings}
        return Launch(command, environment, new_shm_prefix())


def check_installed() -> None:
    """Refuse to go on without the facade's packages.

    Raises:
        ServerError: one is missing; says which extra brings it.
    """
    for name in ("fastapi", "orjson", "uvicorn"):
        if importlib.util.find_spec(name) is None:
            raise ServerError(
                f"The facade needs the package {name}, which is not installed: pip install 'trident-nlp[server,api]', "
                "or serve Triton alone with --triton-only."
            )


def without_proxy(hosts: Iterable[str]) -> dict[str, str]:
    """Return the variables by which HTTP clients and gRPC reach these hosts directly, whatever proxy is set.

    The hosts that are exempt already stay so.
    """
    exempt = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
    exempt_of_grpc = os.environ.get("no_grpc_proxy") or exempt  # noqa: SIM112 - as gRPC has it
    names = sorted(set(hosts))
    joined = ",".join(filter(None, [exempt, *names]))
    return {"no_proxy": joined, "NO_PROXY": joined, "no_grpc_proxy": ",".join(filter(None, [exempt_of_grpc, *names]))}
