"""Options that several commands have; a command names the groups that it takes (:mod:`trident_client.options`)."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import typer
from trident_server.shipped import default_repository

from trident_bench.triton import Protocol

RESULTS = Path("bench/results")


@dataclass(frozen=True)
class ServerOptions:
    """What is served, or where it is.

    Attributes:
        repository: whose models a server of the command's own has.
        config_name: Triton's ``--model-config-name``.
        url: of a running Triton; None for a server of the command's own.
        protocol: of the requests, and of the address.
    """

    repository: Annotated[
        Path, typer.Option(envvar="TRIDENT_REPOSITORY", help="The built Triton model repository.")
    ] = field(default_factory=default_repository)
    config_name: Annotated[
        str | None, typer.Option(help="Triton serves configs/<name>.pbtxt where a model has it.")
    ] = None
    url: Annotated[
        str | None,
        typer.Option(help="Measure the Triton that runs at host:port, instead of one of this command's own."),
    ] = None
    protocol: Annotated[Protocol, typer.Option(help="How the client talks to Triton.")] = "grpc"


@dataclass(frozen=True)
class MeasureOptions:
    """How it is measured, and where the report goes.

    Attributes:
        output: folder of the report.
        seconds: that count of each measurement.
        warm_up: seconds of load before them.
        in_flight: requests under way at once.
    """

    output: Annotated[
        Path, typer.Option("--output", "--out", help="Folder for results.json, report.md, report.html and pictures.")
    ] = RESULTS
    seconds: Annotated[float, typer.Option(min=0.1, max=600, help="Length of each measurement.")] = 5.0
    warm_up: Annotated[float, typer.Option(min=0.0, help="Seconds of load before each measurement.")] = 2.0
    in_flight: Annotated[int, typer.Option(min=1, help="Requests under way at once.")] = 1
