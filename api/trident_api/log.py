"""Logs as JSON, one object a line, without a word of what users sent."""

from __future__ import annotations

import logging
import sys
from datetime import UTC, datetime

import orjson

LOGGER = "trident_api"
#: What every record has; anything else was given as ``extra`` and is a field of its own.
STANDARD = {*vars(logging.makeLogRecord({})), "message", "asctime", "taskName"}


class JsonFormatter(logging.Formatter):
    """One JSON object a record: time, level, message, and whatever was given as ``extra``.

    The text of an exception is left out, because it may quote what a user sent; its type and where it arose are not.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        entry = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
            **{name: value for name, value in vars(record).items() if name not in STANDARD},
        }
        return orjson.dumps(entry, default=str).decode()


def configure(level: str) -> None:
    """Write the facade's log to standard error, from a level on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    logger = logging.getLogger(LOGGER)
    logger.handlers = [handler]
    logger.setLevel(level.upper())
    logger.propagate = False
