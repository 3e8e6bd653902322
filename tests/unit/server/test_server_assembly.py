import os
import re
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from trident_server.assembly import assemble_backends, check_path
from trident_server.backends import PROCESSORS
from trident_server.compilation import SOURCES, Toolchain
from trident_server.errors import CompilationError, PathError


def test_everything_is_a_link_but_the_library_that_triton_wants_inside(triton, tmp_path):
    folder = assemble_backends(triton, tmp_path / "cache")
    assert (folder / "pytorch").readlink() == SOURCES / "pytorch"
    assert (folder / "pytorch" / "model.py").is_file()
    assert (folder / "python" / "triton_python_backend_stub").readlink() == triton.python_stub
    utilities = folder / "python" / "triton_python_backend_utils.py"
    assert utilities.readlink() == triton.python_backend / "triton_python_backend_utils.py"
    copies = [file for file in folder.rglob("*") if file.is_file() and not file.is_symlink()]
    assert [copy.name for copy in copies] == ["libtriton_python.so"]
    assert copies[0].read_bytes() == (triton.python_backend / "libtriton_python.so").read_bytes()


@pytest.fixture
def toolchain(tmp_path):
    """A compiler that writes what it was told to compile."""
    compiler = tmp_path / "cc"
    compiler.write_text('#!/bin/sh\nfor last; do :; done\necho "$@" > "$last"\n')
    compiler.chmod(0o755)
    return Toolchain(compiler, tmp_path / "include", tmp_path / "libpython.so", tmp_path / "python")


def test_with_a_compiler_the_pytorch_backend_is_a_library_and_the_operators_it_brings(triton, toolchain, tmp_path):
    folder = assemble_backends(triton, tmp_path / "cache", toolchain)
    kernels = {f"kernels-{name}.so": set(options) for name, options in PROCESSORS.items()}
    assert {file.name for file in (folder / "pytorch").iterdir()} == {"libtriton_pytorch.so", *kernels}
    for name, options in kernels.items():
        assert options | {str(SOURCES / "kernels.c")} < set((folder / "pytorch" / name).read_text().split())
    command = (folder / "pytorch" / "libtriton_pytorch.so").read_text()
    assert str(SOURCES / "inprocess.c") in command
    assert "DELEGATE" not in command
    assert '-DMODULE="trident_server.backends.pytorch.inprocess"' in command
    assert folder != assemble_backends(triton, tmp_path / "cache"), "the two do not share a folder"


def test_with_a_compiler_the_python_backend_is_a_library_beside_the_wheels_own(triton, toolchain, tmp_path):
    folder = assemble_backends(triton, tmp_path / "cache", toolchain) / "python"
    command = (folder / "libtriton_python.so").read_text()
    assert all(str(SOURCES / name) in command for name in ("inprocess.c", "delegate.c"))
    assert '-DMODULE="trident_server.backends.python.inprocess"' in command
    (delegate,) = set(re.findall(r'-DDELEGATE="(.*?)"', command))
    assert (folder / delegate).read_bytes() == (triton.python_backend / "libtriton_python.so").read_bytes()
    assert not (folder / delegate).is_symlink()
    assert (folder / "triton_python_backend_stub").readlink() == triton.python_stub


@pytest.mark.parametrize("name", ["inprocess.c", "delegate.c", "triton_api.h", "kernels.c", "products.c"])
def test_another_source_of_a_library_is_compiled_anew(triton, toolchain, tmp_path, monkeypatch, name):
    sources = tmp_path / "sources"
    shutil.copytree(SOURCES, sources)
    monkeypatch.setattr("trident_server.assembly.SOURCES", sources)
    first = assemble_backends(triton, tmp_path / "cache", toolchain)
    (sources / name).write_text("int main;")
    assert assemble_backends(triton, tmp_path / "cache", toolchain) != first


def test_another_python_is_compiled_anew(triton, toolchain, tmp_path):
    first = assemble_backends(triton, tmp_path / "cache", toolchain)
    assert assemble_backends(triton, tmp_path / "cache", replace(toolchain, python=tmp_path / "other")) != first


def test_a_compiler_that_fails_leaves_nothing_behind(triton, toolchain, tmp_path):
    toolchain.compiler.write_text("#!/bin/sh\nexit 1\n")
    with pytest.raises(CompilationError):
        assemble_backends(triton, tmp_path / "cache", toolchain)
    assert not list((tmp_path / "cache" / "backends").iterdir())


def test_a_compiler_that_does_not_take_the_operators_leaves_them_out(triton, toolchain, tmp_path, caplog):
    text = toolchain.compiler.read_text()
    toolchain.compiler.write_text(
        f'{text}case "$*" in *kernels.c*) echo "no such vectors" >&2; rm "$last"; exit 1; esac\n'
    )
    folder = assemble_backends(triton, tmp_path / "cache", toolchain)
    assert [file.name for file in (folder / "pytorch").iterdir()] == ["libtriton_pytorch.so"]
    assert "served all the same, but slower" in caplog.text
    assert "no such vectors" in caplog.text


def test_assembling_again_changes_nothing(triton, tmp_path):
    first = assemble_backends(triton, tmp_path)
    made = first.stat().st_mtime_ns
    assert assemble_backends(triton, tmp_path) == first
    assert first.stat().st_mtime_ns == made


def test_another_environment_gets_another_folder(triton, tmp_path):
    first = assemble_backends(triton, tmp_path)
    moved_stub = tmp_path / "triton_python_backend_stub"
    moved_stub.write_text("stub")
    second = assemble_backends(replace(triton, python_stub=moved_stub), tmp_path)
    assert second != first
    assert (second / "python" / "triton_python_backend_stub").readlink() == moved_stub


def test_an_updated_wheel_gets_another_folder(triton, tmp_path):
    first = assemble_backends(triton, tmp_path)
    os.utime(triton.python_backend / "libtriton_python.so", (1, 1))
    assert assemble_backends(triton, tmp_path) != first


def test_servers_that_start_at_once_agree(triton, tmp_path):
    together = threading.Barrier(8)

    def assemble(_):
        together.wait()
        return assemble_backends(triton, tmp_path)

    with ThreadPoolExecutor(8) as pool:
        folders = set(pool.map(assemble, range(8)))
    assert len(folders) == 1
    assert [entry.name for entry in (tmp_path / "backends").iterdir()] == [folders.pop().name]


@pytest.mark.parametrize(
    "path", ["/home/me/My Projects/trident", "/srv/$HOME", "/srv/a;b", "/srv/it's", "/srv/모델", "/srv/a\nb"]
)
def test_a_path_that_triton_cannot_work_in_is_refused(triton, path):
    with pytest.raises(PathError, match=r"--repository \(TRIDENT_REPOSITORY\)"):
        check_path(Path(path), "repository")
    with pytest.raises(PathError, match=r"--cache-dir \(TRIDENT_CACHE_DIR\)"):
        assemble_backends(triton, Path(path))


def test_ordinary_paths_pass():
    check_path(Path("/srv/My_Models-2.0+cpu/x@y,z"), "repository")
