"""Contenders as processes: programs that do jobs in a loop, and servers. None outlives this process."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from trident_server.child import POLL_SECONDS, ChildServer, Launch
from trident_server.errors import ServerStartError
from trident_server.supervised import SupervisedProcess, describe_exit, new_shm_prefix
from trident_server.supervisor import SHARED_MEMORY

from trident_bench.compare.memory import tree
from trident_bench.errors import MeasurementError
from trident_bench.servers import HOST

#: A peer may calibrate its int8 model first.
START_SECONDS = 600.0
GRACE_SECONDS = 10.0
#: Beyond what it was asked for, a loop may take this long for making its batches and for its last pass.
SLACK_SECONDS = 120.0
LINES_OF_FAILURE = 3


class Contender(Protocol):
    """Something that is measured.

    Attributes:
        name: what it is called on the command line and in the results.
        facts: what it reports, such as its dtype; known once it is started.
    """

    name: str
    facts: dict[str, Any]

    def start(self) -> None:
        """Start, and return when it can be measured."""

    def stop(self) -> None:
        """Stop; safe to call twice, or when it was never started."""

    def pids(self) -> list[int]:
        """Return the roots of its process trees."""


class Measured(ChildServer):
    """A child that is a contender."""

    name: str
    facts: dict[str, Any]

    def pids(self) -> list[int]:
        """Return its process id, or nothing when it is not running."""
        return [self._process.pid] if self._process is not None and self._process.poll() is None else []


class ServiceProcess(Measured):
    """An HTTP server of somebody else, or what else is started as one.

    Args:
        name: what it is called.
        command: program and arguments.
        environment: on top of this process's own.
        log_file: where its output goes.
        port: where it will listen.
        facts: what is known of it before it is started.
    """

    NAME = "It"
    READY_PATH = "/health"

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        environment: Mapping[str, str],
        log_file: Path,
        *,
        port: int,
        facts: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(host=HOST, port=port, log_file=log_file, ready_timeout=START_SECONDS, stop_grace=GRACE_SECONDS)
        self.name = name
        self.facts = dict(facts or {})
        self.address = f"{HOST}:{port}"
        self._command, self._environment = [*map(str, command)], environment

    def stop(self) -> None:
        """Stop it and all it started."""
        family = tree(self.pids())
        super().stop()
        # A peer that is killed leaves the semaphores of its process pools (joblib's loky) behind.
        for process in family:
            for left in SHARED_MEMORY.glob(f"sem.loky-{process.pid}-*"):
                left.unlink(missing_ok=True)

    def _prepare(self) -> Launch:
        return Launch(self._command, {**os.environ, **self._environment}, new_shm_prefix())

    def _reasons(self, log: list[str]) -> list[str]:
        return [line for line in log if line.strip()][-LINES_OF_FAILURE:]


class LoopProcess(ServiceProcess):
    """A program of ``bench/peers/`` that does jobs on demand; see ``bench/peers/loop.py``.

    Args:
        name: as the rest, see :class:`ServiceProcess`.
        command: see there.
        environment: see there.
        log_file: see there.
    """

    def __init__(
        self, name: str, command: Sequence[str | Path], environment: Mapping[str, str], log_file: Path
    ) -> None:
        # It connects to this process rather than listen.
        super().__init__(name, command, environment, log_file, port=0)
        self._program = self._command
        self._connection: socket.socket | None = None
        self._lines: Any = None

    def start(self) -> None:
        """Start it and wait until it is ready."""
        with tempfile.TemporaryDirectory(prefix="trident-") as folder, socket.socket(socket.AF_UNIX) as self._listener:
            self._listener.bind(f"{folder}/loop")
            self._listener.listen(1)
            self._listener.settimeout(POLL_SECONDS)
            self._command = [*self._program, "--socket", f"{folder}/loop"]
            super().start()

    def stop(self) -> None:
        """Stop it."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        super().stop()

    def run(self, job: str, **options: Any) -> dict[str, Any]:
        """Let it do a job and return what it found.

        Raises:
            MeasurementError: it failed, ended or took too long.
        """
        if self._connection is None:
            raise MeasurementError("it was not started")
        self._connection.settimeout(SLACK_SECONDS + float(options.get("seconds", 0)))
        try:
            self._lines.write(json.dumps({"job": job, **options}) + "\n")
            self._lines.flush()
            answer = self._read()
        except OSError as error:
            raise MeasurementError(self._explain(f"It did not answer ({error}).")) from error
        if "error" in answer:
            raise MeasurementError(str(answer["error"]))
        return answer

    def _wait_until_ready(self, process: SupervisedProcess) -> None:
        deadline = time.monotonic() + START_SECONDS
        while self._connection is None:
            with contextlib.suppress(TimeoutError):
                self._connection, _ = self._listener.accept()
            if (status := process.poll()) is not None:
                raise ServerStartError(self._explain(f"It {describe_exit(status)}."))
            if time.monotonic() > deadline:
                raise ServerStartError(self._explain(f"It was not ready after {START_SECONDS:g} s."))
        self._connection.settimeout(SLACK_SECONDS)
        self._lines = self._connection.makefile("rw", encoding="utf-8")
        self.facts = self._read()["ready"]

    def _read(self) -> dict[str, Any]:
        line = self._lines.readline()
        if not line:
            raise MeasurementError(self._explain("It ended."))
        answer: dict[str, Any] = json.loads(line)
        return answer
