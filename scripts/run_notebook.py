"""Runs ``docs/notebook.ipynb`` from its first cell to its last, and writes the page of the site that shows what came.

The page is ``docs/notebook.md``, its pictures ``docs/notebook/``. It has figures of speed: run it on an idle machine.
"""

from __future__ import annotations

import base64
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from trident_server.ports import free_ports

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOK = ROOT / "docs" / "notebook.ipynb"
PAGE, PICTURES = NOTEBOOK.with_suffix(".md"), NOTEBOOK.with_suffix("")
#: Of a server as it is in the notebook, by the variable that chooses another.
PORTS = {
    "TRIDENT_PORT": "8000",
    "TRIDENT_HTTP_PORT": "8010",
    "TRIDENT_GRPC_PORT": "8011",
    "TRIDENT_METRICS_PORT": "8012",
}
#: What a terminal takes as a command: colours, and places to write to.
ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
#: To the line above, to write it anew.
UP = re.compile(r"\x1b\[\d*A")
MOST_SECONDS = 900


def execute(folder: Path) -> Any:
    """Run the notebook in an empty folder, beside the sources of the models that it starts from.

    Args:
        folder: where it runs, and leaves what it makes.

    Returns:
        The notebook with what each cell put out.

    Raises:
        nbclient.exceptions.CellExecutionError: a cell failed.
    """
    listed = subprocess.run(
        ["git", "ls-files", "-z", "model_repository"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    for name in filter(None, listed.split("\0")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, folder / name)
    # Others may serve here.
    ports = dict(zip(PORTS, map(str, free_ports(len(PORTS))), strict=True))
    notebook = _with_ports(nbformat.read(NOTEBOOK, 4), {PORTS[name]: port for name, port in ports.items()})
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    # Of commands that draw bars for a terminal, the last line is wanted; of Jupyter, that it draws into the page.
    settings = {**os.environ, **ports, "PATH": path, "TERM": "dumb", "NO_COLOR": "1"}
    settings.pop("MPLBACKEND", None)
    client = NotebookClient(
        notebook, timeout=MOST_SECONDS, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
    )
    return _with_ports(client.execute(env=settings), {port: PORTS[name] for name, port in ports.items()})


def _with_ports(notebook: Any, others: Mapping[str, str]) -> Any:
    text = nbformat.writes(notebook)
    for port, other in others.items():
        text = re.sub(rf"(?<=\d:){port}\b", other, text)
    return nbformat.reads(text, 4)


def render(notebook: Any) -> tuple[str, dict[str, bytes]]:
    """Return an executed notebook as Markdown, and its pictures by their files' names."""
    parts, pictures = ["<!-- Written by scripts/run_notebook.py from notebook.ipynb. -->"], {}
    for number, cell in enumerate(notebook.cells):
        if cell.cell_type == "markdown":
            parts.append(cell.source)
            continue
        parts.append(f"```python\n{cell.source}\n```")
        if said := plain("".join(output.text for output in cell.outputs if output.output_type == "stream")):
            parts.append(f"```text\n{said}\n```")
        for output in cell.outputs:
            data = output.get("data", {})
            if "image/png" in data:
                name = f"{number}.png"
                pictures[name] = base64.b64decode(data["image/png"])
                parts.append(f"![What the cell above draws]({PICTURES.name}/{name})")
            elif "text/markdown" in data:
                parts.append(data["text/markdown"])
            elif "text/plain" in data:
                parts.append(f"```text\n{data['text/plain']}\n```")
    return "\n\n".join(part.strip("\n") for part in parts) + "\n", pictures


def plain(text: str) -> str:
    """Return what a terminal would show in the end: no colours, and of a line that is written anew the last state."""
    kept: list[str] = []
    for line in text.replace("\r\n", "\n").split("\n"):
        if above := len(UP.findall(line)):
            del kept[-above:]
        kept.append(ESCAPE.sub("", line).rpartition("\r")[2].rstrip())
    return "\n".join(line for line in kept if line)


def main() -> None:
    """Run the notebook, and write the page."""
    with tempfile.TemporaryDirectory() as folder:
        text, pictures = render(execute(Path(folder)))
    shutil.rmtree(PICTURES, ignore_errors=True)
    PICTURES.mkdir()
    PAGE.write_text(text, "utf-8")
    for name, picture in pictures.items():
        (PICTURES / name).write_bytes(picture)


if __name__ == "__main__":
    main()
