import ctypes.util
import importlib.util
import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from trident_server.errors import UnsupportedPlatformError
from trident_server.wheel import TUNING, Platform, allocator, environment, find_embedded_triton, find_tcmalloc

THIS_MACHINE = Platform(system="Linux", machine="x86_64", glibc="2.36", python="3.11")


def test_everything_is_found_in_the_wheel(site_packages):
    found = find_embedded_triton(site_packages, THIS_MACHINE)
    root = site_packages / "pytriton" / "tritonserver"
    assert found.binary == root / "bin" / "tritonserver"
    assert found.libraries == site_packages / "nvidia_pytriton.libs"
    assert found.python_backend == root / "backends" / "python"
    assert found.python_stub == root / "python_backend_stubs" / "3.11" / "triton_python_backend_stub"
    assert found.caches == root / "caches"


@pytest.mark.parametrize(
    ("fact", "says"),
    [
        ({"system": "Darwin", "machine": "arm64"}, "this is Darwin arm64"),
        ({"machine": "aarch64"}, "this is Linux aarch64"),
        ({"glibc": "2.31"}, "needs glibc 2.35 or newer and this machine has glibc 2.31"),
        ({"glibc": "2.9-ubuntu1"}, "this machine has glibc 2.9-ubuntu1"),
        ({"glibc": ""}, "this machine has no glibc"),
        ({"python": "3.14"}, "no stub for Python 3.14, only for 3.9, 3.10, 3.11"),
    ],
)
def test_a_machine_that_cannot_run_it_gets_one_sentence_with_the_way_out(site_packages, fact, says):
    with pytest.raises(UnsupportedPlatformError) as refusal:
        find_embedded_triton(site_packages, replace(THIS_MACHINE, **fact))
    message = str(refusal.value)
    assert says in message
    assert "make images" in message
    assert "\n" not in message


@pytest.mark.parametrize("glibc", ["2.35", "2.100", "3.0", "2.39-0ubuntu8"])
def test_newer_glibcs_pass(site_packages, glibc):
    find_embedded_triton(site_packages, replace(THIS_MACHINE, glibc=glibc))


def test_a_missing_wheel_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UnsupportedPlatformError, match=r"nvidia-pytriton.*is not installed.*make images"):
        find_embedded_triton(host=THIS_MACHINE)


def test_a_damaged_wheel_is_named(site_packages):
    (site_packages / "pytriton" / "tritonserver" / "bin" / "tritonserver").unlink()
    with pytest.raises(UnsupportedPlatformError, match=r"lacks .*bin/tritonserver"):
        find_embedded_triton(site_packages, THIS_MACHINE)


def test_children_find_libraries_and_this_python_first(triton, monkeypatch):
    monkeypatch.setenv("PATH", "/usr/bin")
    monkeypatch.setenv("LD_LIBRARY_PATH", "/opt/lib")
    given = environment(triton)
    assert given["PATH"] == os.pathsep.join([str(Path(sys.executable).parent), "/usr/bin"])
    assert given["LD_LIBRARY_PATH"] == f"{triton.libraries}:/opt/lib"
    monkeypatch.delenv("LD_LIBRARY_PATH")
    # A trailing colon would mean the current directory.
    assert environment(triton)["LD_LIBRARY_PATH"] == str(triton.libraries)


def test_models_get_settings_of_memory_and_threads_that_the_operator_can_change(triton, monkeypatch):
    for name in TUNING:
        monkeypatch.delenv(name, raising=False)
    assert environment(triton).items() >= TUNING.items()
    monkeypatch.setenv("GOMP_SPINCOUNT", "7")
    assert environment(triton)["GOMP_SPINCOUNT"] == "7"


def test_models_get_tcmalloc_where_there_is_one_unless_the_operator_loads_something_else(triton, monkeypatch, tmp_path):
    monkeypatch.delenv("LD_PRELOAD", raising=False)
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    monkeypatch.setattr(ctypes.util, "find_library", lambda name: None)
    assert "LD_PRELOAD" not in environment(triton)
    monkeypatch.setattr(ctypes.util, "find_library", lambda name: f"lib{name}.so.4")
    assert environment(triton)["LD_PRELOAD"] == "libtcmalloc_minimal.so.4"
    beside = tmp_path / "lib" / "libtcmalloc_minimal.so.4"
    beside.parent.mkdir()
    beside.touch()
    assert environment(triton)["LD_PRELOAD"] == str(beside)
    assert allocator()["LD_PRELOAD"] == str(beside)
    monkeypatch.setenv("LD_PRELOAD", "")
    assert environment(triton)["LD_PRELOAD"] == ""
    assert "LD_PRELOAD" not in allocator(), "peers are measured with what the server has"


@pytest.mark.parametrize("name", ["my env", "a:b"])
def test_a_tcmalloc_whose_path_the_linker_would_break_up_is_left_where_it_is(monkeypatch, tmp_path, name):
    beside = tmp_path / name / "lib" / "libtcmalloc_minimal.so.4"
    beside.parent.mkdir(parents=True)
    beside.touch()
    monkeypatch.setattr(sys, "prefix", str(tmp_path / name))
    monkeypatch.setattr(ctypes.util, "find_library", lambda name: None)
    assert find_tcmalloc() is None
