"""A server as a child process: started, waited for, watched and stopped in one way, whatever it serves."""

from __future__ import annotations

import abc
import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from trident_server.errors import ServerDiedError, ServerStartError
from trident_server.log import MOST_LINES, read_tail
from trident_server.ports import ask_ready
from trident_server.settings import reachable
from trident_server.stubs import HALTED_SECONDS, is_halted
from trident_server.supervised import SupervisedProcess, describe_exit, former

POLL_SECONDS = 0.05


@dataclass(frozen=True)
class Launch:
    """How a server is started.

    Attributes:
        command: program and arguments.
        environment: the child's whole environment.
        shm_prefix: what the names of its shared-memory regions begin with.
    """

    command: Sequence[str]
    environment: Mapping[str, str]
    shm_prefix: str


class ChildServer(abc.ABC):
    """A server that is a child process: starts, waits for ready, stops, and leaves nothing behind.

    Use it as a context manager, or call :meth:`start` and :meth:`stop`. No process, port or shared memory is left
    even when this process is killed with SIGKILL. It can be started again once it is stopped.

    Args:
        host: IPv4 address that it binds.
        port: where it answers whether it is ready.
        log_file: where its log goes; that of the start before is kept beside it, as ``<log_file>.1``.
        ready_timeout: seconds until it must be ready.
        stop_grace: seconds that a clean stop may take before it is killed; 0 kills it at once.
        tls: whether it answers in TLS there.
    """

    #: How messages call it, at the beginning of a sentence.
    NAME: ClassVar[str]
    #: Answers 200 to GET once it is ready.
    READY_PATH: ClassVar[str]

    def __init__(
        self, *, host: str, port: int, log_file: Path, ready_timeout: float, stop_grace: float, tls: bool = False
    ) -> None:
        self.log_file = log_file
        self._host = host
        self._tls = tls
        self._port = port
        self._ready_timeout = ready_timeout
        self._stop_grace = stop_grace
        self._process: SupervisedProcess | None = None
        # How long the log was when the server was ready: what is before it explains no death.
        self._log_at_ready = 0
        self._halted_since: float | None = None

    @abc.abstractmethod
    def _prepare(self) -> Launch:
        """Check and make what the server needs, and return how it is started."""

    @contextlib.contextmanager
    def _progress(self) -> Iterator[Callable[[], None]]:
        """Give what is called at each look whether it is ready, and once more when it is."""
        yield lambda: None

    def _reasons(self, log: list[str]) -> list[str]:
        """Return the lines of a log that say why the server failed."""
        return log[-MOST_LINES:]

    def __enter__(self) -> Self:
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
        """Process id of the server.

        Raises:
            ServerStartError: it was not started.
        """
        if self._process is None:
            raise ServerStartError(f"{self.NAME} was not started.")
        return self._process.pid

    def start(self) -> None:
        """Start the server and return when it is ready.

        Raises:
            FileError: the log cannot be written.
            ServerStartError: it exited, or was not ready in time; says why.
        """
        launch = self._prepare()
        self._process = SupervisedProcess(
            launch.command,
            log_file=self.log_file,
            environment=launch.environment,
            grace=self._stop_grace,
            shm_prefix=launch.shm_prefix,
        )
        self._log_at_ready, self._halted_since = 0, None
        try:
            self._wait_until_ready(self._process)
            self._log_at_ready = self.log_file.stat().st_size if self.log_file.exists() else 0
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop the server and clean up; it is killed when it takes longer than its grace. Safe to call twice."""
        if self._process is not None:
            self._process.stop()

    def check(self) -> None:
        """Raise ServerDiedError, with the reason from the log, when the server does not run any more, or is halted."""
        if self._process is None:
            return
        if (status := self._process.poll()) is not None:
            raise ServerDiedError(self._explain(f"{self.NAME} {describe_exit(status)}."))
        if not is_halted(self._process.pid):
            self._halted_since = None
        elif self._halted_since is None:
            self._halted_since = time.monotonic()
        elif time.monotonic() - self._halted_since >= HALTED_SECONDS:
            raise ServerDiedError(f"{self.NAME} is halted (process {self._process.pid}).")

    def _wait_until_ready(self, process: SupervisedProcess) -> None:
        deadline = time.monotonic() + self._ready_timeout
        with self._progress() as look:
            while True:
                answer = ask_ready(process.pid, reachable(self._host), self._port, self.READY_PATH, tls=self._tls)
                look()
                if answer.ready:
                    return
                if (status := process.poll()) is not None:
                    raise ServerStartError(self._explain(f"{self.NAME} {describe_exit(status)} before it was ready."))
                if time.monotonic() > deadline:
                    late = f"{self.NAME} was not ready after {self._ready_timeout:g} s"
                    raise ServerStartError(self._explain(f"{late}: {answer.reason}." if answer.reason else f"{late}."))
                time.sleep(POLL_SECONDS)

    def _explain(self, headline: str) -> str:
        reasons = self._reasons(read_tail(self.log_file, self._log_at_ready))
        where = f"The whole log: {self.log_file} (after the next start {former(self.log_file).name})"
        return "\n".join([headline, *(f"  {line}" for line in reasons), where])
