"""The site of ``docs/`` in a browser, opened as files: no server is there, and no network."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from playwright.sync_api import expect

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(find_spec("mkdocs") is None, reason="mkdocs is not installed"),
]

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", folder]
    subprocess.run(command, cwd=ROOT, env=os.environ | {"NO_MKDOCS_2_WARNING": "1"}, check=True, timeout=300)
    return folder


@pytest.mark.parametrize("page", ["index.html", "reference/client.html"])
def test_the_search_finds_pages_when_the_site_is_opened_as_a_file(browser, site, page):
    context = browser.new_context(locale="en-US")
    tab = context.new_page()
    foreign: list[str] = []
    errors: list[str] = []
    tab.on("request", lambda request: request.url.startswith("file:") or foreign.append(request.url))
    tab.on("pageerror", lambda error: errors.append(str(error)))
    tab.goto((site / page).as_uri())
    tab.locator(".md-search__input").first.click()
    tab.keyboard.type("ragged")
    # Not what the first letters found.
    found = tab.locator(".md-search-result__link[href*='understand.html?h=ragged']").first
    expect(found).to_be_visible()
    found.click()
    expect(tab.locator("h1").first).to_contain_text("Understand")
    context.close()
    assert [url for url in foreign if not url.startswith(("data:", "blob:"))] == []
    assert errors == []
