"""A ``trident-serve`` of its own, to be hurt."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil
from trident_server.ports import free_ports

COMMAND = str(Path(sys.executable).with_name("trident-serve"))
STUB = "triton_python_backend_stub"
START_SECONDS = 300.0
STOP_SECONDS = 60.0
#: How it says that all is there.
READY = "Ctrl-C stops it."


class OwnServer:
    """The server as users start it, on free ports.

    Args:
        repository: what it serves.
        cache_dir: where it writes.
        options: of ``trident-serve``.
        wrapper: a command that runs it, such as in a namespace of its own.
        last: options that come behind its own, and win.
    """

    def __init__(
        self,
        repository: Path,
        cache_dir: Path,
        options: Sequence[str] = (),
        *,
        wrapper: Sequence[str] = (),
        last: Sequence[str] = (),
    ) -> None:
        names = ("port", "http-port", "grpc-port", "metrics-port")
        self.ports = dict(zip(names, free_ports(4), strict=True))
        self.url = f"http://127.0.0.1:{self.ports['port']}"
        self.grpc_url = f"127.0.0.1:{self.ports['grpc-port']}"
        self.metrics_url = f"http://127.0.0.1:{self.ports['metrics-port']}/metrics"
        self.cache_dir = cache_dir
        self.said: list[str] = []
        command = [*wrapper, COMMAND, f"--repository={repository}", f"--cache-dir={cache_dir}", *options]
        self._process = subprocess.Popen(
            [*command, *(f"--{name}={port}" for name, port in self.ports.items()), *last],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._reading = threading.Thread(target=self._read, daemon=True)
        self._reading.start()

    def __enter__(self) -> Self:
        """Wait until it is ready."""
        deadline = time.monotonic() + START_SECONDS
        while not any(READY in line for line in self.said):
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise RuntimeError("it did not start:\n" + "".join(self.said))
            time.sleep(0.05)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop it."""
        self.stop()

    def wait(self, seconds: float) -> int:
        """Wait until it ends by itself and return its exit status."""
        status = self._process.wait(seconds)
        self._reading.join()
        return status

    def stop(self) -> None:
        """Stop it, if it still runs."""
        if self._process.poll() is None:
            self._process.terminate()
        self.wait(STOP_SECONDS)

    @property
    def triton(self) -> psutil.Process:
        """The tritonserver that runs now."""
        return self._child("bin/tritonserver")

    @property
    def facade(self) -> psutil.Process:
        """The facade that runs now."""
        return self._child("uvicorn")

    @property
    def stub(self) -> psutil.Process:
        """A process of a Python model."""
        return self._child(STUB)

    def processes(self) -> dict[str, psutil.Process]:
        """Return Triton and the facade by name."""
        return {"Triton": self.triton, "facade": self.facade}

    def family(self) -> list[psutil.Process]:
        """Return all of its processes."""
        return [psutil.Process(self._process.pid), *psutil.Process(self._process.pid).children(recursive=True)]

    def _child(self, name: str) -> psutil.Process:
        for each in psutil.Process(self._process.pid).children(recursive=True):
            try:
                command = each.cmdline()
            except psutil.Error:
                continue
            # A supervisor's command line holds its child's.
            if name in " ".join(command[:3]) and "-I" not in command:
                return each
        raise RuntimeError(f"no process {name} runs")

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.said.append(line)


def peak_mebibytes(process: psutil.Process) -> float:
    """Return the most memory that a process ever had."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024
