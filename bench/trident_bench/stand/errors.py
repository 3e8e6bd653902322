"""What keeps a measurement from being made."""

from __future__ import annotations


class StandError(Exception):
    """What was asked for cannot be measured; the text is meant for the person at the terminal."""
