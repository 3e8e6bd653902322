# Made from ../_async/http.py by scripts/unasync.py: change that, not this.
"""The HTTP transport."""

from __future__ import annotations

import contextlib
from typing import Any, cast

import httpx

from trident_client import _http
from trident_client._shared_memory import (
    Clean,
    Infer,
    Placement,
    Regions,
    Register,
    Reply,
    Step,
    Unregister,
    orphaned,
)
from trident_client._sync.driving import drive
from trident_client._types import Configuration, Request, Response, Statistics, Timeout, Tls
from trident_client.errors import TridentError


class HttpTransport:
    """HTTP, from any number of threads."""

    def __init__(self, url: str, timeout: Timeout, *, shared_memory: bool = False, tls: Tls | None = None) -> None:
        self._timeout = timeout
        self._regions = Regions() if shared_memory else None
        self._client = httpx.Client(
            base_url=f"{'https' if tls else 'http'}://{url}",
            verify=_http.verification(tls),
            timeout=timeout.connect,
            limits=_http.LIMITS,
            trust_env=False,
        )

    def infer(self, request: Request) -> Response:
        """Run one inference."""
        if self._regions is None:
            outputs, _ = self._infer(request, None)
            return outputs
        return drive(self._regions.steps(request), self._perform)

    def ready(self, models: tuple[str, ...]) -> bool:
        """Ask for each model's readiness, or for the server's."""
        try:
            for path in _http.ready_paths(models):
                if not _http.is_ready(self._client.get(path)):
                    return False
        except httpx.HTTPError as error:
            raise _http.translate(error, None) from error
        return True

    def index(self) -> list[str]:
        """Ask for the models that are ready."""
        return _http.ready_models(self._json("POST", _http.INDEX))

    def configuration(self, model: str) -> Configuration:
        """Ask for a model's configuration."""
        return cast(Configuration, self._json("GET", _http.model_path(model, "config"), model))

    def statistics(self) -> list[Statistics]:
        """Ask for every model's statistics."""
        answer = self._json("GET", _http.STATISTICS)
        return cast(list[Statistics], answer["model_stats"])

    def close(self) -> None:
        """Close the connections, and unregister shared memory."""
        for step in self._regions.closing() if self._regions else ():
            with contextlib.suppress(TridentError):
                self._perform(step)
        self._client.close()

    def _infer(self, request: Request, placement: Placement | None) -> Reply:
        body, headers = _http.encode(request, placement, self._timeout)
        try:
            response = self._client.post(
                _http.model_path(request.model, "infer"),
                content=body,
                headers=headers,
                timeout=_http.httpx_timeout(request, self._timeout),
            )
        except httpx.HTTPError as error:
            raise _http.translate(error, request.model) from error
        return _http.decode(request, response, placement)

    def _perform(self, step: Step) -> Reply | None:
        if isinstance(step, Infer):
            return self._infer(step.request, step.placement)
        if isinstance(step, Register):
            body = {"key": f"/{step.name}", "offset": 0, "byte_size": step.size}
            self._json("POST", f"{_http.REGIONS}/region/{step.name}/register", content=body)
        elif isinstance(step, Unregister):
            self._json("POST", f"{_http.REGIONS}/region/{step.name}/unregister")
        elif isinstance(step, Clean):
            for name in orphaned(each["name"] for each in self._json("GET", f"{_http.REGIONS}/status")):
                with contextlib.suppress(TridentError):
                    self._json("POST", f"{_http.REGIONS}/region/{name}/unregister")
        return None

    def _json(self, method: str, path: str, model: str | None = None, content: Any = None) -> Any:
        try:
            return _http.content(self._client.request(method, path, json=content), model)
        except httpx.HTTPError as error:
            raise _http.translate(error, model) from error
