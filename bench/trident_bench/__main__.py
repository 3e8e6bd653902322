"""``python -m trident_bench`` is ``trident-bench``."""

from trident_client.commands import run


def main() -> None:
    """Entry point of ``trident-bench``."""
    run("trident_bench.cli", "trident-bench", "trident-nlp[bench]")


if __name__ == "__main__":
    main()
