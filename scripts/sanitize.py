"""Run the C of the embedded backend under sanitizers, before what stands in for Triton (tests/native).

    python scripts/sanitize.py [--requests 100000] [--sanitizers address,undefined] [--sources FOLDER]

Exits with 0 where nothing was found, 1 where something was, and says so and exits with 77, as test harnesses have it,
where there is nothing to compile with.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from trident_server.compilation import SOURCES, find_toolchain
from trident_server.errors import CompilationError

NATIVE = Path(__file__).resolve().parents[1] / "tests" / "native"
SKIPPED = 77
#: What is found ends the run; what Python itself keeps to its end is no leak, and every allocation is the sanitizer's.
OPTIONS = {
    "ASAN_OPTIONS": "detect_leaks=0:abort_on_error=0:exitcode=1",
    "UBSAN_OPTIONS": "print_stacktrace=1",
    "TSAN_OPTIONS": "exitcode=1",
    "PYTHONMALLOC": "malloc",
}


def build(sanitizers: str, sources: Path, target: Path) -> None:
    """Compile the backend and the harness into one program.

    Raises:
        CompilationError: there is nothing to compile with, or no sanitizer.
        SystemExit: the compiler refuses a source; carries what it says.
    """
    toolchain = find_toolchain()
    command = [
        str(toolchain.compiler),
        *(
            "-std=gnu11",
            "-g",
            "-O1",
            "-fno-omit-frame-pointer",
            "-Wall",
            "-Wextra",
            "-Werror",
            "-Wno-error=unused-function",
        ),
        *(f"-fsanitize={sanitizers}", "-fno-sanitize-recover=all"),
        f'-DPYTHON="{toolchain.python}"',
        f'-DLIBPYTHON="{toolchain.library}"',
        '-DMODULE="model_in_harness"',
        *(f"-I{folder}" for folder in (toolchain.headers, sources)),
        str(sources / "inprocess.c"),
        str(NATIVE / "harness.c"),
        str(toolchain.library),
        *(f"-Wl,-rpath,{toolchain.library.parent}", "-lpthread", "-ldl", "-o", str(target)),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0 and "cannot find" in done.stderr:
        raise CompilationError(f"the compiler lacks the sanitizers' libraries: {done.stderr.strip().splitlines()[0]}")
    if done.returncode != 0:
        raise SystemExit(done.stderr)


def main() -> int:
    """Build, run and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--sanitizers", default="address,undefined")
    parser.add_argument("--sources", type=Path, default=SOURCES)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder, "harness")
        try:
            build(given.sanitizers, given.sources, program)
        except CompilationError as error:
            print(f"not run: {error}", file=sys.stderr)
            return SKIPPED
        environment = os.environ | OPTIONS | {"PYTHONPATH": str(NATIVE), "PYTHONDONTWRITEBYTECODE": "1"}
        return subprocess.run([program, str(given.requests)], env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
