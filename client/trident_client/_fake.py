"""A transport without a server, for tests of code that uses the client."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from trident_client._types import Configuration, Request, Response, Statistics
from trident_client.errors import NotReadyError


class FakeTransport:
    """Answers requests with a function and remembers them.

    Args:
        answer: makes the outputs of a request; may raise a :class:`TridentError`.
        is_ready: what the server says of its readiness.
        configurations: of its models, by name, as Triton's JSON has them.
        statistics: of its models, as Triton's JSON has them.
    """

    def __init__(
        self,
        answer: Callable[[Request], Response],
        *,
        is_ready: bool = True,
        configurations: Mapping[str, Configuration] | None = None,
        statistics: Sequence[Statistics] = (),
    ) -> None:
        self._answer = answer
        self.is_ready = is_ready
        self.configurations = dict(configurations or {})
        self._statistics = list(statistics)
        self.requests: list[Request] = []
        self.closed = False

    def infer(self, request: Request) -> Response:
        """Answer one request."""
        self.requests.append(request)
        return self._answer(request)

    def ready(self, models: tuple[str, ...]) -> bool:
        """Say what was told at construction."""
        return self.is_ready

    def index(self) -> list[str]:
        """Return the names of the configurations."""
        return list(self.configurations)

    def configuration(self, model: str) -> Configuration:
        """Return one of the configurations."""
        if model not in self.configurations:
            raise NotReadyError(f"model {model} is not found: no configuration of it was given", model)
        return self.configurations[model]

    def statistics(self) -> list[Statistics]:
        """Return what was told at construction."""
        return self._statistics

    def close(self) -> None:
        """Remember that it was closed."""
        self.closed = True


class AsyncFakeTransport(FakeTransport):
    """The same for :class:`AsyncTridentClient`."""

    async def infer(self, request: Request) -> Response:  # type: ignore[override]
        """Answer one request."""
        return super().infer(request)

    async def ready(self, models: tuple[str, ...]) -> bool:  # type: ignore[override]
        """Say what was told at construction."""
        return super().ready(models)

    async def index(self) -> list[str]:  # type: ignore[override]
        """Return the names of the configurations."""
        return super().index()

    async def configuration(self, model: str) -> Configuration:  # type: ignore[override]
        """Return one of the configurations."""
        return super().configuration(model)

    async def statistics(self) -> list[Statistics]:  # type: ignore[override]
        """Return what was told at construction."""
        return super().statistics()

    async def close(self) -> None:  # type: ignore[override]
        """Remember that it was closed."""
        super().close()
