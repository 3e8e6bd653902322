"""`make` puts the tcmalloc that apt knows beside the packages; here with programs that only seem to be apt's."""

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "scripts" / "fetch_tcmalloc.sh"
APT = """#!/bin/sh
for last; do :; done
case "$last" in
    update) ;;
    {package}) : > "$last"_2.10_amd64.deb ;;
    *) echo "E: Unable to locate package $last" >&2; exit 100 ;;
esac
"""
DPKG = """#!/bin/sh
mkdir -p "$3/usr/lib/x86_64-linux-gnu"
echo "$2" > "$3/usr/lib/x86_64-linux-gnu/libtcmalloc_minimal.so.4.5"
ln -s libtcmalloc_minimal.so.4.5 "$3/usr/lib/x86_64-linux-gnu/libtcmalloc_minimal.so.4"
"""


@pytest.fixture
def run(tmp_path):
    """Runs the script into a folder, with an apt that has one package; returns what it said and where it put things."""

    def run(package: str) -> tuple[subprocess.CompletedProcess[str], Path]:
        programs, folder, scratch = (tmp_path / name for name in ("bin", "lib", "tmp"))
        for each in (programs, folder, scratch):
            each.mkdir(exist_ok=True)
        for name, text in {"apt-get": APT.format(package=package), "dpkg-deb": DPKG}.items():
            (programs / name).write_text(text)
            (programs / name).chmod(0o755)
        environment = {"PATH": f"{programs}:/usr/bin:/bin", "TMPDIR": str(scratch)}
        done = subprocess.run(
            ["sh", str(SCRIPT), "lib"], env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=60
        )
        assert not any(scratch.iterdir())
        return done, folder

    return run


@pytest.mark.parametrize("package", ["libtcmalloc-minimal4", "libtcmalloc-minimal4t64"])
def test_the_library_is_put_into_the_folder_under_either_name_of_its_package(run, package):
    done, folder = run(package)
    assert done.returncode == 0, done.stderr
    (library,) = folder.iterdir()
    assert (library.name, library.is_symlink()) == ("libtcmalloc_minimal.so.4", False)
    assert library.read_text() == f"{package}_2.10_amd64.deb\n"


def test_what_has_the_former_one_loaded_keeps_it(run, tmp_path):
    (tmp_path / "lib").mkdir()
    former = tmp_path / "lib" / "libtcmalloc_minimal.so.4"
    former.write_text("the former one")
    with former.open() as loaded:
        done, folder = run("libtcmalloc-minimal4")
        assert loaded.read() == "the former one"
    assert done.returncode == 0, done.stderr
    assert [each.name for each in folder.iterdir()] == [former.name]
    assert former.read_text() == "libtcmalloc-minimal4_2.10_amd64.deb\n"


def test_where_apt_has_none_it_says_so_and_puts_nothing_there(run):
    done, folder = run("another")
    assert done.returncode != 0
    assert "Unable to locate package libtcmalloc-minimal4" in done.stderr
    assert not any(folder.iterdir())
