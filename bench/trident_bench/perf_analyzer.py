"""NVIDIA's perf_analyzer as tritonclient's wheel carries it: where it is, and the libraries that it wants beside it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

#: Libraries by the names that perf_analyzer asks for; pytriton's wheel holds them under hashed names.
WANTED = {"libb64-": "libb64.so.0d", "libcudart-": "libcudart.so.12"}
BINARY = Path(sys.executable).with_name("perf_analyzer")


@contextmanager
def environment() -> Iterator[dict[str, str]]:
    """Give the environment that perf_analyzer runs in, for as long as the context lasts.

    Raises:
        FileNotFoundError: the wheels that hold perf_analyzer and its libraries are not installed.
    """
    spec = find_spec("pytriton")
    if spec is None or spec.origin is None or not BINARY.is_file():
        raise FileNotFoundError("perf_analyzer was not found; install trident[server,client]")
    with TemporaryDirectory(prefix="trident-perf-") as folder:
        for library in Path(spec.origin).parents[1].joinpath("nvidia_pytriton.libs").iterdir():
            for start, name in WANTED.items():
                if library.name.startswith(start):
                    (Path(folder) / name).symlink_to(library)
        yield {**os.environ, "LD_LIBRARY_PATH": folder}
