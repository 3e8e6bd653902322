"""``python -m trident_api``: the facade on uvicorn."""

from __future__ import annotations

import math

import uvicorn

from trident_api import log
from trident_api.app import create_app
from trident_api.connections import PatientProtocol
from trident_api.settings import ApiSettings


def main() -> None:
    """Serve until stopped."""
    settings = ApiSettings()
    log.configure(settings.log_level)
    uvicorn.run(
        create_app(settings),
        host=settings.host,
        port=settings.port,
        http=PatientProtocol,
        log_level="warning",
        timeout_keep_alive=settings.keep_alive,
        # Requests under way are answered; a client that takes nothing keeps nobody from stopping.
        timeout_graceful_shutdown=math.ceil(settings.longest),
    )


if __name__ == "__main__":
    main()
