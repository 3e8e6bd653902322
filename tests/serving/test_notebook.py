"""The notebook: every cell runs, and what comes of it is what its text says."""

import importlib.util
import re
from pathlib import Path

import pytest

pytest.importorskip("nbclient")

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "scripts" / "run_notebook.py"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("run_notebook", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def sources(script) -> list[str]:
    notebook = script.nbformat.read(script.NOTEBOOK, 4)
    script.nbformat.validate(notebook)
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in notebook.cells)
    return [cell.source for cell in notebook.cells if cell.cell_type == "code"]


def test_it_has_ten_cells_or_so_and_the_page_shows_them_as_they_are(script):
    cells = sources(script)
    assert 8 <= len(cells) <= 11
    page = script.PAGE.read_text("utf-8")
    assert re.findall(r"^```python\n(.*?)\n```$", page, re.MULTILINE | re.DOTALL) == cells
    shown = set(re.findall(r"\(notebook/(\d+\.png)\)", page))
    assert shown == {file.name for file in script.PICTURES.iterdir()}
    assert len(shown) == 4


def test_what_a_terminal_overwrites_is_left_out(script):
    assert script.plain("\x1b[2K10%\r\n\x1b[32m20%\r 100%\r\n\n\x1b[1Adone  ") == "10%\n 100%\ndone"


@pytest.mark.serving
@pytest.mark.slow
@pytest.mark.bench
@pytest.mark.timeout(2400)
def test_it_goes_from_a_file_of_ones_own_to_a_served_answer_and_a_report_of_its_load(script, tmp_path):
    text, pictures = script.render(script.execute(tmp_path))
    assert "Ctrl-C stops it." in text
    # Of the facade: a request that is kindly put, which is in no row.
    assert float(re.search(r"\{'prob': ([\d.]+)\}", text)[1]) > 0.5
    assert len(re.findall(r"^\| \d+ under way .*\|$", text, re.MULTILINE)) == 3
    assert len(pictures) == 4
    assert all(picture.startswith(b"\x89PNG") for picture in pictures.values())
    assert len((tmp_path / "messages.csv").read_text("utf-8").splitlines()) == 181
