"""``trident-serve``: the command line of this package."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError
from rich.console import Console
from trident_client.doctor import show

from trident_server import doctor, exchange, keys, pidfile, stack
from trident_server.assembly import assemble_backends
from trident_server.compilation import find_toolchain
from trident_server.errors import NotRunningError, ServerError
from trident_server.files import using
from trident_server.machine import Machine
from trident_server.settings import ServerSettings, explain
from trident_server.wheel import find_embedded_triton

app = typer.Typer(add_completion=False)


def _option(name: str, help_text: str, flag: str | None = None) -> Any:
    """An option that overrides a setting; without it the environment and then the setting's default decide."""
    default = ServerSettings.model_fields[name].get_default(call_default_factory=True)
    return typer.Option(
        flag or f"--{name.replace('_', '-')}",
        help=f"{help_text} (TRIDENT_{name.upper()})",
        show_default=False if default in (None, False, "") else str(default),
    )


@app.callback(invoke_without_command=True)
def serve(
    context: typer.Context,
    host: Annotated[
        str | None,
        _option("host", "IPv4 address that the facade binds; 0.0.0.0 opens it to the whole network."),
    ] = None,
    triton_host: Annotated[
        str | None,
        _option("triton_host", "Triton binds this IPv4 address; who reaches it needs none of the facade's keys."),
    ] = None,
    api_keys_file: Annotated[
        Path | None,
        _option(
            "api_keys_file", "The facade answers only who sends one of this file's keys, one a line, or its SHA-256."
        ),
    ] = None,
    tls_certificate: Annotated[
        Path | None,
        _option(
            "tls_certificate",
            "The facade, and Triton's gRPC, take TLS alone, with this certificate; Triton's HTTP then binds 127.0.0.1.",
        ),
    ] = None,
    tls_key: Annotated[Path | None, _option("tls_key", "The certificate's private key.")] = None,
    triton_client_authorities: Annotated[
        Path | None,
        _option(
            "triton_client_authorities",
            "Triton's gRPC answers only clients with a certificate of one of these authorities.",
        ),
    ] = None,
    otlp_endpoint: Annotated[
        str | None,
        _option(
            "otlp_endpoint", "The facade and Triton send traces to this OpenTelemetry collector (http://host:4318)."
        ),
    ] = None,
    port: Annotated[int | None, _option("port", "The facade listens here.")] = None,
    http_port: Annotated[int | None, _option("http_port", "Triton's HTTP service listens here.")] = None,
    grpc_port: Annotated[int | None, _option("grpc_port", "Triton's gRPC service listens here.")] = None,
    metrics_port: Annotated[int | None, _option("metrics_port", "Triton's Prometheus metrics are here.")] = None,
    repository: Annotated[Path | None, _option("repository", "Triton loads every model of this repository.")] = None,
    models: Annotated[
        str | None,
        _option("models", "These sets alone are served, such as cola,sts; all of the repository's by default."),
    ] = None,
    config_name: Annotated[
        str | None,
        _option("config_name", "Each model that has a configs/<name>.pbtxt is served with it instead of config.pbtxt."),
    ] = None,
    cache_dir: Annotated[
        Path | None,
        _option("cache_dir", "Backend links, logs and the pid file are written here; one server per directory."),
    ] = None,
    ready_timeout: Annotated[
        float | None,
        _option("ready_timeout", "When Triton, or then the facade, takes more seconds, everything is stopped."),
    ] = None,
    restarts: Annotated[
        int | None,
        _option("restarts", "Triton or the facade is started again when it dies, each so often before all is stopped."),
    ] = None,
    triton_only: Annotated[
        bool | None, _option("triton_only", "The facade is not started.", flag="--triton-only")
    ] = None,
    shared_memory: Annotated[
        bool | None,
        _option(
            "shared_memory",
            "Clients on this host may hand over tensors in shared memory; whoever reaches Triton can then map what "
            "shared memory its user can.",
            flag="--shared-memory",
        ),
    ] = None,
    isolated: Annotated[
        bool | None,
        _option(
            "isolated",
            "Each model is served from a process of its own: slower, and one that crashes takes no other with it.",
            flag="--isolated",
        ),
    ] = None,
    fixed: Annotated[
        bool | None,
        _option(
            "fixed",
            "The repository's files stay as they are, as in an image: networks are linked, not copied, and no set is "
            "exchanged.",
            flag="--fixed",
        ),
    ] = None,
    backends: Annotated[
        Path | None, _option("backends", "Triton takes the backends that `trident-serve backends` made here.")
    ] = None,
    log_verbose: Annotated[
        int | None, _option("log_verbose", "Triton logs more, from 1 on several lines a request; 0 to 9.")
    ] = None,
    stop: Annotated[
        bool, typer.Option("--stop", help="Nothing is started: the server that uses the run-time directory is stopped.")
    ] = False,
) -> None:
    """Serve a Triton model repository, with the facade in front, until Ctrl-C.

    Exits with status 0 when it was told to stop, 1 when something failed and 2 when an option is wrong.
    """
    given = {key: value for key, value in locals().items() if key not in {"stop", "context"} and value is not None}
    try:
        settings = ServerSettings(**given)
    except ValidationError as error:
        raise typer.BadParameter(explain(error)) from error
    if context.invoked_subcommand is not None:
        context.obj = settings
        return
    try:
        if stop:
            _stop(settings.cache_dir)
        else:
            stack.serve(settings, _console())
    except ServerError as error:
        _console(stderr=True).print(str(error), style="red", markup=False)
        raise typer.Exit(1) from error


@app.command("doctor")
def diagnose(context: typer.Context) -> None:
    """Say what is missing or slow on this machine, and what to do: for the options that stand before this word.

    Exits with status 0 when nothing is missing, though something may be slow, and with 1 otherwise.
    """
    if not show(doctor.examine(context.obj, Machine()), _console()):
        raise typer.Exit(1)


@app.command("backends")
def make_backends(
    folder: Annotated[Path, typer.Argument(help="Made by this; stays where it is, as do the installed packages.")],
) -> None:
    """Compile the backends into a folder, for --backends of servers that have no compiler, as in an image."""
    try:
        with using(folder), tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
            assemble_backends(find_embedded_triton(), Path(scratch), find_toolchain()).rename(folder)
            # Other users are to serve from it.
            folder.chmod(0o755)
    except ServerError as error:
        _console(stderr=True).print(str(error), style="red", markup=False)
        raise typer.Exit(1) from error


@app.command("key")
def make_key(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="Whose it is, to be told apart by; any words.")] = "",
) -> None:
    """Make a key for the facade, print it once, and note its digest in the file of --api-keys-file, or print that too.

    The facade reads the file again when it changes; a key ends when its line goes.
    """
    key, line = keys.new_key()
    line = " ".join([line, *name.split()])
    file = context.obj.api_keys_file
    try:
        if file is not None:
            keys.append_line(file, line)
    except ServerError as error:
        _console(stderr=True).print(str(error), style="red", markup=False)
        raise typer.Exit(1) from error
    _console().print(key, markup=False)
    if file is None:
        _console(stderr=True).print(f"For the file of keys: {line}", markup=False)


Set = Annotated[str, typer.Argument(help="Name of the set of models, such as sts.")]


@app.command("promote")
def promote(context: typer.Context, name: Set) -> None:
    """Serve what the repository holds of a set now, without a restart: loaded, checked, and only then asked.

    For the server of --cache-dir, which stands before this word. Exits with status 1 where the set is not exchanged,
    and the one before serves on.
    """
    _exchange(exchange.promote, context.obj, name)


@app.command("rollback")
def rollback(context: typer.Context, name: Set) -> None:
    """Serve again what was before the last promote of a set, now and at the next start; the same again undoes it."""
    _exchange(exchange.rollback, context.obj, name)


def _exchange(
    act: Callable[[Path, str, float, Callable[[str], None]], None], settings: ServerSettings, name: str
) -> None:
    try:
        act(settings.cache_dir, name, settings.ready_timeout, lambda text: _console().print(text, markup=False))
    except ServerError as error:
        _console(stderr=True).print(str(error), style="red", markup=False)
        raise typer.Exit(1) from error


def _stop(cache_dir: Path) -> None:
    try:
        _console().print(f"Stopped trident-serve (process {pidfile.stop(cache_dir)}).")
    except NotRunningError as error:
        # What was asked for holds: no server runs.
        _console().print(str(error), markup=False)


def _console(*, stderr: bool = False) -> Console:
    return Console(stderr=stderr, highlight=False, soft_wrap=True)


def main() -> None:
    """Entry point of ``trident-serve``."""
    app()
