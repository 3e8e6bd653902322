"""The command line ``trident``: asks a running server from a terminal, a pipe or files.

Readers and writers know files, :mod:`.work` knows rows, :mod:`.app` knows options; nothing else imports this folder. It
needs the extra ``cli`` (typer, rich, pyarrow, prometheus_client), which the client itself does not.
"""

from __future__ import annotations

import sys


def main() -> None:
    """Entry point of ``trident``."""
    try:
        from trident_client.cli.app import app
    except ModuleNotFoundError as error:
        if error.name not in {"typer", "rich", "pyarrow", "click", "prometheus_client"}:
            raise
        sys.exit(f"The command line needs {error.name}: install Trident with its extra 'cli', trident[cli].")
    app()
