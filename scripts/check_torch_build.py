"""Say before the installation starts whether pip would fetch a CUDA build of torch.

Run by the Makefile with the virtual environment's Python, before anything else is installed: standard library only.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

LOCK = Path(__file__).resolve().parent.parent / "requirements.lock"
ADVICE = """\
note: pip would fetch a CUDA build of torch here ({packages} CUDA packages, several gigabytes).
      Trident's embedded server needs only the CPU build. To take it, stop now and give the address of
      PyTorch's CPU wheel index:  make {goal} TORCH_INDEX_URL=<address of the CPU index>
      Going on with the CUDA build."""


def cuda_packages(requirement: str, index_url: str) -> int:
    """Count the CUDA packages that pip would install along with ``requirement``."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed", "--no-deps"]
    if index_url:
        command += ["--extra-index-url", index_url]
    report = subprocess.run([*command, "--report", "-", requirement], capture_output=True, text=True, check=False)
    if report.returncode != 0:
        raise SystemExit(f"pip cannot find {requirement}:\n{report.stderr.strip()}")
    (torch,) = json.loads(report.stdout)["install"]
    needs = torch["metadata"].get("requires_dist", [])
    return sum(bool(re.match(r"(nvidia|cuda)-", need)) and "extra ==" not in need for need in needs)


def main() -> None:
    """Look up the pinned torch and print the advice when it is a CUDA build."""
    index_url, goal = sys.argv[1], sys.argv[2]
    requirement = next(line for line in LOCK.read_text().splitlines() if line.startswith("torch=="))
    packages = cuda_packages(requirement, index_url)
    if packages:
        print(ADVICE.format(packages=packages, goal=goal), file=sys.stderr)


if __name__ == "__main__":
    main()
