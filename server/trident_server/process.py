"""One embedded tritonserver from start to clean stop."""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from trident_server.assembly import assemble_backends, check_path
from trident_server.backends import KERNELS_VARIABLE
from trident_server.child import ChildServer, Launch
from trident_server.compilation import find_toolchain
from trident_server.errors import CompilationError, ServerDiedError, ServerStartError
from trident_server.files import ELSEWHERE, using
from trident_server.hangs import HangDetector
from trident_server.log import LogFollower, failure_reasons
from trident_server.ports import check_free, free_ports
from trident_server.repository import check_repository
from trident_server.settings import Tls, reachable
from trident_server.stubs import Stubs, runs
from trident_server.supervised import new_shm_prefix, remove_abandoned_shared_memory
from trident_server.wheel import EmbeddedTriton, environment, find_embedded_triton

# Seconds that Triton gives requests in flight when it is stopped.
EXIT_TIMEOUT_SECONDS = 10
# Seconds that Triton gets to say itself why a model's process ended while it was loaded.
STUB_GRACE_SECONDS = 10.0
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


class TritonProcess(ChildServer):
    """A tritonserver child process; see :class:`ChildServer`.

    Args:
        repository: the Triton model repository. Configurations must be complete, as for the C++ PyTorch backend:
            Triton does not start every model once more to ask it for what is missing.
        cache_dir: where backends are assembled.
        http_port: Triton's HTTP port; like the other two, a free one where none is named.
        grpc_port: Triton's gRPC port.
        metrics_port: Triton's Prometheus port.
        log_file: where Triton's log goes; ``triton.log`` in ``cache_dir`` where none is named.
        host: IPv4 address that all three services bind; with ``tls``, HTTP binds this machine alone.
        ready_timeout: seconds until every model must be ready.
        stop_grace: seconds that a clean stop may take before Triton is killed, 0 to kill it at once; it takes about
            three, because Triton looks once a second whether its models are unloaded.
        config_name: Triton's ``--model-config-name``.
        shared_memory: let clients on this host hand over tensors in system shared memory.
        isolated: serve each model from a process of its own, as is done in any case where backends cannot be compiled
            for Triton's. Slower; a model that crashes takes no other with it.
        backends: what :func:`assemble_backends` made before, for a machine without a compiler; not with ``isolated``.
        polled: load what changes in the repository while Triton runs; who may write there decides what is served.
        is_changing: whether models are being exchanged there, and their processes end for that.
        tls: the files with which gRPC takes TLS, and nothing else. Triton's HTTP server knows no TLS.
        extra_args: further tritonserver arguments.
        patience: seconds for which a model, or Triton itself, may finish nothing while it is asked, before
            :meth:`check` takes it for dead; 0 for any time.
        on_model_loaded: called with each model's name as Triton reports it loaded.

    Raises:
        UnsupportedPlatformError: from :meth:`start`, as all of these; the embedded Triton cannot run here.
        RepositoryError: the repository is missing or not built.
        PathError: the path of the repository or of ``cache_dir`` is one that Triton breaks on.
        FileError: ``cache_dir`` or ``log_file`` cannot be written.
        AddressError: a port is in use, or cannot be bound.
        ServerStartError: Triton exited, or was not ready in time; says why.
    """

    NAME = "Triton"
    READY_PATH = "/v2/health/ready"

    def __init__(
        self,
        *,
        repository: Path,
        cache_dir: Path,
        http_port: int | None = None,
        grpc_port: int | None = None,
        metrics_port: int | None = None,
        log_file: Path | None = None,
        host: str = "127.0.0.1",
        ready_timeout: float = 120.0,
        stop_grace: float = 15.0,
        config_name: str | None = None,
        shared_memory: bool = False,
        isolated: bool = False,
        backends: Path | None = None,
        polled: bool = False,
        is_changing: Callable[[], bool] = lambda: False,
        tls: Tls | None = None,
        extra_args: Sequence[str] = (),
        patience: float = 0.0,
        on_model_loaded: Callable[[str], None] = lambda name: None,
    ) -> None:
        named = {"http_port": http_port, "grpc_port": grpc_port, "metrics_port": metrics_port}
        free = iter(free_ports(sum(port is None for port in named.values()), host))
        #: Port number by the name of its setting.
        self.ports = {name: next(free) if port is None else port for name, port in named.items()}
        super().__init__(
            # What it is asked on, over HTTP.
            host="127.0.0.1" if tls else host,
            port=self.ports["http_port"],
            log_file=log_file or cache_dir / "triton.log",
            ready_timeout=ready_timeout,
            stop_grace=stop_grace,
        )
        #: Once started: why models have processes of their own that were to be served without.
        self.isolated_because: str | None = None
        self._repository = repository
        self._cache_dir = cache_dir
        self._config_name = config_name
        self._shared_memory = shared_memory
        self._isolated = isolated
        self._backends = backends
        self._polled = polled
        self._is_changing = is_changing
        self._open_host = host
        self._tls_files = tls
        self._extra_args = extra_args
        self._on_model_loaded = on_model_loaded
        self._stubs = Stubs(STUB_GRACE_SECONDS)
        self._changed = False
        port = self.ports["http_port"]
        self._hangs = HangDetector(reachable(self._host), port, patience) if patience else None
        address = reachable(host)
        self.http_url = f"{reachable(self._host)}:{self.ports['http_port']}"
        self.grpc_url = f"{address}:{self.ports['grpc_port']}"
        self.metrics_url = f"{address}:{self.ports['metrics_port']}"

    def _prepare(self) -> Launch:
        triton = find_embedded_triton()
        check_repository(self._repository, self._config_name)
        check_path(self._repository.resolve(), "repository")
        check_free(self._open_host, self.ports)
        with using(self._cache_dir, ELSEWHERE):
            backends = self._assemble(triton)
        remove_abandoned_shared_memory()
        shm_prefix = new_shm_prefix()
        command = [str(triton.binary), *self._arguments(triton, backends, shm_prefix)]
        return Launch(command, environment(triton) | {KERNELS_VARIABLE: str(backends / "pytorch")}, shm_prefix)

    @contextlib.contextmanager
    def _progress(self) -> Iterator[Callable[[], None]]:
        with contextlib.closing(LogFollower(self.log_file)) as log:
            looked = time.monotonic()

            def look() -> None:
                nonlocal looked
                for name in log.newly_loaded():
                    self._on_model_loaded(name)
                # Finding processes means to read the whole of /proc.
                # Where models may fail to load, their processes end, and Triton tells why.
                if time.monotonic() - looked > 1.0 and "--exit-on-error=false" not in self._extra_args:
                    looked = time.monotonic()
                    self._stubs.follow(self.pid)
                    if (reason := self._stubs.ended()) is not None:
                        raise ServerStartError(self._explain(reason))

            yield look

    def start(self) -> None:
        """Start Triton and return when it is ready; see :meth:`ChildServer.start`."""
        self._stubs = Stubs(STUB_GRACE_SECONDS)
        super().start()
        self._follow_stubs()

    def check(self) -> None:
        """Raise ServerDiedError, with the reason, when Triton, or a Python model's process, runs no more or hangs.

        Triton itself notices nothing of its models: it says that it is ready, and every request of the model fails.
        """
        super().check()
        if self._is_changing():
            self._changed = True
            return
        if self._changed:
            self._follow_stubs()
        # When Triton is killed, they end with it, and before its supervisor tells.
        if (reason := self._stubs.ended()) is not None and runs(self.pid):
            raise ServerDiedError(reason)
        if self._hangs is not None and (reason := self._hangs.hanging()) is not None:
            raise ServerDiedError(reason)

    def _follow_stubs(self) -> None:
        self._changed = False
        self._stubs = Stubs(grace=0.0)
        self._stubs.follow(self.pid)
        if self._hangs is not None:
            self._hangs.close()

    def _reasons(self, log: list[str]) -> list[str]:
        return failure_reasons(log)

    def _assemble(self, triton: EmbeddedTriton) -> Path:
        if not self._isolated:
            if self._backends is not None:
                return self._backends
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
            "model-control-mode": "poll" if self._polled else "none",
            "repository-poll-secs": 1 if self._polled else None,
            "exit-on-error": "true",
            # Strictly, it would not be ready while another version is loaded. It starts with all models or not at all.
            "strict-readiness": "false" if self._polled else "true",
            "exit-timeout-secs": EXIT_TIMEOUT_SECONDS,
            "backend-directory": backends,
            "cache-directory": triton.caches,
            "backend-config": f"python,shm-region-prefix-name={shm_prefix}",
            "http-address": self._host,
            "grpc-address": self._open_host,
            "metrics-address": self._open_host,
            "http-port": self.ports["http_port"],
            "grpc-port": self.ports["grpc_port"],
            "metrics-port": self.ports["metrics_port"],
            "http-restricted-api": closed,
            "grpc-restricted-protocol": closed,
        }
        if self._tls_files is not None:
            certificate, key, authorities = self._tls_files
            arguments |= {"grpc-use-ssl": "true", "grpc-server-cert": certificate, "grpc-server-key": key}
            if authorities is not None:
                arguments |= {"grpc-use-ssl-mutual": "true", "grpc-root-cert": authorities}
        given = [f"--{name}={value}" for name, value in arguments.items() if value is not None]
        return ["--disable-auto-complete-config", *given, *self._extra_args]
