"""What a call can raise.

::

    TridentError
    ├── BadInputError            the input is not one the model takes; says which item and why (a ValueError too)
    ├── NotReadyError            the server is up, but the model is not served or still loads
    ├── OverloadedError          the server refused because its queue is full
    ├── DeadlineError            no answer within the timeout (a TimeoutError too)
    │   ├── ConnectTimeoutError  there was no connection in time; the request was not sent
    │   └── ReadTimeoutError     the request was sent, and no answer came in time
    ├── TransportError           the server cannot be reached or is stopping, or the connection broke
    ├── UsageError               the client is closed, or in use where it cannot be (a RuntimeError too)
    └── ServerError              the server failed on a request that was fine

    TruncationWarning            a text was longer than the encoder takes, and its end was not looked at
    UnknownTokensWarning         a text has words or symbols that the model's vocabulary cannot read
    LanguageWarning              a text is in a language that the model was not made for

Each says which model was asked, on which attempt it came, of which server, and what caused it. What is tried again, and
where, stands in :class:`trident_client.Retry`.
"""

from __future__ import annotations


class TridentError(Exception):
    """Base of everything this package raises.

    Attributes:
        model: the model that was asked, or None when the call concerned the server as a whole.
        attempt: on which attempt it came, 1 when nothing was tried before; the last attempt's error is what is raised.
        server: who was asked, ``host:port``; None where nothing was sent.
    """

    def __init__(self, message: str, model: str | None = None, *, attempt: int = 1, server: str | None = None) -> None:
        super().__init__(message)
        self.model = model
        self.attempt = attempt
        self.server = server

    @property
    def cause(self) -> BaseException | None:
        """The error beneath, of the library that carried the request; None where this package found it by itself."""
        return self.__cause__

    @property
    def message(self) -> str:
        """What happened, without the attempt."""
        return super().__str__()

    def __str__(self) -> str:
        """Return what happened, and after how many attempts where there were several."""
        return f"{self.message} (after {self.attempt} attempts)" if self.attempt > 1 else self.message


class BadInputError(TridentError, ValueError):
    """The input is not one the model takes.

    Attributes:
        index: the item at fault, counted from 0, where one item is.
        field: which of the item's texts, by the name of its column, where one is.
        reason: what is wrong, without the place: the message behind the names of items.
    """

    def __init__(
        self,
        message: str,
        model: str | None = None,
        *,
        attempt: int = 1,
        server: str | None = None,
        index: int | None = None,
        field: str | None = None,
        reason: str | None = None,
    ) -> None:
        super().__init__(message, model, attempt=attempt, server=server)
        self.index = index
        self.field = field
        self.reason = message if reason is None else reason


class NotReadyError(TridentError):
    """The model is not served, or not yet."""


class OverloadedError(TridentError):
    """The server's queue is full."""


class DeadlineError(TridentError, TimeoutError):
    """No answer came within the timeout."""


class ConnectTimeoutError(DeadlineError):
    """There was no connection within the timeout."""


class ReadTimeoutError(DeadlineError):
    """The request was sent, and no answer came within the timeout."""


class TransportError(TridentError):
    """The server cannot be reached."""


class UsageError(TridentError, RuntimeError):
    """The client is closed, in use in another event loop, or its stream was begun in another process."""


class ServerError(TridentError):
    """The server failed."""


class TruncationWarning(UserWarning):
    """A text's end was cut off because the encoder does not take that many tokens."""


class UnknownTokensWarning(UserWarning):
    """A text has words or symbols that the model's vocabulary cannot read, and takes all of them for the same."""


class LanguageWarning(UserWarning):
    """A text is in a language that the model was not made for; it is answered all the same."""
