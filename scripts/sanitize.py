"""Run the C of the embedded backends under sanitizers, before what stands in for Triton (tests/native).

    python scripts/sanitize.py [--requests 100000] [--sanitizers address,undefined] [--sources FOLDER]
        [--only hosting|delegating|operators]

Once a backend that hosts all of its models, and once one that leaves some of them to another library; then the
operators that are given to libtorch, for each kind of processor up to this one. Or one of the three alone.
Exits with 0 where nothing was found, 1 where something was, and says so and exits with 77, as test harnesses have it,
where there is nothing to compile with.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from trident_server.backends import PROCESSORS
from trident_server.compilation import KERNELS, SOURCES, find_toolchain
from trident_server.errors import CompilationError

NATIVE = Path(__file__).resolve().parents[1] / "tests" / "native"
SKIPPED = 77
#: The library that a backend leaves models to.
OTHER = "other.so"
HOSTING, DELEGATING, OPERATORS = PARTS = ("hosting", "delegating", "operators")
#: What is found ends the run; what Python itself keeps to its end is no leak, and every allocation is the sanitizer's.
OPTIONS = {
    "ASAN_OPTIONS": "detect_leaks=0:abort_on_error=0:exitcode=1",
    "UBSAN_OPTIONS": "print_stacktrace=1",
    "TSAN_OPTIONS": "exitcode=1",
    "PYTHONMALLOC": "malloc",
}


def compile_c(sanitizers: str, *arguments: str) -> None:
    """Compile C with the sanitizers, every warning an error.

    Raises:
        CompilationError: there is nothing to compile with, or no sanitizer.
        SystemExit: the compiler refuses a source; carries what it says.
    """
    command = [
        str(find_toolchain().compiler),
        *("-std=gnu11", "-g", "-O1", "-fno-omit-frame-pointer"),
        *("-Wall", "-Wextra", "-Werror", "-Wno-error=unused-function", "-Wno-psabi"),
        *(f"-fsanitize={sanitizers}", "-fno-sanitize-recover=all"),
        *arguments,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0 and "cannot find" in done.stderr:
        raise CompilationError(f"the compiler lacks the sanitizers' libraries: {done.stderr.strip().splitlines()[0]}")
    if done.returncode != 0:
        raise SystemExit(done.stderr)


def build(sanitizers: str, sources: Path, folder: Path, *, delegating: bool) -> Path:
    """Compile the backend and the harness into one program, and return that.

    Args:
        sanitizers: as the compiler takes them.
        sources: the folder of the backend's.
        folder: where to write.
        delegating: the backend leaves some of its models to another library, which is written beside the program.

    Raises:
        CompilationError: there is nothing to compile with, or no sanitizer.
        SystemExit: the compiler refuses a source; carries what it says.
    """
    toolchain, program = find_toolchain(), folder / "harness"
    files = [sources / "inprocess.c", NATIVE / "harness.c"]
    options = []
    if delegating:
        files.append(sources / "delegate.c")
        # The library asks the program.
        options = [f'-DDELEGATE="{OTHER}"', "-rdynamic"]
        (folder / "incomplete").mkdir()
        for target, kind in ((folder / OTHER, []), (folder / "incomplete" / OTHER, ["-DINCOMPLETE"])):
            shared = ("-shared", "-fPIC", f"-I{sources}", str(NATIVE / "other_library.c"), "-o", str(target))
            compile_c(sanitizers, *kind, *shared)
    compile_c(
        sanitizers,
        *options,
        f'-DPYTHON="{toolchain.python}"',
        f'-DLIBPYTHON="{toolchain.library}"',
        '-DMODULE="model_in_harness"',
        *(f"-I{each}" for each in (toolchain.headers, sources)),
        *map(str, files),
        str(toolchain.library),
        *(f"-Wl,-rpath,{toolchain.library.parent}", "-lpthread", "-ldl", "-o", str(program)),
    )
    return program


def programs(
    sanitizers: str, sources: Path, folder: Path, parts: Sequence[str] = PARTS
) -> Iterator[tuple[Path, list[str]]]:
    """Yield each program of some parts once it is compiled, and what it is called with beside a number.

    Other arguments and errors are :func:`build`'s.
    """
    for part in (each for each in (HOSTING, DELEGATING) if each in parts):
        place, delegating = folder / part, part == DELEGATING
        place.mkdir()
        yield build(sanitizers, sources, place, delegating=delegating), [str(place)] if delegating else []
    if OPERATORS not in parts:
        return
    files = [NATIVE / "kernels_harness.c", *(sources / name for name in KERNELS)]
    for processor, options in PROCESSORS.items():
        program = folder / processor
        compile_c(sanitizers, *options, f"-I{sources}", *map(str, files), "-lm", "-o", str(program))
        yield program, []


def main() -> int:
    """Build, run and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--sanitizers", default="address,undefined")
    parser.add_argument("--sources", type=Path, default=SOURCES)
    parser.add_argument("--only", choices=PARTS)
    given = parser.parse_args()
    parts = [given.only] if given.only else PARTS
    environment = os.environ | OPTIONS | {"PYTHONPATH": str(NATIVE), "PYTHONDONTWRITEBYTECODE": "1"}
    with tempfile.TemporaryDirectory() as folder:
        try:
            for program, further in programs(given.sanitizers, given.sources, Path(folder), parts):
                command = [str(program), str(given.requests), *further]
                if status := subprocess.run(command, env=environment, check=False).returncode:
                    return status
        except CompilationError as error:
            print(f"not run: {error}", file=sys.stderr)
            return SKIPPED
    return 0


if __name__ == "__main__":
    sys.exit(main())
