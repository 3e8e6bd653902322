"""The command line against a real Triton: every example of its help, a run killed in the middle, and figures."""

import functools
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import Result
from trident_client import TridentClient
from trident_client.cli.app import app
from trident_client.cli.pages import EXAMPLES
from trident_client.contract import TASKS
from trident_server.ports import free_ports
from typer.testing import CliRunner

pytestmark = pytest.mark.serving

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "command-line.md").read_text("utf-8")
CLIENT = Path(__file__).resolve().parents[2] / "client"
COMMAND = f"{shlex.quote(sys.executable)} -m trident_client"
SECONDS = 120


@pytest.fixture
def folder(tmp_path):
    """The files that the examples name."""
    (tmp_path / "sentences.csv").write_text("sentence\nI am a boy.\nI are a boy.\n고양이가 잔다. 🙂\n", "utf-8")
    (tmp_path / "pairs.csv").write_text(
        "sentence_1,sentence_2\nA man plays.,Someone plays.\nA cat sleeps.,Rain falls.\n"
    )
    (tmp_path / "others.json").write_text('[{"first": "A man plays.", "second": "Someone plays."}]')
    (tmp_path / "danube.txt").write_text("The Danube rises in the Black Forest.\nIt is long.\n")
    question = {"question": "Where does the Danube rise?", "context": "The Danube rises in the Black Forest."}
    (tmp_path / "questions.jsonl").write_text(json.dumps(question) + "\n")
    (tmp_path / "texts").mkdir()
    pq.write_table(pa.table({"text": ["A man plays.", "Rain falls."]}), tmp_path / "texts" / "one.parquet")
    return tmp_path


def shell(line: str, folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run a line that has ``trident`` in it, with options behind the command."""
    line = re.sub(r"\btrident (\w+)", lambda found: f"{COMMAND} {found[1]} {shlex.join(options)}", line)
    environment = os.environ | {"PYTHONPATH": str(CLIENT), "COLUMNS": "150"}
    return subprocess.run(
        ["bash", "-c", f"set -o pipefail; {line}"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
        stdin=subprocess.DEVNULL,
    )


def trident(line: str, *options: str, stdin: str = "") -> Result:
    """Run a line that is one command of ``trident`` without a process of its own, with options behind the command."""
    _, command, *words = shlex.split(line)
    return CliRunner().invoke(app, [command, *options, *words], input=stdin, env={"COLUMNS": "150"})


@functools.cache
def help_of(command: str) -> str:
    return trident(f"trident {command} --help").stdout


# Those of tasks without a model of the project's are run in test_labels.py.
@pytest.mark.parametrize(
    ("command", "example"),
    [
        (command, example)
        for command, examples in EXAMPLES.items()
        for example in examples
        if command not in TASKS or TASKS[command].like is None
    ],
)
def test_every_example_of_the_help_runs(triton, folder, monkeypatch, command, example):
    assert f"  {example}\n" in help_of(command)
    options = ["--url", triton.http_url]
    if command == "watch":
        options += ["--metrics-url", triton.metrics_url]
    # A shell, and so a process, where there is something for it to do.
    if re.search("[|<>]", example):
        result = shell(example, folder, *options)
        assert result.returncode == 0, result.stderr
    else:
        monkeypatch.chdir(folder)
        result = trident(example, *options)
        assert result.exit_code == 0, result.output
    written = re.search(r"--output (\S+)", example)
    assert (folder / written[1]).stat().st_size > 0 if written else result.stdout.strip()


LINES = re.findall(r"^.*\btrident \w.*$", re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)[0], re.M)
IN_HELP = {example for examples in EXAMPLES.values() for example in examples}


# Most stand in the help too, and are run above.
@pytest.mark.parametrize("line", [line for line in LINES if line not in IN_HELP])
def test_every_line_of_the_page_runs(triton, folder, line):
    options = ["--url", triton.http_url]
    result = shell(line, folder, *options, *(["--metrics-url", triton.metrics_url] if "watch" in line else []))
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_the_answers_are_the_models(triton, folder, protocol):
    url = triton.http_url if protocol == "http" else triton.grpc_url
    options = ["--url", url, "--protocol", protocol]
    result = trident("trident cola 'I am a boy.' 'I are a boy.'", *options)
    good, bad = (json.loads(line)["probability"] for line in result.stdout.splitlines())
    assert good > bad
    passage = (folder / "danube.txt").read_text()
    result = trident("trident qa 'Where does the Danube rise?'", *options, stdin=passage)
    assert "Black Forest" in json.loads(result.stdout)["answer"]
    passage = "한강은 태백시의 검룡소에서 시작한다."
    result = trident(f"trident qa --model qa_ko '한강은 어디에서 시작하는가?' '{passage}'", *options)
    answer = json.loads(result.stdout)
    assert "검룡소" in answer["answer"]
    assert answer["answer"] == passage[answer["start"] : answer["end"]]
    assert "cola" in trident("trident models", *options).stdout
    assert shell("trident ready", folder, *options).stdout == f"{url} ready\n"


def test_watch_shows_models_requests_and_the_machine(triton):
    result = trident("trident watch --count 1", "--url", triton.http_url, "--metrics-url", triton.metrics_url)
    assert "sts_encoder" in result.stdout
    assert "requests" in result.stdout
    assert "memory in use" in result.stdout


def test_a_server_that_is_away_is_status_3_in_one_line(folder):
    (port,) = free_ports(1)
    url = ["--url", f"127.0.0.1:{port}"]
    process = shell("trident cola text", folder, *url)
    told = [(process.returncode, process.stderr)]
    for command in ("models", "watch --count 1"):
        result = trident(f"trident {command}", *url)
        told.append((result.exit_code, result.stderr))
    for status, said in told:
        assert status == 3, said
        assert said.count("\n") == 1
        assert f"127.0.0.1:{port}" in said
    result = trident("trident ready", *url)
    assert (result.exit_code, result.stdout.startswith(f"127.0.0.1:{port} away")) == (3, True)
    assert trident("trident cola text", "--url", "http://x").exit_code == 2


def test_a_reader_that_has_enough_is_no_error(triton, folder):
    (folder / "many.csv").write_text("sentence\n" + "Somebody counts.\n" * 500)
    small = ["--url", triton.http_url, "--model", "cola_small"]
    result = shell("trident cola -q -i many.csv", folder, *small)
    assert (result.returncode, len(result.stdout.splitlines()), result.stderr) == (0, 500, "")
    result = shell("trident cola -q -i many.csv | head -n 1", folder, *small)
    assert (result.returncode, len(result.stdout.splitlines()), result.stderr) == (0, 1, "")


def test_a_model_that_is_not_served_is_status_3_and_those_that_are_served_are_named(triton):
    with TridentClient(triton.http_url) as client:
        served = ", ".join(sorted(each.name for each in client.models()))
    for command in ("cola a", "sts a b", "embed a", "qa a b", "classify a", "rerank a b"):
        result = trident(f"trident {command}", "--url", triton.http_url, "--model", "nosuch")
        assert (result.exit_code, "nosuch" in result.stderr) == (3, True), command
        assert result.stderr.endswith(f"; served are: {served}\n"), result.stderr


def test_a_run_that_is_killed_goes_on(triton, folder):
    rows = 800
    lines = [f"Somebody counts to {number}.,Someone counts." for number in range(rows)]
    (folder / "many.csv").write_text("\n".join(["sentence_1,sentence_2", *lines]) + "\n")
    arguments = ["sts", "-i", "many.csv", "-o", "out.csv", "--url", triton.http_url]
    environment = os.environ | {"PYTHONPATH": str(CLIENT)}
    killed = subprocess.Popen([sys.executable, "-m", "trident_client", *arguments], cwd=folder, env=environment)
    partial = folder / "out.csv.partial"
    deadline = time.monotonic() + SECONDS
    while not (partial.exists() and partial.read_bytes().count(b"\n") > 10) and time.monotonic() < deadline:
        time.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    killed.wait(SECONDS)
    assert not (folder / "out.csv").exists()
    result = shell("trident sts -i many.csv -o out.csv --resume", folder, "--url", triton.http_url)
    assert result.returncode == 0, result.stderr
    assert "from before" in result.stderr
    assert len((folder / "out.csv").read_text().splitlines()) == rows + 1
