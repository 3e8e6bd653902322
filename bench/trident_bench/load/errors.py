"""What can go wrong in a load test, in words for the person at the terminal.

::

    LoadError
    ├── MissingGeneratorError   what makes the load for the facade is not there and cannot be installed
    └── PointError              one point could not be measured; others can
        └── TooShortError       nothing, or next to nothing, was answered in so short a time
"""


class LoadError(Exception):
    """The load test cannot be run as it was asked for."""


class MissingGeneratorError(LoadError):
    """The generator of HTTP load is not installed."""


class PointError(LoadError):
    """A load generator failed at one point."""


class TooShortError(PointError):
    """Too little was answered in the time that a point was measured."""
