"""``python -m trident_client`` is the command line ``trident``."""

from trident_client._extras import requirement
from trident_client.commands import run


def main() -> None:
    """Entry point of ``trident``."""
    run("trident_client.cli.app", "trident", requirement("cli"))


if __name__ == "__main__":
    main()
