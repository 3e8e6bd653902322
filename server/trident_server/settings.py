"""The server's settings: ``TRIDENT_`` environment variables, read once; ``trident-serve`` options override them."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Annotated, NamedTuple, Self

from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from trident_server import shipped

Port = Annotated[int, Field(ge=1, le=65535)]


class Tls(NamedTuple):
    """The files, in PEM, with which servers take TLS.

    Attributes:
        certificate: with its chain.
        key: its private key.
        client_authorities: who must have signed the certificates of clients; None where they need none.
    """

    certificate: Path
    key: Path
    client_authorities: Path | None = None


class ServerSettings(BaseSettings):
    """Where Triton and the facade listen, what they serve and where they write."""

    model_config = SettingsConfigDict(env_prefix="TRIDENT_", extra="ignore", str_strip_whitespace=True)

    host: str = Field(
        "127.0.0.1", description="IPv4 address that the facade binds; 0.0.0.0 opens it to the whole network."
    )
    triton_host: str = Field(
        "127.0.0.1", description="Triton binds this IPv4 address; who reaches it needs none of the facade's keys."
    )
    api_keys_file: Path | None = Field(
        None, description="The facade answers only who sends one of this file's keys, one a line, or its SHA-256."
    )
    tls_certificate: Path | None = Field(
        None,
        description="The facade, and Triton's gRPC, take TLS alone, with this certificate (PEM, with its chain); "
        "Triton's HTTP then binds 127.0.0.1.",
    )
    tls_key: Path | None = Field(None, description="The certificate's private key (PEM).")
    triton_client_authorities: Path | None = Field(
        None,
        description="Triton's gRPC answers only clients with a certificate of one of these authorities (PEM).",
    )
    otlp_endpoint: str | None = Field(
        None,
        pattern="^https?://",
        description="The facade and Triton send traces to this OpenTelemetry collector (http://host:4318).",
    )
    port: Port = Field(8000, description="The facade listens here.")
    http_port: Port = Field(8010, description="Triton's HTTP service listens here.")
    grpc_port: Port = Field(8011, description="Triton's gRPC service listens here.")
    metrics_port: Port = Field(8012, description="Triton's Prometheus metrics are here.")
    repository: Path = Field(
        default_factory=shipped.default_repository,
        description="The Triton model repository that is served; where none is near, that of the installed wheel.",
    )
    models: str = Field(
        "", description="These sets alone are served, such as cola,sts; all of the repository's by default."
    )
    config_name: str | None = Field(
        None,
        pattern=r"^[^\s/]+$",
        description="Each model that has a configs/<name>.pbtxt is served with it instead of config.pbtxt.",
    )
    cache_dir: Path = Field(
        Path(".trident"),
        description="Backend links, logs and the pid file are written here; one server per directory.",
    )
    ready_timeout: float = Field(
        120.0,
        gt=0,
        description="When Triton, or then the facade, takes more seconds to start, everything is stopped.",
    )
    restarts: int = Field(
        5,
        ge=0,
        description="Triton or the facade is started again when it dies, each so often before all is stopped.",
    )
    hang_timeout: float = Field(
        60.0,
        ge=0,
        description="When a model, or Triton, finishes nothing for so many seconds while it is asked, it is started "
        "again; 0: never.",
    )
    triton_only: bool = Field(False, description="The facade is not started.")
    shared_memory: bool = Field(
        False,
        description="Clients on this host may hand over tensors in shared memory; whoever reaches Triton can then map "
        "what shared memory its user can.",
    )
    isolated: bool = Field(
        False,
        description="Each model is served from a process of its own: slower, and one that crashes takes no other with "
        "it.",
    )
    fixed: bool = Field(
        False,
        description="The repository's files stay as they are, as in an image: networks are linked, not copied, and no "
        "set is exchanged.",
    )
    backends: Path | None = Field(
        None, description="Triton takes the backends that `trident-serve backends` made here."
    )
    log_verbose: int = Field(0, ge=0, le=9, description="Triton logs more, from 1 on several lines a request; 0 to 9.")

    @model_validator(mode="after")
    def _tls_is_whole(self) -> Self:
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("a certificate and its key are given together: TRIDENT_TLS_CERTIFICATE, TRIDENT_TLS_KEY")
        if self.triton_client_authorities and not self.tls_certificate:
            raise ValueError("clients are asked for certificates in TLS alone: TRIDENT_TLS_CERTIFICATE")
        for file in (self.tls_certificate, self.tls_key, self.triton_client_authorities):
            if file is not None and not file.is_file():
                raise ValueError(f"{file} is no file; certificates and keys are files in PEM")
        return self

    @property
    def tls(self) -> Tls | None:
        """The files of TLS, if it is wanted."""
        if self.tls_certificate is None or self.tls_key is None:
            return None
        return Tls(self.tls_certificate, self.tls_key, self.triton_client_authorities)

    @field_validator("host", "triton_host")
    @classmethod
    def _host_is_ipv4(cls, host: str) -> str:
        # Triton's HTTP server takes nothing but a dotted quad.
        if host == "localhost":
            return "127.0.0.1"
        try:
            return str(ipaddress.IPv4Address(host))
        except ipaddress.AddressValueError as error:
            raise ValueError(f"must be an IPv4 address such as 127.0.0.1 or 0.0.0.0, or localhost ({error})") from error

    @property
    def sets(self) -> list[str]:
        """The sets of models to serve; none for all."""
        return [name for each in self.models.split(",") if (name := each.strip())]

    @property
    def triton_ports(self) -> dict[str, int]:
        """Triton's three ports by the name of their setting."""
        return {"http_port": self.http_port, "grpc_port": self.grpc_port, "metrics_port": self.metrics_port}

    @property
    def ports(self) -> dict[str, int]:
        """Every port that this configuration binds, by the name of its setting."""
        return self.triton_ports if self.triton_only else {"port": self.port, **self.triton_ports}


def reachable(host: str) -> str:
    """Return the address at which a server bound to ``host`` is reached from this machine."""
    return "127.0.0.1" if host == "0.0.0.0" else host  # noqa: S104


def explain(error: ValidationError) -> str:
    """Return which settings are wrong, and what is accepted, in one line."""

    def line(name: str, message: str, value: object) -> str:
        return f"{name} (TRIDENT_{name.upper()}): {message}, not {value!r}"

    # What is wrong with several settings together is no single one's.
    return "; ".join(
        line(str(each["loc"][0]), each["msg"], each["input"]) if each["loc"] else each["msg"] for each in error.errors()
    )
