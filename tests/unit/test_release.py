"""`make release` builds what has a version and notes, and nothing else; the wheels: serving/test_wheels.py."""

import runpy
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "scripts" / "release.py"
CHANGELOG = """# Changelog

## [Unreleased]

### Added

{}
## [0.2.0] - 2026-11-29

### Added

- Something.

What came before had no notes.
"""


@pytest.fixture
def release():
    return runpy.run_path(str(SCRIPT))


def test_what_is_unreleased_is_in_no_release(release):
    release["check_that_all_is_released"](CHANGELOG.format(""))
    release["check_that_all_is_released"](CHANGELOG.partition("## [Unreleased]")[0])
    with pytest.raises(ValueError, match="unreleased: give them the version"):
        release["check_that_all_is_released"](CHANGELOG.format("- Something else.\n"))


def test_nothing_is_built_before_that_is_looked_at(release, monkeypatch, tmp_path):
    (tmp_path / "CHANGELOG.md").write_text(CHANGELOG.format("- Something else.\n"))
    names = release["main"].__globals__
    monkeypatch.setitem(names, "ROOT", tmp_path)
    monkeypatch.setitem(names, "build", lambda folder: pytest.fail("it was built"))
    monkeypatch.setattr(sys, "argv", ["release.py", "--output", str(tmp_path / "dist")])
    with pytest.raises(SystemExit, match="unreleased"):
        release["main"]()


@pytest.fixture
def wheel(tmp_path):
    """Writes a wheel of some files."""

    def write(*names):
        told = "Metadata-Version: 2.4\nName: trident-nlp\nVersion: 0.2.0\n"
        path = tmp_path / "trident_nlp-0.2.0-py3-none-any.whl"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("trident_nlp-0.2.0.dist-info/METADATA", told)
            for name in ("trident_nlp-0.2.0.dist-info/licenses/LICENSE", *names):
                archive.writestr(name, "")
        return path

    return write


def test_a_vocabulary_of_others_has_its_licence_beside_it(release, wheel):
    cut = "trident_server/shipped/adapters/sts_ko/tokenizer.json"
    with pytest.raises(ValueError, match=f"no LICENSE beside {cut}"):
        release["check"](wheel(cut, "trident_server/shipped/adapters/qa_ko/LICENSE"))
    assert release["check"](wheel(cut, "trident_server/shipped/adapters/sts_ko/LICENSE")).name == "trident-nlp"
    with pytest.raises(ValueError, match="not the project's source"):
        release["check"](wheel("trident_server/shipped/model_repository/sts_encoder/1/model.pt"))


def test_how_much_more_the_index_takes_is_told(release, wheel):
    file = wheel()
    with file.open("r+b") as stream:
        stream.truncate(100 * 2**20 - 79_900)
    assert release["described"](file) == f"{file.name}  99.9 MiB; the package index takes 79 kB more"
    release["described"].__globals__["LARGEST"] = 1
    with pytest.raises(ValueError, match=r"the package index takes 1$"):
        release["check"](wheel())


def test_the_shipped_vocabularies_have_their_licence_beside_them():
    texts = [
        (file.parent / "LICENSE").read_text("utf-8") for file in (ROOT / "training/adapters").glob("*/tokenizer.json")
    ]
    assert len(texts) == 2
    assert all("copyright notice and this permission notice shall be included" in text for text in texts)


def test_the_notes_are_what_stands_below_the_version(release):
    assert release["notes"]("0.2.0", CHANGELOG) == "### Added\n\n- Something.\n\nWhat came before had no notes.\n"
    with pytest.raises(ValueError, match=r"says nothing of 0\.3\.0"):
        release["notes"]("0.3.0", CHANGELOG)


def test_this_version_has_notes(release):
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert release["notes"](version, (ROOT / "CHANGELOG.md").read_text("utf-8"))
