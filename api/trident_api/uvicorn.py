"""``python -m trident_api.uvicorn``: uvicorn's command line, with connections that must send their heads in time."""

from __future__ import annotations

from uvicorn.config import HTTP_PROTOCOLS
from uvicorn.main import main as command_line


def main() -> None:
    """Serve as uvicorn's options say."""
    # Its option takes no class of others.
    HTTP_PROTOCOLS["auto"] = "trident_api.connections:PatientProtocol"
    command_line(prog_name="uvicorn")


if __name__ == "__main__":
    main()
