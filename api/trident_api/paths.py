"""One spelling of every path: with or without a proxy's prefix, with or without a slash at its end."""

from __future__ import annotations

from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Receive, Scope, Send


class OneSpelling:
    """Takes prefix and last slash off a path.

    A proxy that publishes the facade below a prefix may take it off or leave it. A request with a body is never sent
    elsewhere: many clients would lose the body, or the method. A page is, because what it links to is relative to its
    address; the redirect is relative too, so that it holds behind any proxy.

    Args:
        app: the application behind.
        prefix: such as ``/nlp``; empty where there is none.
    """

    def __init__(self, app: ASGIApp, prefix: str = "") -> None:
        self.app = app
        self.prefix = prefix

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        path: str = scope["path"]
        if self.prefix and f"{path}/".startswith(f"{self.prefix}/"):
            path = path.removeprefix(self.prefix)
        is_read = scope["method"] in {"GET", "HEAD"}
        name = scope["path"].rstrip("/").rpartition("/")[2]
        query = f"?{scope['query_string'].decode('latin-1')}" if scope.get("query_string") else ""
        if is_read and not path:
            await RedirectResponse(f"{name}/{query}")(scope, receive, send)
        elif is_read and path.endswith("/") and path.strip("/"):
            await RedirectResponse(f"../{name}{query}")(scope, receive, send)
        else:
            await self.app({**scope, "path": path.rstrip("/") or "/"}, receive, send)
