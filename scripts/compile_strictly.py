"""Compile the backends' C sources as the server does, with every warning an error; for `make lint`.

Run with the virtual environment's Python. Where there is nothing to compile with, it says so and succeeds: the server
does without as well.
"""

import sys
import tempfile
from pathlib import Path

from trident_server.assembly import COMPILED
from trident_server.backends import PROCESSORS
from trident_server.compilation import compile_backend, compile_kernels, find_toolchain
from trident_server.errors import CompilationError


def main() -> None:
    """Compile every library into a folder that is thrown away.

    Raises:
        SystemExit: the compiler refuses a source, or warns of it; carries what it says.
    """
    try:
        toolchain = find_toolchain()
    except CompilationError as error:
        print(f"C sources are not checked: {error}", file=sys.stderr)
        return
    with tempfile.TemporaryDirectory() as folder:
        try:
            for library in COMPILED:
                compile_backend(toolchain, library, Path(folder, library.name), strict=True)
            for processor in PROCESSORS:
                compile_kernels(toolchain, processor, Path(folder, processor), strict=True)
        except CompilationError as error:
            raise SystemExit(str(error)) from error
    print(f"{len(COMPILED) + len(PROCESSORS)} libraries compile without a warning.")


if __name__ == "__main__":
    main()
