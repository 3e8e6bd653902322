"""What the command line does before anything is started."""

import re

import pytest
from trident_server.cli import app
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
        if field.default not in (None, False):
            assert re.search(rf"TRIDENT_{name.upper()}\).*{re.escape(str(field.default))}", text)


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
