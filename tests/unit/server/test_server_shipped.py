"""Where the project's own files are: in a checkout, and as a wheel has them."""

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console
from trident_server import building, shipped
from trident_server.doctor import examine
from trident_server.errors import FileError, RepositoryError
from trident_server.machine import Machine
from trident_server.repository import check_repository
from trident_server.settings import ServerSettings
from trident_server.wheel import Platform

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def packed(tmp_path, monkeypatch) -> Path:
    """A wheel's files, and an empty folder to work in; returns where the copy belongs."""
    monkeypatch.setattr(shipped, "PACKED", tmp_path / "shipped")
    monkeypatch.setattr(shipped.metadata, "version", lambda name: {"trident-nlp": "1.2.3"}[name])
    monkeypatch.setenv("TRIDENT_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("TRIDENT_REPOSITORY", raising=False)
    file = tmp_path / "shipped" / "model_repository" / "toy" / "config.pbtxt"
    file.parent.mkdir(parents=True)
    file.write_text('name: "toy"')
    (tmp_path / "shipped" / "adapters").mkdir()
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    return tmp_path / "cache" / "model_repository-1.2.3"


def test_a_checkout_is_served_where_it_is(monkeypatch):
    monkeypatch.chdir(ROOT)
    assert shipped.repository_sources() == ROOT / "model_repository"
    assert shipped.adapters() == ROOT / "training" / "adapters"
    assert shipped.default_repository() == Path("model_repository")
    assert not shipped.is_copy(Path("model_repository"))


def test_a_wheel_is_served_from_a_copy_in_the_cache_that_is_made_once(packed):
    assert ServerSettings().repository == packed
    assert not packed.exists()
    shipped.make_copy(packed)
    assert (packed / "toy" / "config.pbtxt").read_text() == 'name: "toy"'
    (packed / "toy" / "config.pbtxt").write_text("mine")
    shipped.make_copy(packed)
    assert (packed / "toy" / "config.pbtxt").read_text() == "mine"
    assert os.listdir(packed.parent) == [packed.name]


def test_a_repository_in_the_folder_or_one_that_is_named_comes_first(packed, tmp_path):
    Path("model_repository").mkdir()
    assert ServerSettings().repository == Path("model_repository")
    assert not shipped.is_copy(Path("model_repository"))
    shipped.make_copy(tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_a_copy_that_another_process_makes_meanwhile_is_taken(packed, monkeypatch):
    sources = shipped.repository_sources()

    def meanwhile() -> Path:
        shutil.copytree(sources, packed)
        return sources

    monkeypatch.setattr(shipped, "repository_sources", meanwhile)
    shipped.make_copy(packed)
    assert os.listdir(packed.parent) == [packed.name]


def test_what_a_wheel_has_not_built_is_told_with_a_command_that_a_wheel_has(packed, tmp_path):
    def told(repository):
        with pytest.raises(RepositoryError) as raised:
            check_repository(repository)
        assert str(repository) in str(raised.value)
        (advice,) = {
            each.advice
            for each in examine(ServerSettings(repository=repository), Machine())
            if each.subject == "models"
        }
        assert advice == str(raised.value)
        return advice

    both = "`trident-serve` builds them before it serves, and `trident-train models` builds them alone."
    assert told(packed).endswith(f"No model is built yet in {packed}. {both}")
    shipped.make_copy(packed)
    (packed / "toy" / "config.pbtxt").write_text('backend: "pytorch"')
    assert told(packed) == f"Not built yet in {packed}: toy. {both}"
    shutil.copytree(packed, tmp_path / "other")
    assert told(tmp_path / "other").endswith(f": toy. Run `trident-train models --repository {tmp_path / 'other'}`.")
    assert told(tmp_path / "nowhere").endswith("name one with --repository.")


def test_what_a_wheel_has_built_for_another_processor_is_told_with_a_command_that_a_wheel_has(packed):
    shipped.make_copy(packed)
    (packed / "toy" / "1").mkdir()
    (packed / "toy" / "1" / "export.json").write_text('{"dtype": "float64"}')
    (finding,) = (each for each in examine(ServerSettings(), Machine()) if each.subject == "models")
    assert finding.advice.endswith(f". {shipped.how_to_build(packed)}")
    old = replace(Machine(), platform=Platform(system="Linux", machine="x86_64", glibc="2.36", python="3.13"))
    (finding,) = (each for each in examine(ServerSettings(), old) if each.subject == "Python")
    assert "make" not in finding.advice


def test_the_first_start_says_that_it_takes_some_minutes(packed, monkeypatch):
    monkeypatch.setattr(building.subprocess, "run", lambda command, env: type("Ended", (), {"returncode": 0}))
    console = Console(record=True, width=500)
    building.build_models(packed, [], console)
    assert "once (some minutes) ..." in console.export_text()


def test_what_cannot_be_copied_or_built_is_told(packed, monkeypatch, tmp_path):
    ended = type("Ended", (), {"returncode": 1})
    asked = []
    monkeypatch.setattr(building.subprocess, "run", lambda command, env: asked.append((command, env)) or ended)
    with pytest.raises(RepositoryError, match="could be built"):
        building.build_models(packed, ["cola", "sts"], Console(quiet=True))
    [(command, env)] = asked
    assert command[-3:] == ["models", "--repository", str(packed)]
    assert env["TRIDENT_MODELS"] == "cola,sts"
    (tmp_path / "file").touch()
    monkeypatch.setenv("TRIDENT_CACHE_DIR", str(tmp_path / "file"))
    with pytest.raises(FileError, match="file"):
        building.build_models(shipped.default_repository(), [], Console(quiet=True))
