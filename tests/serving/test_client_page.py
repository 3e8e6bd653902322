"""The client's pages: their examples run, and they name all that is public."""

import doctest
import re
from pathlib import Path

import pytest
import trident_client
from trident_client.cli.failures import EXIT_CODES

pytestmark = pytest.mark.serving

ROOT = Path(__file__).resolve().parents[2]
PAGES = ("client/README.md", "docs/client-in-programs.md")
TEXTS = {page: (ROOT / page).read_text("utf-8") for page in PAGES}
COMMAND_LINE = (ROOT / "docs" / "command-line.md").read_text("utf-8")


@pytest.mark.parametrize(("page", "least"), [(PAGES[0], 40), (PAGES[1], 15)])
def test_every_example_in_python_runs(triton, page, least):
    blocks = re.findall(r"^```python\n(.*?)^```$", TEXTS[page], re.MULTILINE | re.DOTALL)
    text = "\n".join(blocks).replace("127.0.0.1:8010", triton.http_url).replace("127.0.0.1:8011", triton.grpc_url)
    test = doctest.DocTestParser().get_doctest(text, {}, page, page, 0)
    assert len(test.examples) > least
    reported: list[str] = []
    doctest.DocTestRunner().run(test, out=reported.append)
    assert not reported, "".join(reported)


def test_the_pages_name_all_that_is_public():
    missing = [name for name in trident_client.__all__ if not re.search(rf"\b{name}\b", "".join(TEXTS.values()))]
    assert not missing


def test_the_page_has_the_exit_codes_of_the_help():
    reported = dict(re.findall(r"^ +(\d+)  (.*)$", EXIT_CODES, re.MULTILINE))
    assert dict(re.findall(r"^\| (\d+) \| (.*) \|$", COMMAND_LINE, re.MULTILINE)) == reported
