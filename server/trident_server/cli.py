"""``trident-serve``: Triton and the facade, started together and stopped together."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import psutil
import typer
from rich.console import Console

from trident_server.errors import NotRunningError, ServerError, StartError
from trident_server.guarded import GuardedProcess
from trident_server.ports import check_free
from trident_server.process import POLL_SECONDS, TritonProcess, check_repository
from trident_server.settings import ServerSettings
from trident_server.wheel import find_embedded_triton

app = typer.Typer(add_completion=False, rich_markup_mode="markdown")
console = Console(stderr=True, highlight=False, soft_wrap=True)

PID_FILE = "trident-serve.pid"
FACADE_GRACE_SECONDS = 10.0


class _Stopped(Exception):  # noqa: N818 - not an error: somebody asked us to stop
    """SIGINT or SIGTERM arrived."""


@app.command()
def serve(
    host: Annotated[
        str | None, typer.Option(help="Address that Triton and the facade bind. 0.0.0.0 opens them to the network.")
    ] = None,
    port: Annotated[int | None, typer.Option(help="Port of the facade.")] = None,
    http_port: Annotated[int | None, typer.Option(help="Triton's HTTP port.")] = None,
    grpc_port: Annotated[int | None, typer.Option(help="Triton's gRPC port.")] = None,
    metrics_port: Annotated[int | None, typer.Option(help="Triton's Prometheus port.")] = None,
    repository: Annotated[Path | None, typer.Option(help="Model repository to serve.")] = None,
    config_name: Annotated[
        str | None, typer.Option(help="Serve each model with its configs/<name>.pbtxt where it has one.")
    ] = None,
    cache_dir: Annotated[Path | None, typer.Option(help="Where backends are assembled and logs are written.")] = None,
    ready_timeout: Annotated[
        float | None, typer.Option(help="Seconds to wait for the models before giving up.")
    ] = None,
    triton_only: Annotated[bool, typer.Option("--triton-only", help="Start Triton without the facade.")] = False,
    log_verbose: Annotated[
        int, typer.Option(min=0, max=9, help="Triton's log verbosity; 1 and up logs every request.")
    ] = 0,
    stop: Annotated[
        bool, typer.Option("--stop", help="Stop the server that runs with this cache directory, and exit.")
    ] = False,
) -> None:
    """Serve `model_repository/` from the embedded Triton, with the facade in front.

    Every option has an environment variable of the same name with the prefix `TRIDENT_`. Ctrl-C stops both.
    """
    given: dict[str, Any] = {
        "host": host,
        "port": port,
        "http_port": http_port,
        "grpc_port": grpc_port,
        "metrics_port": metrics_port,
        "repository": repository,
        "config_name": config_name,
        "cache_dir": cache_dir,
        "ready_timeout": ready_timeout,
    }
    settings = ServerSettings(**{name: value for name, value in given.items() if value is not None})
    try:
        if stop:
            console.print(f"Stopped trident-serve, process {stop_running(settings.cache_dir)}.")
        else:
            run(settings, triton_only=triton_only, log_verbose=log_verbose)
    except NotRunningError as nothing:
        console.print(str(nothing), markup=False)
    except ServerError as error:
        console.print(str(error), markup=False, style="red")
        raise typer.Exit(1) from error


def run(settings: ServerSettings, *, triton_only: bool, log_verbose: int) -> None:
    """Start, announce, watch and stop. Returns when SIGINT or SIGTERM asked for it.

    Raises:
        ServerError: nothing was started, or what was started died; everything is stopped.
    """
    find_embedded_triton()
    check_repository(settings.repository)
    ports = {"http_port": settings.http_port, "grpc_port": settings.grpc_port, "metrics_port": settings.metrics_port}
    check_free(settings.host, ports if triton_only else {"port": settings.port, **ports})
    started = time.monotonic()
    with contextlib.ExitStack() as stack, contextlib.suppress(_Stopped):
        stack.enter_context(_stop_signals())
        stack.enter_context(_pid_file(settings.cache_dir))
        with console.status("Starting Triton ...") as status:
            triton = stack.enter_context(
                TritonProcess(
                    repository=settings.repository,
                    host=settings.host,
                    **ports,
                    cache_dir=settings.cache_dir,
                    log_file=settings.cache_dir / "triton.log",
                    ready_timeout=settings.ready_timeout,
                    config_name=settings.config_name,
                    extra_args=[f"--log-verbose={log_verbose}"],
                    on_model_loaded=lambda name: console.print(f"  loaded {name}"),
                )
            )
            facade = None
            if not triton_only:
                status.update("Starting the facade ...")
                facade = stack.enter_context(_facade(settings))
        _announce(settings, triton, time.monotonic() - started, triton_only=triton_only)
        _watch(settings, triton, facade)


def stop_running(cache_dir: Path) -> int:
    """Stop the server whose process id stands in ``cache_dir``; return that id.

    Raises:
        NotRunningError: no such server runs. A foreign process that got its id since is left alone.
    """
    try:
        pid, created = (cache_dir / PID_FILE).read_text().split()
        process = psutil.Process(int(pid))
        if f"{process.create_time():.2f}" != created:
            raise NotRunningError("No trident-serve runs here.")
        process.terminate()
        process.wait(timeout=60)
    except (FileNotFoundError, ValueError, psutil.NoSuchProcess):
        raise NotRunningError("No trident-serve runs here.") from None
    except psutil.TimeoutExpired:
        raise ServerError(f"trident-serve, process {pid}, did not stop within 60 s.") from None
    return int(pid)


@contextlib.contextmanager
def _stop_signals() -> Iterator[None]:
    def stop(number: int, frame: FrameType | None) -> None:
        # A second signal must not interrupt the clean-up that the first one began.
        for each in numbers:
            signal.signal(each, signal.SIG_IGN)
        raise _Stopped

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _pid_file(cache_dir: Path) -> Iterator[None]:
    cache_dir.mkdir(parents=True, exist_ok=True)
    file = cache_dir / PID_FILE
    file.write_text(f"{os.getpid()} {psutil.Process().create_time():.2f}")
    try:
        yield
    finally:
        file.unlink(missing_ok=True)


@contextlib.contextmanager
def _facade(settings: ServerSettings) -> Iterator[GuardedProcess]:
    log_file = settings.cache_dir / "facade.log"
    environment = {
        **os.environ,
        "TRIDENT_HOST": settings.host,
        "TRIDENT_PORT": str(settings.port),
        "TRIDENT_TRITON_URL": f"{reachable(settings.host)}:{settings.http_port}",
        "TRIDENT_TRITON_GRPC_URL": f"{reachable(settings.host)}:{settings.grpc_port}",
    }
    facade = GuardedProcess(
        [sys.executable, "-m", "trident_api"],
        log_file=log_file,
        environment=environment,
        shm_prefix=f"trident_facade_{os.getpid()}_",
    )
    try:
        _wait_for_facade(facade, f"http://{reachable(settings.host)}:{settings.port}/health/live", log_file)
        yield facade
    finally:
        facade.stop(FACADE_GRACE_SECONDS)


def reachable(host: str) -> str:
    """Return an address at which a server bound to ``host`` can be reached from this machine."""
    return "127.0.0.1" if host in {"0.0.0.0", "::", ""} else host


def _wait_for_facade(facade: GuardedProcess, url: str, log_file: Path, timeout: float = 60.0) -> None:
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        if (status := facade.poll()) is not None:
            raise StartError(_facade_died(status, log_file))
        with contextlib.suppress(urllib.error.URLError, OSError), urllib.request.urlopen(url, timeout=1):
            return
        time.sleep(POLL_SECONDS)
    raise StartError(f"The facade was not ready after {timeout:g} s; see {log_file}.")


def _facade_died(status: int, log_file: Path) -> str:
    tail = log_file.read_text(errors="replace").splitlines()[-15:]
    return "\n".join([f"The facade exited with status {status}.", *(f"  {line}" for line in tail)])


def _announce(settings: ServerSettings, triton: TritonProcess, seconds: float, *, triton_only: bool) -> None:
    address = f"http://{reachable(settings.host)}"
    if triton_only:
        console.print(f"[bold green]Triton is ready[/] after {seconds:.1f} s: {address}:{settings.http_port}")
    else:
        console.print(f"[bold green]Trident is ready[/] after {seconds:.1f} s: {address}:{settings.port}")
        console.print(f"  documentation  {address}:{settings.port}/docs")
    console.print(f"  Triton         HTTP {triton.http_url}  gRPC {triton.grpc_url}  metrics {triton.metrics_url}")
    console.print(f"  logs           {settings.cache_dir}/")
    console.print("Ctrl-C stops it.")


def _watch(settings: ServerSettings, triton: TritonProcess, facade: GuardedProcess | None) -> None:
    while True:
        status = triton.poll()
        if status is not None:
            reasons = "\n".join(f"  {line}" for line in triton.log_reasons())
            raise StartError(f"Triton exited with status {status}; stopping.\n{reasons}\nWhole log: {triton.log_file}")
        if facade is not None and (status := facade.poll()) is not None:
            raise StartError(_facade_died(status, settings.cache_dir / "facade.log"))
        time.sleep(POLL_SECONDS)


def main() -> None:
    """Entry point of ``trident-serve``."""
    app()
