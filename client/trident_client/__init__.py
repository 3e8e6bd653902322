"""Trident's Python client. Talks to Triton and to nothing else; never imports torch or transformers.

>>> from trident_client import TridentClient
>>> with TridentClient("127.0.0.1:8010") as client:          # doctest: +SKIP
...     client.similarity([("A man is playing a guitar.", "Someone plays an instrument.")])
array([0.6677], dtype=float32)
"""

from trident_client._client import AsyncTridentClient, TridentClient
from trident_client._fake import AsyncFakeTransport, FakeTransport
from trident_client._types import Answer, AsyncTransport, ModelInfo, Request, Response, Timeout, Transport
from trident_client.errors import (
    BadInputError,
    DeadlineError,
    NotReadyError,
    OverloadedError,
    ServerError,
    TransportError,
    TridentError,
    TruncationWarning,
)

__all__ = [
    "Answer",
    "AsyncFakeTransport",
    "AsyncTransport",
    "AsyncTridentClient",
    "BadInputError",
    "DeadlineError",
    "FakeTransport",
    "ModelInfo",
    "NotReadyError",
    "OverloadedError",
    "Request",
    "Response",
    "ServerError",
    "Timeout",
    "Transport",
    "TransportError",
    "TridentClient",
    "TridentError",
    "TruncationWarning",
]
