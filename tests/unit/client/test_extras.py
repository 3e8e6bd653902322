"""What is said where a package is missing: which command brings it, beside what is installed."""

import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from trident_client import _extras, doctor
from trident_client.doctor import Part

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def client_alone(monkeypatch):
    """An environment that has the client's distribution, and not the whole project's."""

    def version(name):
        if name == "trident-nlp":
            raise metadata.PackageNotFoundError(name)
        return "0.2.0"

    monkeypatch.setattr(metadata, "version", version)


@pytest.fixture
def newer_pyarrow(tmp_path):
    """The folder of a pyarrow that asks for a newer numpy than is installed, as pyarrow 26 does."""
    (tmp_path / "pyarrow").mkdir()
    (tmp_path / "pyarrow" / "__init__.py").write_text("from pyarrow import lib\n")
    (tmp_path / "pyarrow" / "lib.py").write_text(
        "raise ImportError('pyarrow requires NumPy 2.0 or newer, found 1.26.4')"
    )
    return tmp_path


def test_a_package_that_is_there_and_cannot_be_used_is_one_line_with_what_mends_it(newer_pyarrow):
    code = (
        f"import sys; sys.path.insert(0, {str(newer_pyarrow)!r}); from trident_client.commands import run\n"
        "run('trident_client._columns', 'trident', 'trident-nlp[cli]')"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, timeout=60, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == (
        "trident cannot use the package pyarrow that is installed (pyarrow requires NumPy 2.0 or newer, found 1.26.4): "
        "pip install 'trident-nlp[cli]' 'pyarrow<26'\n"
    )


@pytest.mark.parametrize("extra", ["ray", "spark"])
def test_the_engines_modules_say_which_extra_brings_what_they_lack(extra):
    code = f"import sys; sys.modules['pyarrow'] = None; import trident_client.{extra}"
    done = subprocess.run([sys.executable, "-c", code], check=False, timeout=60, capture_output=True, text=True)
    assert done.stderr.splitlines()[-1] == (
        f"ModuleNotFoundError: trident_client.{extra} needs the package pyarrow, which is not installed: "
        f"pip install 'trident-nlp[{extra}]'"
    )


@pytest.mark.parametrize(
    "error",
    [
        ModuleNotFoundError("No module named 'trident_client.nothing'", name="trident_client.nothing"),
        ModuleNotFoundError("nobody says what"),
        ImportError("cannot import name 'nothing' from 'trident_client'", name="trident_client"),
        ImportError("libodd.so: cannot open shared object file", name="torch._C"),
    ],
)
def test_what_no_command_mends_is_seen_whole(error):
    assert _extras.lack("trident", error, "trident-nlp[cli]") is None


def first_finding(part):
    return next(doctor.examine(part, lambda: iter(()), named=False))


def test_beside_the_whole_project_its_own_extras_are_named(monkeypatch):
    asked = []
    monkeypatch.setattr(doctor, "packages", lambda wanted, named: asked.append(wanted) or doctor.Finding("", None, ""))
    assert _extras.requirement("cli", "ray") == "trident-nlp[cli,ray]"
    first_finding(Part.CLIENT)
    assert asked == ["trident-nlp[cli]"]


def test_where_the_client_is_alone_nothing_more_is_installed(client_alone, monkeypatch):
    asked = []
    monkeypatch.setattr(doctor, "packages", lambda wanted, named: asked.append(wanted) or doctor.Finding("", None, ""))
    assert _extras.requirement("cli", "ray") == "trident-client[cli,ray]"
    first_finding(Part.CLIENT)
    first_finding(Part.SERVING)
    assert asked == ["trident-client[cli]", "trident-nlp[server,api]"]


def test_the_whole_project_has_the_clients_extras_and_holds_them_to_one_pyarrow():
    client, whole = (tomllib.loads((ROOT / each / "pyproject.toml").read_text())["project"] for each in ("client", "."))
    for extra in client["optional-dependencies"]:
        wanted = whole["optional-dependencies"][extra]
        assert f"trident-client[{extra}]=={client['version']}" in wanted
        assert "pyarrow>=24,<26" in wanted


def test_the_lock_which_is_made_of_the_developers_extra_has_all_others_but_the_engines():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    (named,) = (each.extras for each in map(Requirement, extras["dev"]) if each.name == "trident-nlp")
    assert named == set(extras) - {"dev", "ray", "spark"}
