"""What a call can raise.

::

    TridentError
    ├── BadInputError      the input is not one the model takes; says which item and what is accepted (a ValueError too)
    ├── NotReadyError      the server is up, but the model is not served or still loads
    ├── OverloadedError    the server refused because its queue is full
    ├── DeadlineError      no answer within the timeout (a TimeoutError too)
    ├── TransportError     the server cannot be reached, or the connection broke
    └── ServerError        the server failed on a request that was fine

    TruncationWarning      a text was longer than the encoder takes, and its end was not looked at
"""

from __future__ import annotations


class TridentError(Exception):
    """Base of everything this package raises.

    Attributes:
        model: the model that was asked, or None when the call concerned the server as a whole.
    """

    def __init__(self, message: str, model: str | None = None) -> None:
        super().__init__(message)
        self.model = model


class BadInputError(TridentError, ValueError):
    """The input is not one the model takes."""


class NotReadyError(TridentError):
    """The model is not served, or not yet."""


class OverloadedError(TridentError):
    """The server's queue is full."""


class DeadlineError(TridentError, TimeoutError):
    """No answer came within the timeout."""


class TransportError(TridentError):
    """The server cannot be reached."""


class ServerError(TridentError):
    """The server failed."""


class TruncationWarning(UserWarning):
    """A text's end was cut off because the encoder does not take that many tokens."""
