"""One embedded tritonserver from start to clean stop."""

from __future__ import annotations

import itertools
import os
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType

from trident_server.assembly import assemble_backends
from trident_server.errors import RepositoryError, StartError
from trident_server.guarded import GuardedProcess
from trident_server.ports import check_free
from trident_server.wheel import environment, find_embedded_triton

POLL_SECONDS = 0.1
LOADED = re.compile(r"successfully loaded '([^']+)'")
# Triton's error lines, and the rows of its table of models that failed.
WHY = re.compile(r"^E\d{4} |\| UNAVAILABLE: |^error: |error while loading shared libraries")
# A machine without a GPU is no error.
HARMLESS = re.compile(r"CudaDriverHelper|NVML|DCGM")
LOG_LINE = re.compile(r"^[IWE]\d{4} |^[|+]")

_serial = itertools.count()


class TritonProcess:
    """A tritonserver child process: starts, waits for ready, stops, and leaves nothing behind.

    Use it as a context manager, or call :meth:`start` and :meth:`stop`. A guard process stops Triton and removes its
    shared memory even when this process is killed with SIGKILL.

    Args:
        repository: the Triton model repository.
        http_port, grpc_port, metrics_port: ports to bind on ``host``.
        cache_dir: where backends are assembled.
        log_file: where Triton's log goes; truncated at start.
        ready_timeout: seconds until every model must be ready.
        config_name: Triton's ``--model-config-name``.
        extra_args: further tritonserver arguments.
        on_model_loaded: called with each model's name as Triton reports it loaded.

    Raises:
        UnsupportedPlatformError, RepositoryError, PortInUseError, StartError: from :meth:`start`.
    """

    def __init__(
        self,
        *,
        repository: Path,
        http_port: int,
        grpc_port: int,
        metrics_port: int,
        cache_dir: Path,
        log_file: Path,
        host: str = "127.0.0.1",
        ready_timeout: float = 120.0,
        config_name: str | None = None,
        extra_args: Sequence[str] = (),
        on_model_loaded: Callable[[str], None] | None = None,
    ) -> None:
        self._repository = repository
        self._ports = {"http_port": http_port, "grpc_port": grpc_port, "metrics_port": metrics_port}
        self._cache_dir = cache_dir
        self.log_file = log_file
        self._host = host
        self._ready_timeout = ready_timeout
        self._config_name = config_name
        self._extra_args = list(extra_args)
        self._on_model_loaded = on_model_loaded
        self._shm_prefix = f"trident_{os.getpid()}_{next(_serial)}_"
        self._process: GuardedProcess | None = None
        self.http_url = f"{host}:{http_port}"
        self.grpc_url = f"{host}:{grpc_port}"
        self.metrics_url = f"{host}:{metrics_port}"

    def __enter__(self) -> TritonProcess:
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
        """Process id of tritonserver."""
        if self._process is None:
            raise StartError("Triton was not started.")
        return self._process.pid

    def poll(self) -> int | None:
        """Exit status of tritonserver, or None while it runs."""
        return None if self._process is None else self._process.poll()

    def start(self) -> None:
        """Start tritonserver and return when all its models are ready."""
        triton = find_embedded_triton()
        check_repository(self._repository)
        check_free(self._host, self._ports)
        self._process = GuardedProcess(
            [str(triton.binary), *self._arguments(assemble_backends(triton, self._cache_dir), triton.caches)],
            log_file=self.log_file,
            environment=environment(triton),
            shm_prefix=self._shm_prefix,
        )
        try:
            self._wait_until_ready()
        except BaseException:
            self.stop()
            raise

    def stop(self, grace: float = 15.0) -> None:
        """Stop tritonserver with SIGTERM, with SIGKILL after ``grace`` seconds, and clean up. Safe to call twice."""
        if self._process is not None:
            self._process.stop(grace)

    def log_reasons(self, most: int = 20) -> list[str]:
        """Lines of Triton's log that say why it failed, or its last lines when none does."""
        lines = self.log_file.read_text(errors="replace").splitlines() if self.log_file.exists() else []
        wanted: list[str] = []
        inside = False
        for line in lines:
            # What follows an error line without a prefix of its own is its traceback.
            inside = not HARMLESS.search(line) and bool(WHY.search(line) or (inside and not LOG_LINE.match(line)))
            if inside and line not in wanted:
                wanted.append(line)
        return (wanted or lines)[-most:]

    def _arguments(self, backends: Path, caches: Path) -> list[str]:
        arguments = {
            "model-repository": self._repository.resolve(),
            "backend-directory": backends,
            "cache-directory": caches,
            "backend-config": f"python,shm-region-prefix-name={self._shm_prefix}",
            "http-address": self._host,
            "grpc-address": self._host,
            "metrics-address": self._host,
            "http-port": self._ports["http_port"],
            "grpc-port": self._ports["grpc_port"],
            "metrics-port": self._ports["metrics_port"],
            "model-config-name": self._config_name,
        }
        given = [f"--{name}={value}" for name, value in arguments.items() if value is not None]
        return ["--disable-auto-complete-config", *given, *self._extra_args]

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + self._ready_timeout
        with self.log_file.open(errors="replace") as log:
            while True:
                self._report_loaded(log.read())
                status = self.poll()
                if status is not None:
                    raise StartError(self._explain(f"Triton exited with status {status} before it was ready."))
                if self._is_ready():
                    self._report_loaded(log.read())
                    return
                if time.monotonic() > deadline:
                    raise StartError(self._explain(f"Triton was not ready after {self._ready_timeout:g} s."))
                time.sleep(POLL_SECONDS)

    def _report_loaded(self, text: str) -> None:
        if self._on_model_loaded is not None:
            for name in LOADED.findall(text):
                self._on_model_loaded(name)

    def _is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://{self.http_url}/v2/health/ready", timeout=1) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def _explain(self, headline: str) -> str:
        return "\n".join([headline, *(f"  {line}" for line in self.log_reasons()), f"Whole log: {self.log_file}"])


def check_repository(repository: Path) -> None:
    """Raise RepositoryError unless ``repository`` is a model repository whose TorchScript models are built."""
    if not repository.is_dir():
        raise RepositoryError(f"There is no model repository at {repository}; name one with --repository.")
    configurations = sorted(repository.glob("*/config.pbtxt"))
    if not configurations:
        raise RepositoryError(f"{repository} holds no model (no */config.pbtxt); name a repository with --repository.")
    unbuilt = [
        file.parent.name
        for file in configurations
        if re.search(r'^backend:\s*"pytorch"', file.read_text(), re.MULTILINE)
        and not any(file.parent.glob("*/model.pt"))
    ]
    if unbuilt:
        raise RepositoryError(f"Not built yet: {', '.join(unbuilt)}. Run `make models`.")
