"""What both clients do with their arguments before anything is sent."""

from __future__ import annotations

import typing
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Literal, TypeVar

from trident_client._balancing import Balancing
from trident_client._retry import Retry
from trident_client._types import Timeout, Tls
from trident_client.errors import BadInputError

Protocol = Literal["http", "grpc"]

#: What is given as an object of the client's own.
KINDS = {"timeout": Timeout, "retry": Retry, "balancing": Balancing, "tls": Tls}
DEFAULT_URLS = {"http": "127.0.0.1:8010", "grpc": "127.0.0.1:8011"}
#: Requests of a list or a stream that are begun or answered and not yet handed out, for each one under way.
PREFETCH = 2

AnyTransport = TypeVar("AnyTransport", covariant=True)


class TransportFactory(typing.Protocol[AnyTransport]):
    """Makes a transport to a server."""

    def __call__(
        self, url: str, timeout: Timeout, *, shared_memory: bool = False, tls: Tls | None = None
    ) -> AnyTransport:
        """Return it."""


def check(protocol: str, concurrency: int, **given: object) -> None:
    """Refuse arguments that mean nothing, with a BadInputError; of those by name, what is not of its kind."""
    if protocol not in DEFAULT_URLS:
        raise BadInputError(f"protocol must be 'http' or 'grpc', got {protocol!r}", field="protocol")
    for name, value in given.items():
        kind = KINDS[name]
        if value is not None and not isinstance(value, kind):
            raise BadInputError(f"{name} must be a trident_client.{kind.__name__}, got {value!r}", field=name)
    check_concurrency(concurrency)


def check_concurrency(concurrency: int) -> None:
    """Refuse that nothing may be under way, with a BadInputError."""
    if concurrency < 1:
        raise BadInputError(f"concurrency must be at least 1, got {concurrency}", field="concurrency")


def servers(
    url: str | Sequence[str] | None,
    protocol: Protocol,
    timeout: Timeout,
    transport: AnyTransport | Mapping[str, AnyTransport] | None,
    factory: TransportFactory[AnyTransport],
    shared_memory: bool,
    tls: Tls | None,
) -> tuple[dict[str, Callable[[], AnyTransport]], dict[str, AnyTransport]]:
    """Return what makes a transport to each server, by the server's name, or the transports that were given.

    Raises:
        BadInputError: there is no server, one is named twice, or one is not ``host:port``.
    """
    if isinstance(transport, Mapping):
        if not transport:
            raise BadInputError(
                "transport must be one transport or a mapping of names to at least one, got none", field="transport"
            )
        return {}, dict(transport)
    if transport is not None:
        return {}, {url if isinstance(url, str) else "transport": transport}
    urls = [DEFAULT_URLS[protocol] if url is None else url] if isinstance(url, str | None) else list(url)
    if not urls:
        raise BadInputError("url must be host:port or a list of at least one, got an empty list", field="url")
    if len(set(urls)) < len(urls):
        raise BadInputError(f"every server must be given once, got {', '.join(urls)}", field="url")
    for each in urls:
        host, _, port = each.rpartition(":") if isinstance(each, str) else ("", "", "")
        numbered = port.isascii() and port.isdigit() and 0 < int(port) < 2**16
        if not host or not numbered or "/" in host or " " in host:
            raise BadInputError(
                f"url must be host:port such as 127.0.0.1:8010, without http://, got {each!r}", field="url"
            )
    return {each: partial(factory, each, timeout, shared_memory=shared_memory, tls=tls) for each in urls}, {}
