"""A disk without room, and a folder that cannot be written: one line, whatever library trips over it."""

import ctypes
import errno
import json
import multiprocessing
import os
import subprocess

import pytest
import torch
from trident_training.cli import app
from trident_training.commands import steps
from trident_training.finetune.folder import is_for_want_of_room
from trident_training.finetune.journal import StudyFile
from typer.testing import CliRunner

#: Of Linux' `unshare`: mounts that end with the process.
NEW_MOUNTS = 0x00020000
LEARN = ["--max-length", "24"]
SMALL = {"tune": ["--trials", "2", "--most-epochs", "1"]}


def torch_says():
    """Raise what torch has for a file that does not become longer."""
    try:
        raise RuntimeError("basic_ios::clear: iostream error")
    except RuntimeError:
        raise RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 704 vs 598")  # noqa: B904


def safetensors_says():
    raise Exception("Error while serializing: I/O error: No space left on device (os error 28)")


def system_says():
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def wrapped():
    try:
        system_says()
    except OSError as error:
        raise RuntimeError("the writer is closed") from error


SAYINGS = [torch_says, safetensors_says, system_says, wrapped]


@pytest.mark.parametrize("says", SAYINGS)
def test_a_full_disk_is_known_by_what_an_error_came_of(says):
    with pytest.raises(Exception) as caught:  # noqa: PT011
        says()
    assert is_for_want_of_room(caught.value)
    assert not is_for_want_of_room(OSError(errno.EACCES, "Permission denied"))
    assert not is_for_want_of_room(RuntimeError("shapes do not match"))


def invoke(verb, *options):
    """Return what a command printed, which ended with 1 and no other error."""
    done = CliRunner().invoke(app, [verb, *map(str, options)], env={"COLUMNS": "200"})
    assert done.exit_code == 1, done.output
    assert isinstance(done.exception, SystemExit), repr(done.exception)
    return done.output


@pytest.mark.parametrize("says", SAYINGS)
@pytest.mark.parametrize("verb", ["finetune", "distill", "sweep", "tune"])
def test_every_verb_tells_a_full_disk_in_a_line(tmp_path, toy_data, monkeypatch, verb, says):
    calls = []

    def train(*arguments, **options):
        calls.append(arguments)
        says()

    monkeypatch.setattr(steps, "train", train)
    options = ["--data", toy_data, "--output", tmp_path / "run", *(["--teacher", "x"] if verb == "distill" else [])]
    said = invoke(verb, "cola", *options, *(["--models", "a,b"] if verb == "sweep" else []), *SMALL.get(verb, []))
    assert f"✗ {verb}: there is no room left to write" in said
    # Where one has no room, the next one is not tried.
    assert len(calls) == 1


@pytest.mark.parametrize("verb", ["finetune", "sweep", "tune", "vocabulary"])
def test_an_output_that_cannot_be_made_is_a_line(tiny_checkpoint, toy_data, pairs, tmp_path, verb):
    (tmp_path / "file").touch()
    model = tiny_checkpoint("bert")
    options = {
        "sweep": ["cola", "--models", model, "--data", toy_data, *LEARN],
        "vocabulary": ["--base", model, "--data", pairs],
    }.get(verb, ["cola", "--model", model, "--data", toy_data, *LEARN])
    for output in (tmp_path / "file", tmp_path / "file" / "run"):
        said = invoke(verb, *options, "--output", output)
        assert f"✗ {verb}: {output}" in said


def in_little_room(folder, kibibytes, arguments, said):
    """Run a command where a folder is a file system of its own, which the others do not see."""
    if ctypes.CDLL(None).unshare(NEW_MOUNTS):
        os._exit(77)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={kibibytes}k", "tmpfs", str(folder)]
    for command in (["mount", "--make-rprivate", "/"], mount):
        if subprocess.run(command, capture_output=True).returncode:
            os._exit(77)
    # Its threads stayed with the parent.
    torch.set_num_threads(1)
    done = CliRunner().invoke(app, [str(each) for each in arguments], env={"COLUMNS": "200"})
    said.write_text(json.dumps([done.exit_code, type(done.exception).__name__, done.output]))
    os._exit(0)


@pytest.mark.parametrize(
    ("verb", "kibibytes"),
    [("finetune", 32), ("finetune", 400), ("finetune", 900), ("tune", 400), ("sweep", 400), ("vocabulary", 100)],
)
def test_a_disk_that_is_full_is_told_in_a_line(tiny_checkpoint, toy_data, pairs, tmp_path, verb, kibibytes):
    model, folder = tiny_checkpoint("bert"), tmp_path / "disk"
    folder.mkdir()
    options = {
        "sweep": ["cola", "--models", model, "--data", toy_data, *LEARN],
        "vocabulary": ["--base", model, "--data", pairs, "--size", "200"],
    }.get(verb, ["cola", "--model", model, "--data", toy_data, *LEARN])
    arguments = [verb, *options, *SMALL.get(verb, []), "--output", folder / "run"]
    process = multiprocessing.get_context("fork").Process(
        target=in_little_room, args=(folder, kibibytes, arguments, tmp_path / "said")
    )
    process.start()
    process.join(300)
    if process.exitcode == 77:
        pytest.skip("no file system can be mounted here")
    code, error, said = json.loads((tmp_path / "said").read_text())
    assert (code, error) == (1, "SystemExit"), said
    assert f"✗ {verb}: there is no room left to write" in said
    assert "Traceback" not in said


def test_a_line_of_a_study_that_had_no_room_is_cut_off(tmp_path):
    file = tmp_path / "study.log"
    first = StudyFile(file)
    first.append_logs([{"op_code": 0}])
    with file.open("a") as log:
        log.write('{"op_co')
    StudyFile(file).append_logs([{"op_code": 1}])
    assert list(StudyFile(file).read_logs(0)) == [{"op_code": 0}, {"op_code": 1}]
