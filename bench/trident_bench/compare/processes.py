"""Contenders as processes: programs that do jobs in a loop, and servers. None outlives this process."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import httpx
from trident_server.log import read_tail
from trident_server.supervised import SupervisedProcess, describe_exit, new_shm_prefix
from trident_server.supervisor import SHARED_MEMORY

from trident_bench.compare.memory import tree
from trident_bench.errors import MeasurementError
from trident_bench.servers import HOST

#: A peer may calibrate its int8 model first.
START_SECONDS = 600.0
POLL_SECONDS = 0.1
GRACE_SECONDS = 10.0
READY_TIMEOUT = 2.0
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


class Child:
    """A supervised child with a log.

    Args:
        name: what it is called.
        command: program and arguments.
        environment: on top of this process's own.
        log_file: where its output goes.
        facts: what is known of it before it is started.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        environment: Mapping[str, str],
        log_file: Path,
        facts: Mapping[str, Any] | None = None,
    ) -> None:
        self.name = name
        self.facts = dict(facts or {})
        self._command, self._environment, self._log_file = command, environment, log_file
        self._process: SupervisedProcess | None = None

    def launch(self, ready: Callable[[], bool], *further: str) -> None:
        """Start the program with further arguments, and wait until it is ready.

        Raises:
            MeasurementError: it ended, or took too long.
        """
        self._process = SupervisedProcess(
            [*map(str, self._command), *further],
            log_file=self._log_file,
            environment={**os.environ, **self._environment},
            grace=GRACE_SECONDS,
            shm_prefix=new_shm_prefix(),
        )
        deadline = time.monotonic() + START_SECONDS
        while not ready():
            if (status := self._process.poll()) is not None:
                raise self.failure(f"it {describe_exit(status)}:")
            if time.monotonic() > deadline:
                raise self.failure(f"it was not ready after {START_SECONDS:g} s:")
            time.sleep(POLL_SECONDS)

    def stop(self) -> None:
        """Stop it and all it started."""
        if self._process is None:
            return
        family = tree(self.pids())
        self._process.stop()
        self._process = None
        # A peer that is killed leaves the semaphores of its process pools (joblib's loky) behind.
        for process in family:
            for left in SHARED_MEMORY.glob(f"sem.loky-{process.pid}-*"):
                left.unlink(missing_ok=True)

    def pids(self) -> list[int]:
        """Return its process id, or nothing when it is not running."""
        return [] if self._process is None else [self._process.pid]

    def failure(self, headline: str) -> MeasurementError:
        """Return an error with the end of the log."""
        tail = [line for line in read_tail(self._log_file) if line.strip()][-LINES_OF_FAILURE:]
        return MeasurementError(" ".join([headline, *tail, f"(log: {self._log_file})"]))


class LoopProcess(Child):
    """A program of ``bench/peers/`` that does jobs on demand; see ``bench/peers/loop.py``."""

    _connection: socket.socket | None = None
    _lines: Any = None

    def start(self) -> None:
        """Start it and wait until it is ready."""
        with tempfile.TemporaryDirectory(prefix="trident-") as folder, socket.socket(socket.AF_UNIX) as listener:
            address = f"{folder}/loop"
            listener.bind(address)
            listener.listen(1)
            listener.setblocking(False)

            def connected() -> bool:
                with contextlib.suppress(BlockingIOError):
                    self._connection, _ = listener.accept()
                return self._connection is not None

            self.launch(connected, "--socket", address)
        if self._connection is not None:
            self._connection.settimeout(SLACK_SECONDS)
            self._lines = self._connection.makefile("rw", encoding="utf-8")
            self.facts = self._read()["ready"]

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
            raise self.failure(f"it did not answer ({error}):") from error
        if "error" in answer:
            raise MeasurementError(str(answer["error"]))
        return answer

    def _read(self) -> dict[str, Any]:
        line = self._lines.readline()
        if not line:
            raise self.failure("it ended:")
        answer: dict[str, Any] = json.loads(line)
        return answer


class ServiceProcess(Child):
    """An HTTP server of somebody else.

    Args:
        name: as the rest, see :class:`Child`.
        command: see there.
        environment: see there.
        log_file: see there.
        port: where it will listen.
        facts: see there.
        ready_path: answers 200 once it is ready.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        environment: Mapping[str, str],
        log_file: Path,
        *,
        port: int,
        facts: Mapping[str, Any] | None = None,
        ready_path: str = "/health",
    ) -> None:
        super().__init__(name, command, environment, log_file, facts)
        self.address = f"{HOST}:{port}"
        self._ready_url = f"http://{self.address}{ready_path}"

    def start(self) -> None:
        """Start it and wait until it is ready."""
        # Not through a proxy that the environment names.
        with httpx.Client(trust_env=False, timeout=READY_TIMEOUT) as client:

            def answers() -> bool:
                try:
                    return client.get(self._ready_url).status_code == httpx.codes.OK
                except httpx.HTTPError:
                    return False

            self.launch(answers)
