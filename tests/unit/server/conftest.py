"""A miniature of the installed wheel, so that nothing here needs the real one."""

from pathlib import Path

import pytest
from trident_server.wheel import EmbeddedTriton, Platform, find_embedded_triton

THIS_MACHINE = Platform(system="Linux", machine="x86_64", glibc="2.36", python="3.11")


def write_wheel(site_packages: Path, pythons: tuple[str, ...] = ("3.9", "3.10", "3.11")) -> Path:
    root = site_packages / "pytriton" / "tritonserver"
    files = ["bin/tritonserver", "caches/local/libtritoncache_local.so"]
    files += [f"backends/python/{name}" for name in ("libtriton_python.so", "triton_python_backend_utils.py")]
    files += [f"python_backend_stubs/{python}/triton_python_backend_stub" for python in pythons]
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_text(file)
    (site_packages / "nvidia_pytriton.libs").mkdir()
    return site_packages


@pytest.fixture
def site_packages(tmp_path) -> Path:
    return write_wheel(tmp_path / "site-packages")


@pytest.fixture
def triton(site_packages) -> EmbeddedTriton:
    return find_embedded_triton(site_packages, THIS_MACHINE)
