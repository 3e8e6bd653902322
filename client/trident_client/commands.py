"""How every command of the project starts: where a package is missing, by saying which extra brings it."""

from __future__ import annotations

import importlib
import sys

from trident_client._extras import lack


def run(module: str, command: str, requirement: str) -> None:
    """Run ``main`` of a module, or end with a line that says what to install.

    Commands import what is heavy when they need it, so that what they lack may show late.

    Args:
        module: of the command line.
        command: as it is typed.
        requirement: what pip is asked for to have all that the command needs.
    """
    try:
        importlib.import_module(module).main()
    except ImportError as error:
        if (line := lack(command, error, requirement)) is None:
            raise
        sys.exit(line)
