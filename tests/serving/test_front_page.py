"""The pages: their examples, taken from their texts, run against a real Triton and facade and answer as they say."""

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
from served_models import READY_SECONDS
from trident_server.facade import FacadeProcess
from trident_training.checkpoints.bundled import MADE
from trident_training.cli import app
from trident_training.models import SHIPPED

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "README.md").read_text("utf-8")
GUIDES = sorted((ROOT / "docs").glob("*.md"))
#: Pages beside what they tell of, whose code is marked likewise.
MARKED = [*GUIDES, ROOT / "bench" / "README.md", ROOT / "docker" / "README.md"]
#: Of a page's code: whether it is run here or is held to by another test; or, for its readers, what it needs.
MARKS = re.compile(r"<!-- (tested|tested by (?P<test>[\w/.]+)) -->|\*Needs (?P<need>.+)\.\*")
NEEDS = re.compile(r"\b(network|data|GPU|Docker|cluster)\b")
#: Commands that go to the network, or read what the reader has to bring.
FETCHES = re.compile(r"\b(pip install|hf download|make (serve|bench|images)|docker compose|kubectl apply)\b")
READS = re.compile(r"--data \S*(path/to|\.csv)")
OTHER_MODELS = (ROOT / "docs" / "other-models.md").read_text("utf-8")
#: Digits after which an answer may differ with the processor.
TOLERANCE = 0.1
SECONDS = 120


def blocks(marker: str, language: str, page: str = PAGE) -> list[str]:
    """Return the code blocks behind a marker."""
    return re.findall(rf"^<!-- {marker} -->\n```{language}\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)


#: A block of Python, and what it is told to print, if it is.
PRINTING = (
    r"^<!-- tested -->\n```python\n((?:(?!^```$).)*)^```$(?:\n\n<!-- tested -->\n```text\n((?:(?!^```$).)*)^```$)?"
)


def commands(block: str) -> list[tuple[str, str]]:
    """Return a block's commands, each with the answer that the comment below it promises; together where none does."""
    found = re.findall(r"^((?:[^#\n].*\n)+)(?:# (.*)\n)?", block, re.MULTILINE)
    return [(command.strip(), answer) for command, answer in found]


EXAMPLES = [each for block in blocks("tested", "sh") for each in commands(block)]
FURTHER = [
    pytest.param(command, "", id=f"{guide.stem}: {command[:40]}")
    for guide in GUIDES
    for block in blocks("tested", "sh", guide.read_text("utf-8"))
    for command, _ in commands(block)
]


@pytest.mark.parametrize("guide", MARKED, ids=[str(guide.relative_to(ROOT)) for guide in MARKED])
def test_all_code_of_a_guide_is_run_or_says_what_it_needs(guide):
    if guide.name == "notebook.md":
        pytest.skip("the notebook is run as a whole, by test_notebook.py")
    lines = [line.strip() for line in guide.read_text("utf-8").splitlines()]
    fences = [number for number, line in enumerate(lines) if line.startswith("```")]
    for opened, closed in zip(fences[::2], fences[1::2], strict=True):
        # A mark that a reader sees is a paragraph of its own.
        before = lines[opened - 1] or lines[opened - 2]
        mark = MARKS.fullmatch(before)
        assert mark, f"{guide.name}, line {opened + 1}: {before!r} says not how it is tested"
        if mark["test"]:
            assert (ROOT / mark["test"]).is_file()
        if mark["need"]:
            assert NEEDS.search(mark["need"]), before
            block = "\n".join(lines[opened:closed])
            assert not FETCHES.search(block) or re.search("network|cluster", mark["need"]), block
            assert not READS.search(block) or "data" in mark["need"], block


@pytest.fixture(scope="module")
def facade(triton, tmp_path_factory):
    with FacadeProcess(
        triton_url=triton.http_url,
        triton_grpc_url=triton.grpc_url,
        log_file=tmp_path_factory.mktemp("facade") / "facade.log",
        ready_timeout=READY_SECONDS,
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
    assert all(promised for _, promised in EXAMPLES)
    assert [command.split()[0] for command, _ in EXAMPLES] == ["curl", "trident"] * 3
    assert len(blocks("tested", "python")) == 3


#: For machines without curl: as much of it as the page uses.
CURL = """#!{python}
import argparse, httpx
parser = argparse.ArgumentParser()
parser.add_argument("-s", action="store_true")
parser.add_argument("-H", action="append", default=[])
parser.add_argument("-d")
parser.add_argument("-F")
parser.add_argument("url")
given = parser.parse_args()
headers = dict(each.split(": ", 1) for each in given.H)
if given.F:
    name, _, file = given.F.partition("=@")
    body = {{"files": {{name: (file, open(file, "rb"))}}}}
else:
    body = {{"content": given.d.encode()}}
print(httpx.post(f"http://{{given.url}}", headers=headers, timeout=60, **body).text)
"""


@pytest.fixture(scope="module")
def path(tmp_path_factory) -> str:
    """PATH with a curl on it, the machine's own before the stand-in."""
    folder = tmp_path_factory.mktemp("bin")
    (folder / "curl").write_text(CURL.format(python=sys.executable))
    (folder / "curl").chmod(0o755)
    return f"{os.environ['PATH']}:{folder}"


#: What the examples read.
PAIRS = "sentence_1,sentence_2\nA man plays.,Someone plays.\nCats sleep.,Dogs bark.\n"
SAMPLE = {"results": [{"idx": 0, "sentence1": "A man plays.", "sentence2": "Someone plays."}]}


def run(command, triton, facade, path, folder) -> str:
    """Run commands of a page as if they stood in a shell of somebody who is in this folder; return what they print."""
    line = command.replace("localhost:8000", facade.url.removeprefix("http://"))
    client = f"{shlex.quote(sys.executable)} -m trident_client"
    line = re.sub(r"^trident (\w+)", rf"{client} \1 --url {triton.http_url}", line, flags=re.MULTILINE)
    (folder / "pairs.csv").write_text(PAIRS)
    (folder / "sample_data.json").write_text(json.dumps(SAMPLE))
    done = subprocess.run(
        ["bash", "-ec", line],
        env=os.environ | {"PYTHONPATH": str(ROOT / "client"), "no_proxy": "*", "PATH": path},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
        stdin=subprocess.DEVNULL,
        cwd=folder,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.serving
@pytest.mark.parametrize(("command", "promised"), EXAMPLES, ids=[each.partition("{")[0][:40] for each, _ in EXAMPLES])
def test_every_example_of_the_shell_answers_as_the_page_says(triton, facade, path, tmp_path, command, promised):
    said = run(command, triton, facade, path, tmp_path)
    assert close(json.loads(said), json.loads(promised)), said


@pytest.mark.serving
@pytest.mark.parametrize(("command", "promised"), FURTHER)
def test_every_example_of_a_guide_runs(triton, facade, path, tmp_path, command, promised):
    said = run(command, triton, facade, path, tmp_path)
    assert said
    # The facade's refusals are no failures of curl's.
    assert '"status":4' not in said.replace(" ", "")
    if "scored.csv" in command:
        assert len((tmp_path / "scored.csv").read_text().splitlines()) == 3
    if "scored.parquet" in command:
        assert (tmp_path / "scored.parquet").stat().st_size > 0


@pytest.mark.serving
def test_the_examples_in_python_run(triton):
    text = "\n".join(blocks("tested", "python")).replace("127.0.0.1:8010", triton.http_url)
    test = doctest.DocTestParser().get_doctest(text, {}, "README.md", "README.md", 0)
    assert len(test.examples) == 8
    told: list[str] = []
    doctest.DocTestRunner().run(test, out=told.append)
    assert not told, "".join(told)


@pytest.mark.serving
@pytest.mark.parametrize("guide", [guide for guide in GUIDES if blocks("tested", "python", guide.read_text("utf-8"))])
def test_the_examples_in_python_of_a_guide_run(triton, guide, capsys):
    text = guide.read_text("utf-8")
    for block, told in re.findall(PRINTING, text, re.MULTILINE | re.DOTALL):
        exec(block.replace("127.0.0.1:8010", triton.http_url), {})
        said = capsys.readouterr().out
        assert not told or said == told
    # What is told to be printed stands behind what prints it.
    assert len(blocks("tested", "text", text)) == sum(bool(told) for _, told in re.findall(PRINTING, text, re.M | re.S))


def test_what_the_recipes_print_stands_below_them():
    recipes = (ROOT / "docs" / "recipes.md").read_text("utf-8")
    assert all(told for _, told in re.findall(PRINTING, recipes, re.MULTILINE | re.DOTALL))


LANGUAGES = {"en": "English", "ko": "Korean"}


def test_each_shipped_set_has_a_row_with_the_figures_that_its_model_tells_of_itself():
    found = re.findall(
        r"^\| `(\w+)` \| (\w+) \| `([\w-]+)`, .* \| .* \| ([\d., ]+) \| (?:[\d,]+(?: windows| pairs)?|–) \|$",
        PAGE,
        re.M,
    )
    rows = {name: row for name, *row in found}
    assert rows.keys() == SHIPPED.keys()
    assert len(found) == len(rows)
    for name, (language, encoder, figures) in rows.items():
        recipe = SHIPPED[name]
        facts = recipe.facts()
        assert language == " and ".join(LANGUAGES[each] for each in facts["languages"].split(","))
        assert encoder == (recipe.checkpoint if recipe.checkpoint in MADE else "small")
        for figure in figures.split(", "):
            # Told by the run that trained them; the page has them through Triton.
            told = facts["metrics"].values()
            assert any(math.isclose(metric, float(figure), rel_tol=0.005) for metric in told), (name, figure)


def test_the_page_of_measures_has_the_same_rows():
    rows = re.findall(r"^\| `\w+` \| \w+ \| `.*$", PAGE, re.MULTILINE)
    assert rows == re.findall(
        r"^\| `\w+` \| \w+ \| `.*$", (ROOT / "docs" / "measured.md").read_text("utf-8"), re.MULTILINE
    )


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
