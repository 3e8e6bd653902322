"""``python -m trident_training`` is ``trident-train``."""

from trident_client.commands import run


def main() -> None:
    """Entry point of ``trident-train``."""
    run("trident_training.cli", "trident-train", "trident-nlp[training]")


if __name__ == "__main__":
    main()
