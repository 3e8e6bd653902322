"""``python -m trident_server`` is ``trident-serve``."""

from trident_client.commands import run


def main() -> None:
    """Entry point of ``trident-serve``."""
    run("trident_server.cli", "trident-serve", "trident-nlp[server,api]")


if __name__ == "__main__":
    main()
