"""The options that commands share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import typer

Kind = Literal["csv", "tsv", "jsonl", "json", "parquet", "lines"]
Urls = Annotated[
    list[str] | None,
    typer.Option("--url", help="host:port of Triton; repeat it for several that serve the same. [127.0.0.1:8010]"),
]
Protocol = Annotated[Literal["http", "grpc"], typer.Option(help="How Triton is talked to; gRPC's port is 8011.")]
Seconds = Annotated[float, typer.Option("--timeout", min=0.001, help="Seconds that an answer may take.")]
Attempts = Annotated[int, typer.Option(min=1, help="How often a request is made that cannot get through.")]
Concurrency = Annotated[int, typer.Option(min=1, help="Requests under way at once.")]
Input = Annotated[
    str | None,
    typer.Option(
        "--input",
        "-i",
        metavar="PATH",
        help="File of rows: .csv, .tsv, .jsonl, .json, .parquet, or .txt with a row a line; or 'folder/*.parquet' or "
        "'s3://bucket/folder/*.parquet'.",
    ),
]
Output = Annotated[
    str | None,
    typer.Option(
        "--output",
        "-o",
        metavar="PATH",
        help="File for the answers, by its ending, or folder for many, also as s3://; JSON lines on standard output if "
        "none.",
    ),
]
Format = Annotated[Kind | None, typer.Option("--format", help="How the input is read, whatever its ending.")]
Columns = Annotated[str | None, typer.Option(help="Columns that hold the texts, with commas between.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on where a run with the same input and output stopped.")]
Engine = Annotated[
    Literal["here", "ray"], typer.Option(help="What answers a folder's files: this process, or Ray's workers.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but what went wrong.")]


@dataclass(frozen=True)
class Options:
    """Where a task's rows come from and go to, whom they are asked of, and how."""

    input: Input = None
    output: Output = None
    format: Format = None
    columns: Columns = None
    resume: Resume = False
    url: Urls = None
    protocol: Protocol = "http"
    timeout: Seconds = 30.0
    attempts: Attempts = 5
    concurrency: Concurrency = 4
    engine: Engine = "here"
    quiet: Quiet = False
