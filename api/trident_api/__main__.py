"""``python -m trident_api``: the facade on uvicorn."""

from __future__ import annotations

import uvicorn

from trident_api import log
from trident_api.app import create_app
from trident_api.settings import ApiSettings


def main() -> None:
    """Serve until stopped."""
    settings = ApiSettings()
    log.configure(settings.log_level)
    uvicorn.run(create_app(settings), host=settings.host, port=settings.port, log_level="warning")


if __name__ == "__main__":
    main()
