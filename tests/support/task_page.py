"""The blocks of the page on adding a task, for the tests that run them."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "add-a-task.md").read_text("utf-8")
ROOT = Path(__file__).resolve().parents[2]


def blocks(test: str, language: str) -> list[str]:
    """Return the blocks in a language that a test is named to hold, as they stand in its file's path below the root."""
    name = Path(test).resolve().relative_to(ROOT).as_posix()
    found = re.findall(rf"^ *<!-- tested by {name} -->\n *```{language}\n(.*?)^ *```$", PAGE, re.MULTILINE | re.DOTALL)
    return [textwrap.dedent(each) for each in found]


def span(start: str) -> str:
    """Return the code in the page's text that begins so, in one line."""
    (found,) = re.findall(rf"`({re.escape(start)}[^`]*)`", PAGE)
    return " ".join(found.split())
