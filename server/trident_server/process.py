"""One embedded tritonserver from start to clean stop."""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType

from trident_server.assembly import assemble_backends, check_path
from trident_server.compilation import find_toolchain
from trident_server.errors import CompilationError, ServerDiedError, ServerStartError
from trident_server.files import ELSEWHERE, using
from trident_server.log import LogFollower, failure_reasons, read_tail
from trident_server.ports import answers, check_free
from trident_server.repository import check_repository
from trident_server.settings import reachable
from trident_server.supervised import (
    SupervisedProcess,
    describe_exit,
    new_shm_prefix,
    remove_abandoned_shared_memory,
)
from trident_server.wheel import EmbeddedTriton, environment, find_embedded_triton

POLL_SECONDS = 0.05
# Seconds that Triton gives requests in flight when it is stopped.
EXIT_TIMEOUT_SECONDS = 10
# Whoever can reach Triton could map shared memory of other processes or write trace and log files with these.
RESTRICTED_APIS = ("shared-memory", "trace", "logging")


def trace_arguments(endpoint: str | None) -> list[str]:
    """Return what makes Triton send its spans to an OpenTelemetry collector at ``http://host:port``; nothing for None.

    Triton traces every request that carries a trace's context, as the facade's do, and of all others one in a million.
    """
    if endpoint is None:
        return []
    settings = [
        "mode=opentelemetry",
        "level=TIMESTAMPS",
        "rate=1000000",
        f"opentelemetry,url={endpoint.rstrip('/')}/v1/traces",
        "opentelemetry,resource=service.name=triton",
    ]
    return [f"--trace-config={each}" for each in settings]


class TritonProcess:
    """A tritonserver child process: starts, waits for ready, stops, and leaves nothing behind.

    Use it as a context manager, or call :meth:`start` and :meth:`stop`. No process, port or shared memory is left
    even when this process is killed with SIGKILL.

    Args:
        repository: the Triton model repository. Configurations must be complete, as for the C++ PyTorch backend:
            Triton does not start every model once more to ask it for what is missing.
        http_port: Triton's HTTP port.
        grpc_port: Triton's gRPC port.
        metrics_port: Triton's Prometheus port.
        cache_dir: where backends are assembled.
        log_file: where Triton's log goes; truncated at start.
        host: IPv4 address that all three services bind.
        ready_timeout: seconds until every model must be ready.
        stop_grace: seconds that a clean stop may take before Triton is killed; it takes about three, because Triton
            looks once a second whether its models are unloaded.
        config_name: Triton's ``--model-config-name``.
        shared_memory: let clients on this host hand over tensors in system shared memory.
        isolated: serve each model from a process of its own, as is done in any case where backends cannot be compiled
            for Triton's. Slower; a model that crashes takes no other with it.
        extra_args: further tritonserver arguments.
        on_model_loaded: called with each model's name as Triton reports it loaded.

    Raises:
        UnsupportedPlatformError: from :meth:`start`, as all of these; the embedded Triton cannot run here.
        RepositoryError: the repository is missing or not built.
        PathError: the path of the repository or of ``cache_dir`` is one that Triton breaks on.
        FileError: ``cache_dir`` or ``log_file`` cannot be written.
        AddressError: a port is in use, or cannot be bound.
        ServerStartError: Triton exited, or was not ready in time; says why.
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
        stop_grace: float = 15.0,
        config_name: str | None = None,
        shared_memory: bool = False,
        isolated: bool = False,
        extra_args: Sequence[str] = (),
        on_model_loaded: Callable[[str], None] = lambda name: None,
    ) -> None:
        self.log_file = log_file
        #: Once started: why models have processes of their own that were to be served without.
        self.isolated_because: str | None = None
        self._repository = repository
        self._ports = {"http_port": http_port, "grpc_port": grpc_port, "metrics_port": metrics_port}
        self._cache_dir = cache_dir
        self._host = host
        self._ready_timeout = ready_timeout
        self._stop_grace = stop_grace
        self._config_name = config_name
        self._shared_memory = shared_memory
        self._isolated = isolated
        self._extra_args = extra_args
        self._on_model_loaded = on_model_loaded
        self._process: SupervisedProcess | None = None
        address = reachable(host)
        self.http_url = f"{address}:{http_port}"
        self.grpc_url = f"{address}:{grpc_port}"
        self.metrics_url = f"{address}:{metrics_port}"

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
        """Process id of tritonserver.

        Raises:
            ServerStartError: it was not started.
        """
        if self._process is None:
            raise ServerStartError("Triton was not started.")
        return self._process.pid

    def start(self) -> None:
        """Start tritonserver and return when all its models are ready."""
        triton = find_embedded_triton()
        check_repository(self._repository, self._config_name)
        check_path(self._repository.resolve(), "repository")
        check_free(self._host, self._ports)
        with using(self._cache_dir, ELSEWHERE):
            backends = self._assemble(triton)
        remove_abandoned_shared_memory()
        shm_prefix = new_shm_prefix()
        self._process = SupervisedProcess(
            [str(triton.binary), *self._arguments(triton, backends, shm_prefix)],
            log_file=self.log_file,
            environment=environment(triton),
            grace=self._stop_grace,
            shm_prefix=shm_prefix,
        )
        try:
            self._wait_until_ready(self._process)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop tritonserver and clean up; it is killed when it takes longer than its grace. Safe to call twice."""
        if self._process is not None:
            self._process.stop()

    def check(self) -> None:
        """Raise ServerDiedError, with the reason from the log, when tritonserver does not run any more."""
        if self._process is not None and (status := self._process.poll()) is not None:
            raise ServerDiedError(self._explain(f"Triton {describe_exit(status)}."))

    def _assemble(self, triton: EmbeddedTriton) -> Path:
        if not self._isolated:
            try:
                return assemble_backends(triton, self._cache_dir, find_toolchain())
            except CompilationError as error:
                self.isolated_because = str(error)
        return assemble_backends(triton, self._cache_dir)

    def _arguments(self, triton: EmbeddedTriton, backends: Path, shm_prefix: str) -> list[str]:
        # Nobody is told the key, yet Triton takes it in no other way than as an argument, which /proc shows to this
        # machine's users: the restricted APIs are closed to the network, not to them.
        restricted = [api for api in RESTRICTED_APIS if not (self._shared_memory and api == "shared-memory")]
        closed = f"{','.join(restricted)}:trident-admin={secrets.token_hex(16)}"
        arguments = {
            "model-repository": self._repository.resolve(),
            "model-config-name": self._config_name,
            "model-control-mode": "none",
            "exit-on-error": "true",
            "strict-readiness": "true",
            "exit-timeout-secs": EXIT_TIMEOUT_SECONDS,
            "backend-directory": backends,
            "cache-directory": triton.caches,
            "backend-config": f"python,shm-region-prefix-name={shm_prefix}",
            "http-address": self._host,
            "grpc-address": self._host,
            "metrics-address": self._host,
            "http-port": self._ports["http_port"],
            "grpc-port": self._ports["grpc_port"],
            "metrics-port": self._ports["metrics_port"],
            "http-restricted-api": closed,
            "grpc-restricted-protocol": closed,
        }
        given = [f"--{name}={value}" for name, value in arguments.items() if value is not None]
        return ["--disable-auto-complete-config", *given, *self._extra_args]

    def _wait_until_ready(self, process: SupervisedProcess) -> None:
        deadline = time.monotonic() + self._ready_timeout
        with contextlib.closing(LogFollower(self.log_file)) as log:
            while True:
                ready = answers(process.pid, reachable(self._host), self._ports["http_port"], "/v2/health/ready")
                for name in log.newly_loaded():
                    self._on_model_loaded(name)
                if ready:
                    return
                if (status := process.poll()) is not None:
                    raise ServerStartError(self._explain(f"Triton {describe_exit(status)} before it was ready."))
                if time.monotonic() > deadline:
                    raise ServerStartError(self._explain(f"Triton was not ready after {self._ready_timeout:g} s."))
                time.sleep(POLL_SECONDS)

    def _explain(self, headline: str) -> str:
        reasons = failure_reasons(read_tail(self.log_file))
        return "\n".join([headline, *(f"  {line}" for line in reasons), f"Triton's whole log: {self.log_file}"])
