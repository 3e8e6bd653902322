"""What the command line does before anything is started."""

import hashlib
import os
import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from trident_server.cli import app
from trident_server.ports import free_ports
from trident_server.settings import ServerSettings
from typer.testing import CliRunner


@pytest.fixture
def run(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for name in ServerSettings.model_fields:
        monkeypatch.delenv(f"TRIDENT_{name.upper()}", raising=False)
    monkeypatch.setenv("COLUMNS", "200")
    return lambda *arguments: CliRunner().invoke(app, arguments)


def test_help_names_every_setting_and_its_default(run):
    text = run("--help").output
    for name, field in ServerSettings.model_fields.items():
        assert f"--{name.replace('_', '-')} " in text
        assert f"(TRIDENT_{name.upper()})" in text
        default = field.get_default(call_default_factory=True)
        if default not in (None, False):
            assert re.search(rf"TRIDENT_{name.upper()}\).*{re.escape(str(default))}", text)


def test_a_missing_repository_is_one_line_and_status_1(run):
    result = run()
    assert result.exit_code == 1
    assert result.stderr == "There is no model repository at model_repository: name one with --repository.\n"


def test_an_unbuilt_repository_says_make_models(run, tmp_path):
    (tmp_path / "model_repository" / "encoder" / "1").mkdir(parents=True)
    (tmp_path / "model_repository" / "encoder" / "config.pbtxt").write_text('backend: "pytorch"')
    result = run()
    assert result.exit_code == 1
    assert "Run `make models`" in result.stderr


@pytest.mark.parametrize("arguments", [["--port", "0"], ["--host", "::1"], ["--log-verbose", "10"], ["--colour"]])
def test_a_wrong_option_is_status_2(run, arguments):
    result = run(*arguments)
    assert result.exit_code == 2
    assert arguments[0].strip("-").replace("-", "_") in result.stderr


def test_a_wrong_environment_variable_is_named(run, monkeypatch):
    monkeypatch.setenv("TRIDENT_GRPC_PORT", "many")
    result = run()
    assert result.exit_code == 2
    assert "TRIDENT_GRPC_PORT" in result.stderr
    assert "'many'" in result.stderr


def test_stop_says_that_nothing_runs(run):
    result = run("--stop")
    assert (result.exit_code, result.stdout) == (0, "No trident-serve runs with .trident.\n")


@pytest.fixture
def repository(tmp_path):
    """A repository that can be served, as far as is looked at before anything is started."""
    folder = tmp_path / "model_repository"
    (folder / "identity" / "1").mkdir(parents=True)
    (folder / "identity" / "config.pbtxt").write_text('backend: "python"')
    return folder


@pytest.mark.parametrize(
    ("cache_dir", "refusal"),
    [
        ("taken", "taken/trident-serve.pid: Not a directory"),
        ("taken/below", "taken/below: Not a directory"),
        ("/proc/nowhere", "/proc/nowhere: No such file or directory"),
    ],
)
def test_a_directory_that_cannot_be_made_is_one_line_and_status_1(run, repository, cache_dir, refusal):
    Path("taken").touch()
    result = run("--cache-dir", cache_dir)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == f"Cannot use {refusal}; choose another directory with --cache-dir (TRIDENT_CACHE_DIR).\n"


def test_a_full_disk_is_one_line_and_status_1(repository, tmp_path):
    # No file may become longer than nothing: as with a full disk, the refusal names no file.
    done = subprocess.run(
        [sys.executable, "-c", "from trident_server.cli import main; main()", "--cache-dir", str(tmp_path)],
        env={**os.environ, "TRIDENT_REPOSITORY": str(repository)},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0)),
        capture_output=True,
        text=True,
        timeout=60,
    )
    file = tmp_path / "trident-serve.pid"
    assert done.returncode == 1
    assert done.stderr == (
        f"Cannot use {file}: File too large; choose another directory with --cache-dir (TRIDENT_CACHE_DIR).\n"
    )


def test_backends_that_cannot_be_written_are_one_line_and_status_1(run, repository):
    Path(".trident").mkdir()
    Path(".trident/backends").touch()
    ports = zip(("--http-port", "--grpc-port", "--metrics-port"), free_ports(3), strict=True)
    result = run("--triton-only", *(f"{option}={port}" for option, port in ports))
    assert result.exit_code == 1
    assert re.fullmatch(r"Cannot use \S+/\.trident/backends: File exists; choose .* --cache-dir .*\n", result.stderr)


def test_stop_says_what_keeps_it_from_looking(run):
    Path("taken").touch()
    result = run("--stop", "--cache-dir", "taken")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "Cannot use taken/trident-serve.pid: Not a directory.\n"


def test_a_key_is_printed_once_and_only_its_digest_is_noted(run, tmp_path):
    file = tmp_path / "keys"
    printed = run(f"--api-keys-file={file}", "key", "the second team")
    assert (printed.exit_code, printed.stderr) == (0, "")
    key = printed.stdout.strip()
    assert file.read_text() == f"sha256:{hashlib.sha256(key.encode()).hexdigest()} the second team\n"
    alone = run("key")
    assert hashlib.sha256(alone.stdout.strip().encode()).hexdigest() in alone.stderr
    nowhere = run(f"--api-keys-file={tmp_path / 'no' / 'keys'}", "key")
    assert (nowhere.exit_code, nowhere.stdout) == (1, "")
