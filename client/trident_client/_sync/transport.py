# Made from ../_async/transport.py by scripts/unasync.py: change that, not this.
"""What the client asks of a transport."""

from __future__ import annotations

from typing import Protocol

from trident_client._types import Configuration, Request, Response, Statistics


class Transport(Protocol):
    """Carries requests to one server, from any number of threads."""

    def infer(self, request: Request) -> Response:
        """Return the outputs by name; raise a TridentError."""

    def ready(self, models: tuple[str, ...]) -> bool:
        """Say whether each of ``models``, or the server where none is named, is ready; raise TransportError if away."""

    def index(self) -> list[str]:
        """Return the names of the models that are ready."""

    def configuration(self, model: str) -> Configuration:
        """Return a model's configuration as Triton's JSON has it."""

    def statistics(self) -> list[Statistics]:
        """Return each model's statistics as Triton's JSON has them."""

    def close(self) -> None:
        """Release connections."""
