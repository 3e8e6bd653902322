"""The facade's settings, read once from ``TRIDENT_`` environment variables."""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class ApiSettings(BaseSettings):
    """Where the facade listens, where Triton is, and what requests may cost."""

    model_config = SettingsConfigDict(env_prefix="TRIDENT_", extra="ignore")

    host: str = "127.0.0.1"
    port: int = Field(8000, ge=1, le=65535)
    triton_url: str = Field("127.0.0.1:8010", description="Triton's HTTP address.")
    triton_grpc_url: str = Field("127.0.0.1:8011", description="Triton's gRPC address.")
    triton_protocol: Literal["http", "grpc"] = Field("grpc", description="How the facade talks to Triton.")
    connect_timeout: float = Field(5.0, gt=0, description="Seconds to wait for a connection to Triton.")
    read_timeout: float = Field(30.0, gt=0, description="Seconds to wait for Triton's answer.")
    max_body_bytes: int = Field(1_000_000, ge=1, description="Longest request body that is read.")
    similarity_threshold: float | None = Field(
        None, ge=-1, le=1, description="Cosine from which sentences count as similar, in place of the model's own."
    )
    retry_after: int = Field(1, ge=0, description="Seconds a client is told to wait when Triton is away or full.")
