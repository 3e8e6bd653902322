"""How a command ends: each kind of failure once, as an exit code and a line."""

from __future__ import annotations

from trident_client.errors import (
    BadInputError,
    DeadlineError,
    NotReadyError,
    OverloadedError,
    TransportError,
    TridentError,
)

OK, BAD_ROWS, USAGE, NOT_SERVING, TIMED_OUT, SERVER_FAILED, INTERRUPTED = 0, 1, 2, 3, 4, 5, 130

EXIT_CODES = """\b
Exit codes:
  0  every row was answered
  1  some rows are bad, each of which was reported; the others were answered
  2  an option or a file is wrong
  3  the server cannot be reached, is not ready or is overloaded
  4  no answer came in time
  5  the server failed
  130  interrupted"""


class UsageError(Exception):
    """An option or a file is wrong; the message says which, and what is accepted."""


def exit_code(error: TridentError) -> int:
    """Return the code that a command ends with after an error."""
    if isinstance(error, BadInputError):
        return BAD_ROWS
    if isinstance(error, DeadlineError):
        return TIMED_OUT
    if isinstance(error, TransportError | NotReadyError | OverloadedError):
        return NOT_SERVING
    return SERVER_FAILED


def line(error: TridentError) -> str:
    """Return an error as one line that says who was asked."""
    origin = " ".join(filter(None, (error.server, f"({error.model})" if error.model else None)))
    return f"{origin}: {error}" if origin else str(error)
