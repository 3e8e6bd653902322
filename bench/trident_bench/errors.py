"""What can go wrong, in words for the person at the terminal.

::

    BenchError
    └── MeasurementError    one measurement failed: others can still be made
        └── TooShortError   nothing, or next to nothing, was answered in so short a time
"""

from __future__ import annotations


class BenchError(Exception):
    """What was asked for cannot be measured."""


class MeasurementError(BenchError):
    """A server, a program or a load generator failed, died or answered wrongly."""


class TooShortError(MeasurementError):
    """Too little was answered in the time of a measurement."""
