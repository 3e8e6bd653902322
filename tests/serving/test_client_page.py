"""The client's page: its examples run, and it names all that is public."""

import doctest
import re
from pathlib import Path

import pytest
import trident_client
from trident_client.cli.failures import EXIT_CODES

pytestmark = pytest.mark.serving

PAGE = (Path(__file__).resolve().parents[2] / "client" / "README.md").read_text("utf-8")


def test_every_example_in_python_runs(triton):
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    text = "\n".join(blocks).replace("127.0.0.1:8010", triton.http_url).replace("127.0.0.1:8011", triton.grpc_url)
    test = doctest.DocTestParser().get_doctest(text, {}, "client/README.md", "client/README.md", 0)
    assert len(test.examples) > 40
    reported: list[str] = []
    doctest.DocTestRunner().run(test, out=reported.append)
    assert not reported, "".join(reported)


def test_the_page_names_all_that_is_public():
    missing = [name for name in trident_client.__all__ if not re.search(rf"\b{name}\b", PAGE)]
    assert not missing


def test_the_page_has_the_exit_codes_of_the_help():
    reported = dict(re.findall(r"^ +(\d+)  (.*)$", EXIT_CODES, re.MULTILINE))
    assert dict(re.findall(r"^\| (\d+) \| (.*) \|$", PAGE, re.MULTILINE)) == reported
