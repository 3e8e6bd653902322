"""The facade as a child process. It is started by its command line: this package imports nothing of ``trident_api``."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType, TracebackType

from trident_server.errors import ServerDiedError, ServerStartError
from trident_server.log import MOST_LINES, read_tail
from trident_server.ports import answers
from trident_server.settings import reachable
from trident_server.supervised import SupervisedProcess, describe_exit, new_shm_prefix

APPLICATION = "trident_api.app:create_app"
READY_PATH = "/health/ready"
POLL_SECONDS = 0.05
STOP_GRACE_SECONDS = 10.0
# Open requests get less than the whole grace, so that uvicorn closes them itself.
DRAIN_SECONDS = 5


class FacadeProcess:
    """A uvicorn child process that serves the facade: starts, waits for ready, stops. A context manager.

    Args:
        host: IPv4 address to bind.
        port: port to bind.
        triton_url: ``host:port`` of Triton's HTTP service.
        triton_grpc_url: ``host:port`` of Triton's gRPC service.
        log_file: where its log goes; truncated at start.
        ready_timeout: seconds until ``/health/ready``, which asks Triton, must answer 200.
        application: the factory to serve, ``module:function``.
        settings: further settings of the facade, by their names without ``TRIDENT_``; those that are None, and all
            others, are left to the environment.
    """

    def __init__(
        self,
        *,
        host: str,
        port: int,
        triton_url: str,
        triton_grpc_url: str,
        log_file: Path,
        ready_timeout: float = 60.0,
        application: str = APPLICATION,
        settings: Mapping[str, object] = MappingProxyType({}),
    ) -> None:
        self.url = f"http://{reachable(host)}:{port}"
        self.log_file = log_file
        self._host = host
        self._port = port
        self._triton_url = triton_url
        self._triton_grpc_url = triton_grpc_url
        self._ready_timeout = ready_timeout
        self._application = application
        self._settings = {
            f"TRIDENT_{name.upper()}": str(value) for name, value in settings.items() if value is not None
        }
        self._process: SupervisedProcess | None = None

    def __enter__(self) -> FacadeProcess:
        """Start and wait for ready."""
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop, whatever happened inside."""
        self.stop()

    @property
    def pid(self) -> int:
        """Process id of uvicorn.

        Raises:
            ServerStartError: it was not started.
        """
        if self._process is None:
            raise ServerStartError("The facade was not started.")
        return self._process.pid

    def start(self) -> None:
        """Start uvicorn and return when the facade is ready.

        Raises:
            FileError: the log cannot be written.
            ServerStartError: it exited, or was not ready in time; carries the end of its log.
        """
        options = {"host": self._host, "port": self._port, "timeout-graceful-shutdown": DRAIN_SECONDS}
        self._process = SupervisedProcess(
            [sys.executable, "-m", "uvicorn", "--factory", self._application, "--no-access-log"]
            + [f"--{name}={value}" for name, value in options.items()],
            log_file=self.log_file,
            environment={
                **os.environ,
                "TRIDENT_HOST": self._host,
                "TRIDENT_PORT": str(self._port),
                "TRIDENT_TRITON_URL": self._triton_url,
                "TRIDENT_TRITON_GRPC_URL": self._triton_grpc_url,
                **self._settings,
            },
            grace=STOP_GRACE_SECONDS,
            shm_prefix=new_shm_prefix(),
        )
        try:
            self._wait_until_ready(self._process)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop uvicorn; it is killed when it takes longer than its grace. Safe to call twice."""
        if self._process is not None:
            self._process.stop()

    def check(self) -> None:
        """Raise ServerDiedError, with the end of its log, when the facade does not run any more."""
        if self._process is not None and (status := self._process.poll()) is not None:
            raise ServerDiedError(self._explain(f"The facade {describe_exit(status)}."))

    def _wait_until_ready(self, process: SupervisedProcess) -> None:
        deadline = time.monotonic() + self._ready_timeout
        while not answers(process.pid, reachable(self._host), self._port, READY_PATH):
            if (status := process.poll()) is not None:
                raise ServerStartError(self._explain(f"The facade {describe_exit(status)} before it was ready."))
            if time.monotonic() > deadline:
                raise ServerStartError(
                    self._explain(f"{self.url}{READY_PATH} did not answer 200 within {self._ready_timeout:g} s.")
                )
            time.sleep(POLL_SECONDS)

    def _explain(self, headline: str) -> str:
        tail = read_tail(self.log_file)[-MOST_LINES:]
        return "\n".join([headline, *(f"  {line}" for line in tail), f"The facade's whole log: {self.log_file}"])
