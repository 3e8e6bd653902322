"""Brings the pages that lie beside what they tell of into the site of ``docs/``; a hook of MkDocs.

In the repository their links lead to files, such as ``../client/README.md``: in the site they lead to its pages.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
#: Files of the repository beside ``docs/``, and what they are called in the site.
PAGES = {
    "client/README.md": "client.md",
    "bench/README.md": "bench.md",
    "docker/README.md": "containers.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "SECURITY.md": "security.md",
}
SOURCES = {page: source for source, page in PAGES.items()}
LINK = re.compile(r"\]\((?![a-z]+:|#)(?P<path>[^)\s#]+)")


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add the pages; MkDocs calls it when it has found those of ``docs/``."""
    for source, page in PAGES.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text("utf-8")))
    return files


def on_page_markdown(markdown: str, *, page: Page, **_: Any) -> str:
    """Lead a page's links to where the files that they name are in the site."""
    return linked(markdown, page.file.src_uri)


def linked(markdown: str, page: str) -> str:
    """Return a page's text with links as the site has them.

    Args:
        markdown: the text, whose links are relative to its file in the repository.
        page: its path in the site.
    """
    folder = posixpath.dirname(SOURCES.get(page, f"docs/{page}"))

    def lead(found: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(folder, found["path"]))
        target = PAGES.get(target, target.removeprefix("docs/"))
        return f"]({posixpath.relpath(target, posixpath.dirname(page) or '.')}"

    return LINK.sub(lead, markdown)
