"""What is said where a package is missing: which command brings it, beside what is installed."""

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
