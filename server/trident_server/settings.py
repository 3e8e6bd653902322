"""The server's settings: ``TRIDENT_`` environment variables, read once; ``trident-serve`` options override them."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class ServerSettings(BaseSettings):
    """Where Triton and the facade listen, what they serve and where they write."""

    model_config = SettingsConfigDict(env_prefix="TRIDENT_", extra="ignore")

    host: str = "127.0.0.1"
    port: int = Field(8000, ge=1, le=65535, description="The facade's port.")
    http_port: int = Field(8010, ge=1, le=65535, description="Triton's HTTP port.")
    grpc_port: int = Field(8011, ge=1, le=65535, description="Triton's gRPC port.")
    metrics_port: int = Field(8012, ge=1, le=65535, description="Triton's Prometheus port.")
    repository: Path = Field(Path("model_repository"), description="The Triton model repository to serve.")
    cache_dir: Path = Field(Path(".trident"), description="Where backends are assembled and logs are written.")
    config_name: str | None = Field(None, description="Triton's --model-config-name: serve configs/<name>.pbtxt.")
    ready_timeout: float = Field(120.0, gt=0, description="Seconds to wait for Triton to report ready.")
