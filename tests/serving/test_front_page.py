"""The front page: its examples, taken from its text, run against a real Triton and facade and answer as it says."""

import doctest
import json
import math
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from google.protobuf import text_format
from trident_server.facade import FacadeProcess
from trident_training.cli import app
from tritonclient.grpc.model_config_pb2 import ModelConfig

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "README.md").read_text("utf-8")
OTHER_MODELS = (ROOT / "docs" / "other-models.md").read_text("utf-8")
#: Digits after which an answer may differ with the processor.
TOLERANCE = 0.1
SECONDS = 120


def blocks(marker: str, language: str) -> list[str]:
    """Return the code blocks behind a marker."""
    return re.findall(rf"^<!-- {marker} -->\n```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def commands(block: str) -> list[tuple[str, str]]:
    """Return each command of a block with the answer that the comment below it promises."""
    found = re.findall(r"^((?:[^#\n].*\n)+)# (.*)$", block, re.MULTILINE)
    return [(command.strip(), answer) for command, answer in found]


EXAMPLES = [each for block in blocks("tested", "sh") for each in commands(block)]


@pytest.fixture(scope="module")
def facade(triton, tmp_path_factory):
    with FacadeProcess(
        triton_url=triton.http_url,
        triton_grpc_url=triton.grpc_url,
        log_file=tmp_path_factory.mktemp("facade") / "facade.log",
    ) as process:
        yield process


def close(answer: object, promised: object) -> bool:
    """Whether an answer is as promised: keys and texts the same, numbers nearly; times are as they are."""
    if isinstance(promised, dict) and isinstance(answer, dict):
        same = answer.keys() == promised.keys()
        return same and all(key == "runtime(sec)" or close(answer[key], promised[key]) for key in promised)
    if isinstance(promised, float) and isinstance(answer, float):
        return abs(answer - promised) <= TOLERANCE
    return answer == promised


def test_every_task_has_its_examples():
    assert len(EXAMPLES) == 6
    assert [command.split()[0] for command, _ in EXAMPLES] == ["curl", "trident"] * 3
    assert len(blocks("tested", "python")) == 3


#: For machines without curl: as much of it as the page uses.
CURL = """#!{python}
import argparse, httpx
parser = argparse.ArgumentParser()
parser.add_argument("-s", action="store_true")
parser.add_argument("-H", action="append", default=[])
parser.add_argument("-d")
parser.add_argument("url")
given = parser.parse_args()
headers = dict(each.split(": ", 1) for each in given.H)
print(httpx.post(f"http://{{given.url}}", content=given.d.encode(), headers=headers, timeout=60).text)
"""


@pytest.fixture(scope="module")
def path(tmp_path_factory) -> str:
    """PATH with a curl on it, the machine's own before the stand-in."""
    folder = tmp_path_factory.mktemp("bin")
    (folder / "curl").write_text(CURL.format(python=sys.executable))
    (folder / "curl").chmod(0o755)
    return f"{os.environ['PATH']}:{folder}"


@pytest.mark.serving
@pytest.mark.parametrize(("command", "promised"), EXAMPLES, ids=[each.partition("{")[0][:40] for each, _ in EXAMPLES])
def test_every_example_of_the_shell_answers_as_the_page_says(triton, facade, path, command, promised):
    line = command.replace("localhost:8000", facade.url.removeprefix("http://"))
    client = f"{shlex.quote(sys.executable)} -m trident_client"
    line = re.sub(r"^trident (\w+)", lambda found: f"{client} {found[1]} --url {triton.http_url}", line)
    done = subprocess.run(
        ["bash", "-c", line],
        env=os.environ | {"PYTHONPATH": str(ROOT / "client"), "no_proxy": "*", "PATH": path},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done.stderr
    assert close(json.loads(done.stdout), json.loads(promised)), done.stdout


@pytest.mark.serving
def test_the_examples_in_python_run(triton):
    text = "\n".join(blocks("tested", "python")).replace("127.0.0.1:8010", triton.http_url)
    test = doctest.DocTestParser().get_doctest(text, {}, "README.md", "README.md", 0)
    assert len(test.examples) == 8
    told: list[str] = []
    doctest.DocTestRunner().run(test, out=told.append)
    assert not told, "".join(told)


def test_the_figures_of_the_table_are_those_that_the_models_tell_of_themselves():
    rows = re.findall(r"^\| `(\w+)` \| \w+ \| .* \| ([\d., ]+?)(?: \(.*\))? \|$", PAGE, re.MULTILINE)
    assert {name for name, _ in rows} == {"cola", "cola_small", "qa", "sts", "sts_ko"}
    for name, figures in rows:
        told = text_format.Parse((ROOT / "model_repository" / name / "config.pbtxt").read_text(), ModelConfig())
        metrics = json.loads(told.parameters["metrics"].string_value).values()
        for figure in figures.split(", "):
            # Told by the run that trained them; the page has them through Triton, in bfloat16.
            assert any(math.isclose(metric, float(figure), rel_tol=0.005) for metric in metrics), (name, figure)


TRAININGS = sorted(
    {
        line
        for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
        for block in re.findall(r"^```sh\n(.*?)^```$", page.read_text("utf-8"), re.MULTILINE | re.DOTALL)
        for line in block.replace("\\\n", " ").splitlines()
        if line.startswith("trident-train ")
    }
)


def test_the_pages_have_the_commands_of_training():
    assert len(TRAININGS) > 20


@pytest.mark.parametrize("line", TRAININGS)
def test_the_commands_of_training_have_options_that_there_are(line):
    _, *arguments = shlex.split(line, comments=True)
    command = typer.main.get_command(app)
    while hasattr(command, "commands"):
        name, *arguments = arguments
        command = command.commands[name]
    # Reads and checks the arguments, and runs nothing.
    command.make_context(name, arguments)


def test_the_commands_for_other_models_name_those_that_the_page_promises():
    for name in ("klue/bert-base", "kobert", "kcbert", "koelectra", "bert-base-uncased", "roberta-base", "albert-base"):
        assert name in OTHER_MODELS
