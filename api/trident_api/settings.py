"""The facade's settings, read once from ``TRIDENT_`` environment variables."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

#: Where the application's lifespan tells connections how many seconds a request's head may take.
HEAD_TIMEOUT = "head_timeout"


class ApiSettings(BaseSettings):
    """Where the facade listens, where Triton is, what requests may cost and who may make them."""

    model_config = SettingsConfigDict(env_prefix="TRIDENT_", extra="ignore")

    host: str = "127.0.0.1"
    port: int = Field(8000, ge=1, le=65535)
    triton_url: str = Field("127.0.0.1:8010", description="Triton's HTTP address.")
    triton_grpc_url: str = Field("127.0.0.1:8011", description="Triton's gRPC address.")
    triton_protocol: Literal["http", "grpc"] = Field("grpc", description="How the facade talks to Triton.")
    triton_authorities: Path | None = Field(
        None, description="PEM file of whom Triton's certificate is of; with it, Triton is asked in TLS."
    )
    connect_timeout: float = Field(5.0, gt=0, description="Seconds to wait for a connection to Triton.")
    read_timeout: float = Field(30.0, gt=0, description="Seconds to wait for Triton's answer.")
    deadline: float | None = Field(
        None, gt=0, description="Seconds a request may take, waiting for its turn included; read_timeout when not set."
    )
    retries: int = Field(
        30,
        ge=0,
        description="How often a request is made again when Triton is away, after waits that grow to a second; "
        "0 makes it fail at once.",
    )
    max_concurrent: int = Field(
        64, ge=1, description="Requests that are with Triton at once, at most; of long lists and passages fewer."
    )
    max_waiting: int = Field(256, ge=0, description="Requests that wait for their turn; one more is refused.")
    max_queue_seconds: float = Field(
        1.0,
        gt=0,
        description="Longest wait for a turn; a request that is expected to wait longer is refused. Long lists and "
        "passages wait while their deadline allows.",
    )
    file_concurrency: int = Field(4, ge=1, le=64, description="Batches of one file that are with Triton at once.")
    max_body_bytes: int = Field(
        13_000_000,
        ge=1,
        description="Longest request body that is read, where it is no list: two texts of the most bytes fit, also "
        "where each character is written as \\uXXXX.",
    )
    max_list_bytes: int = Field(
        16_000_000,
        ge=1,
        description="Longest body of a list, or of a question and its context: 2,048 texts of 1,000 characters fit, "
        "also where each is written as \\uXXXX.",
    )
    max_held_bytes: int = Field(
        256_000_000, ge=1, description="Bytes of all bodies under way; a request beyond them is refused."
    )
    max_held_bytes_each: int = Field(
        128_000_000,
        ge=1,
        description="Bytes of all bodies under way of one key, or, without keys, of one address; more is refused.",
    )
    head_timeout: float = Field(20.0, gt=0, description="Seconds in which a request's head must arrive, once begun.")
    body_timeout: float = Field(
        60.0,
        gt=0,
        description="Seconds in which a request's body must arrive; one that takes more than 5 gives way, the largest "
        "first, when others need the room that bodies may take.",
    )
    max_file_bytes: int = Field(20_000_000, ge=1, description="Longest upload of a file that is read.")
    keep_alive: int = Field(
        75,
        ge=1,
        # uvicorn's own name: most start it by its command line, which reads it too.
        validation_alias="UVICORN_TIMEOUT_KEEP_ALIVE",
        description="Seconds that an idle connection is kept; longer than a balancer in front keeps one.",
    )
    similarity_threshold: float | None = Field(
        None, ge=-1, le=1, description="Cosine from which sentences count as similar, in place of the model's own."
    )
    retry_after: int = Field(
        1, ge=0, description="Seconds a client is told to wait where it cannot be told from the work that is ahead."
    )
    api_keys_file: Path | None = Field(
        None, description="File with one accepted key a line, or its SHA-256; without it all may ask."
    )
    key_requests_per_minute: int | None = Field(
        None, ge=1, description="Requests that each key may make in a minute; one more is refused with 429."
    )
    key_tokens_per_minute: int | None = Field(
        None,
        ge=1,
        description="Tokens, estimated from bytes, that each key may have read in a minute; refused as requests are.",
    )
    cors_origins: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="Origins, separated by commas, whose pages may call the facade."
    )
    root_path: str = Field(
        "",
        pattern="^(/[^/?#]+)*$",
        description="Prefix below which a proxy publishes the facade, such as /nlp; the proxy may take it off or not.",
    )
    models: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="Sets of models, separated by commas, that are to be ready; each task's own by default."
    )
    otlp_endpoint: str | None = Field(
        None,
        pattern="^https?://",
        description="OpenTelemetry collector that gets traces, such as http://localhost:4318.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="info logs every request, debug those for health and metrics too, warning failures alone."
    )

    @property
    def longest(self) -> float:
        """Seconds that a request may take in all."""
        return self.deadline or self.read_timeout

    @model_validator(mode="after")
    def _limits_need_keys(self) -> Self:
        if self.api_keys_file is None and (self.key_requests_per_minute or self.key_tokens_per_minute):
            raise ValueError("a limit of each key needs keys: TRIDENT_API_KEYS_FILE")
        return self

    @field_validator("cors_origins", "models", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        return tuple(filter(None, (each.strip() for each in value.split(",")))) if isinstance(value, str) else value
