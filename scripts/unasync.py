"""Write the synchronous client from the asynchronous one; for `make lint`, with `--check`, see whether that was done.

    python scripts/unasync.py [--check]

Each module of `client/trident_client/_async` has a twin in `_sync`, made by the replacements below and put into order
by ruff. Modules of `BY_HAND` are written for each.
"""

import argparse
import difflib
import re
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parents[1]
CLIENT = ROOT / "client" / "trident_client"
CONFIGURATION = ROOT / "pyproject.toml"
BY_HAND = {"__init__.py", "concurrency.py"}
NOTE = "# Made from ../_async/{name} by scripts/unasync.py: change that, not this.\n"
#: Patterns and what they become, one after the other.
REPLACEMENTS = [
    (r"\b(Iterable\[.+?\]) \| Async\1", r"\1"),
    (r"\bAsyncGenerator(\[.+), None\]", r"Generator\1, None, None]"),
    (r"\bAwaitable\[(\w+)\]", r"\1"),
    (r"\bAsync(?=[A-Z])", ""),
    (r"\[\s*(\w+) async for \1 in (.+?)\s*\]", r"list(\2)"),
    (r"\basync (?=def|for|with)", ""),
    (r"\bawait ", ""),
    (r"\baclos(?=e\b|ing\b)", "clos"),
    (r"\b__a(?=enter__|exit__)", "__"),
    (r"\b_async\b", "_sync"),
    (r"\btritonclient\.grpc\.aio\b", "tritonclient.grpc"),
    # What only one of the two says of itself.
    (r"\bfrom one event loop\b", "from any number of threads"),
    (r", or an asynchronous iterable\b", ""),
]


def twins(client: Path) -> dict[Path, str]:
    """Return what each generated module of a client's folder is to be.

    Raises:
        ValueError: something asynchronous remains in one, for which there is no replacement.
    """
    with TemporaryDirectory() as name:
        # In a package of the client's name, whose imports ruff sorts last.
        folder = Path(name) / client.name / "_sync"
        folder.mkdir(parents=True)
        (folder.parent / "__init__.py").touch()
        (folder / "__init__.py").touch()
        for path in generated(client / "_async"):
            source = path.read_text("utf-8")
            for pattern, replacement in REPLACEMENTS:
                source = re.sub(pattern, replacement, source)
            (folder / path.name).write_text(source, "utf-8")
        # Imports that are not used any more go, and lines that have become short are joined.
        for command in (["check", "--quiet", "--fix", "--select", "F401,I"], ["format", "--quiet"]):
            ruff = [sys.executable, "-m", "ruff", *command, "--no-cache", "--config", str(CONFIGURATION), name]
            subprocess.run(ruff, check=True)
        made = {path.name: path.read_text("utf-8") for path in generated(folder)}
    for name, source in made.items():
        if left := re.search(r"(?i).*(?:async|await).*", source):
            raise ValueError(f"{name}: no replacement for {left[0].strip()!r}")
    return {client / "_sync" / name: NOTE.format(name=name) + source for name, source in made.items()}


def generated(folder: Path) -> list[Path]:
    """Return the modules of a folder that have a twin, or are one."""
    return [path for path in sorted(folder.glob("*.py")) if path.name not in BY_HAND]


def differences(wanted: dict[Path, str], present: dict[Path, str]) -> str:
    """Return as a diff how the twins that are present differ from what they are to be; empty where they do not."""
    lines: list[str] = []
    for path in sorted(wanted.keys() | present.keys()):
        before, after = present.get(path, "").splitlines(True), wanted.get(path, "").splitlines(True)
        lines += difflib.unified_diff(before, after, f"{path} (present)", f"{path} (generated)")
    return "".join(lines)


def main() -> None:
    """Write the twins, or compare them.

    Raises:
        SystemExit: with `--check`, a twin is not what would be written; carries the difference.
    """
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing, and fail where something would be written")
    parser.add_argument("--client", type=Path, default=CLIENT, help="the client's folder")
    given = parser.parse_args()
    wanted = twins(given.client)
    present = {path: path.read_text("utf-8") for path in generated(given.client / "_sync")}
    if given.check:
        if difference := differences(wanted, present):
            raise SystemExit(f"{difference}The synchronous client is not what scripts/unasync.py makes: run it.")
        return
    for path in present.keys() - wanted.keys():
        path.unlink()
    for path, source in wanted.items():
        path.write_text(source, "utf-8")


if __name__ == "__main__":
    main()
