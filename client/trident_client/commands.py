"""How every command of the project starts: where a package is missing, by saying which extra brings it."""

from __future__ import annotations

import importlib
import sys


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
    except ModuleNotFoundError as error:
        name = (error.name or "").partition(".")[0]
        # One of ours that is missing is a fault, and is to be seen whole.
        if not name or name.startswith("trident_"):
            raise
        sys.exit(f"{command} needs the package {name}, which is not installed: pip install '{requirement}'")
