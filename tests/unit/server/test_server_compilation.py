"""The libraries that let backends run inside Triton's process: what they take, and what is said without it."""

import os
import re
import subprocess
import sysconfig
from dataclasses import replace

import pytest
from trident_server.assembly import COMPILED
from trident_server.cli import app
from trident_server.compilation import compile_backend, find_toolchain
from trident_server.errors import CompilationError
from trident_server.process import TritonProcess
from typer.testing import CliRunner


@pytest.fixture
def toolchain():
    try:
        return find_toolchain()
    except CompilationError as error:
        pytest.skip(str(error))


PYTORCH, PYTHON = COMPILED
INSTANCES = {"Initialize", "ModelInstanceInitialize", "ModelInstanceExecute", "ModelInstanceFinalize"}
MODELS = {"Finalize", "GetBackendAttribute", "ModelInitialize", "ModelFinalize"}


@pytest.mark.parametrize(("library", "functions"), [(PYTORCH, INSTANCES), (PYTHON, INSTANCES | MODELS)])
def test_a_library_has_what_triton_calls_and_no_warning(toolchain, tmp_path, library, functions):
    target = tmp_path / "library.so"
    compile_backend(toolchain, library, target, strict=True)
    listed = subprocess.run(["nm", "-D", "--defined-only", target], capture_output=True, text=True, check=True).stdout
    assert set(re.findall(r"T TRITONBACKEND_(\w+)\n", listed)) == functions


@pytest.fixture
def careless(toolchain, tmp_path):
    """A compiler that is handed an unused variable on top."""
    source = tmp_path / "careless.c"
    source.write_text("void careless(void) { int unused; }\n")
    compiler = tmp_path / "compiler"
    compiler.write_text(f'#!/bin/sh\nexec {toolchain.compiler} "$@" {source}\n')
    compiler.chmod(0o755)
    return replace(toolchain, compiler=compiler)


def test_a_warning_is_seen_and_to_the_strict_an_error(careless, tmp_path, caplog):
    target = tmp_path / "library.so"
    compile_backend(careless, PYTORCH, target)
    assert target.exists()
    assert "unused variable" in caplog.text
    with pytest.raises(CompilationError, match="unused variable"):
        compile_backend(careless, PYTORCH, target, strict=True)


def test_without_a_compiler_it_is_said_how_to_get_one(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CompilationError, match=r"no C compiler .* apt-get install gcc"):
        find_toolchain()


def test_without_pythons_header_it_is_said_how_to_get_it(monkeypatch, tmp_path):
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path))
    with pytest.raises(CompilationError, match=r"Python\.h: apt-get install python3\.11-dev"):
        find_toolchain()


def test_a_python_without_a_shared_library_is_told(monkeypatch):
    facts = {**sysconfig.get_config_vars(), "INSTSONAME": "libpython3.11.a"}
    monkeypatch.setattr(sysconfig, "get_config_vars", lambda: facts)
    with pytest.raises(CompilationError, match="no shared library"):
        find_toolchain()


def test_what_the_compiler_says_is_passed_on(toolchain, tmp_path):
    broken = tmp_path / "cc"
    broken.write_text("#!/bin/sh\necho 'inprocess.c: it is Monday' >&2\nexit 1\n")
    broken.chmod(0o755)
    with pytest.raises(CompilationError, match=r"the python backend:\n.*it is Monday"):
        compile_backend(replace(toolchain, compiler=broken), PYTHON, tmp_path / "library.so")
    with pytest.raises(CompilationError, match="could not compile"):
        compile_backend(replace(toolchain, compiler=tmp_path / "nowhere"), PYTORCH, tmp_path / "library.so")


@pytest.mark.parametrize("isolated", [False, True])
def test_where_it_cannot_be_compiled_or_is_not_wanted_models_get_processes(monkeypatch, triton, tmp_path, isolated):
    def missing():
        assert not isolated, "nobody looks for what is not wanted"
        raise CompilationError("there is no C compiler")

    monkeypatch.setattr("trident_server.process.find_toolchain", missing)
    process = TritonProcess(
        repository=tmp_path,
        http_port=1,
        grpc_port=2,
        metrics_port=3,
        cache_dir=tmp_path / "cache",
        log_file=tmp_path / "log",
        isolated=isolated,
    )
    assert (process._assemble(triton) / "pytorch" / "model.py").is_file()
    assert process.isolated_because == (None if isolated else "there is no C compiler")


def test_what_was_compiled_before_is_taken_where_nothing_can_be_compiled(monkeypatch, toolchain, tmp_path):
    folder = tmp_path / "image" / "backends"
    folder.parent.mkdir()
    done = CliRunner().invoke(app, ["backends", str(folder)])
    assert (done.exit_code, done.output) == (0, "")
    assert {each.name for each in folder.glob("*/libtriton_*.so")} >= {f"libtriton_{each.name}.so" for each in COMPILED}
    assert folder.stat().st_mode & 0o5 == 0o5, "other users cannot serve from it"
    assert os.listdir(folder.parent) == ["backends"]
    monkeypatch.setattr("trident_server.process.find_toolchain", lambda: pytest.fail("a compiler is looked for"))
    process = TritonProcess(repository=tmp_path, cache_dir=tmp_path / "cache", backends=folder)
    assert process._assemble(None) == folder
    assert not (tmp_path / "cache").exists()
