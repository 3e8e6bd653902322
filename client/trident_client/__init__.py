"""Trident's Python client. Talks to Triton and to nothing else; never imports torch or transformers.

>>> from trident_client import TridentClient
>>> with TridentClient("127.0.0.1:8010") as client:          # doctest: +SKIP
...     client.similarity([("A man is playing a guitar.", "Someone plays an instrument.")])
array([0.6677], dtype=float32)
"""

from trident_client._async.client import AsyncTridentClient
from trident_client._async.transport import AsyncTransport
from trident_client._balancing import Balancing, ServerStatus
from trident_client._fake import AsyncFakeTransport, FakeTransport
from trident_client._retry import Retry
from trident_client._sync.client import TridentClient
from trident_client._sync.transport import Transport
from trident_client._types import (
    Answer,
    Label,
    ModelInfo,
    ModelStatistics,
    Ranked,
    Request,
    Response,
    Timeout,
    Tls,
)
from trident_client.errors import (
    BadInputError,
    ConnectTimeoutError,
    DeadlineError,
    LanguageWarning,
    NotReadyError,
    OverloadedError,
    ReadTimeoutError,
    ServerError,
    TransportError,
    TridentError,
    TruncationWarning,
    UnknownTokensWarning,
    UsageError,
)
from trident_client.pipelines import pipeline

__all__ = [
    "Answer",
    "AsyncFakeTransport",
    "AsyncTransport",
    "AsyncTridentClient",
    "BadInputError",
    "Balancing",
    "ConnectTimeoutError",
    "DeadlineError",
    "FakeTransport",
    "Label",
    "LanguageWarning",
    "ModelInfo",
    "ModelStatistics",
    "NotReadyError",
    "OverloadedError",
    "Ranked",
    "ReadTimeoutError",
    "Request",
    "Response",
    "Retry",
    "ServerError",
    "ServerStatus",
    "Timeout",
    "Tls",
    "Transport",
    "TransportError",
    "TridentClient",
    "TridentError",
    "TruncationWarning",
    "UnknownTokensWarning",
    "UsageError",
    "pipeline",
]
