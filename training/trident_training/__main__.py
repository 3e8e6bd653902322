"""``python -m trident_training`` is ``trident-train``."""

from trident_training.cli import main

main()
