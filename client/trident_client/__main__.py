"""``python -m trident_client`` is the command line ``trident``."""

from trident_client.cli import main

main()
