"""The page and the documentation as files: complete, and nothing in them points elsewhere."""

import re

import pytest
from trident_api.pages import STATIC
from trident_client import contract

NAMESPACE = "http://www.w3.org/2000/svg"
LINK = re.compile(r'(?:href|src)="([^"#]+)"')
IMPORT = re.compile(r'from "\./([^"]+)"')


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_a_page_may_load_nothing_from_elsewhere(api, path):
    answer = api.get(path)
    assert answer.headers["content-type"].startswith("text/html")
    assert "default-src 'self'" in answer.headers["content-security-policy"]
    links = LINK.findall(answer.text)
    assert links
    for link in links:
        assert api.get(f"/{link}").status_code == 200, link


@pytest.mark.parametrize("file", sorted(path.name for path in STATIC.iterdir()))
def test_a_file_names_no_other_server_and_imports_what_there_is(api, file):
    text = (STATIC / file).read_text("utf-8").replace(NAMESPACE, "")
    assert "://" not in text
    assert api.get(f"/static/{file}").text.replace(NAMESPACE, "") == text
    for name in IMPORT.findall(text):
        assert "javascript" in api.get(f"/static/{name}").headers["content-type"]


def test_every_word_of_the_page_is_there_in_both_languages():
    source = (STATIC / "i18n.js").read_text("utf-8")
    english, korean = re.search(r"const WORDS = \{\s*en: \{(.*?)\n  \},\s*ko: \{(.*?)\n  \},", source, re.S).groups()
    words = [set(re.findall(r'(\w+): "', each)) for each in (english, korean)]
    assert words[0] == words[1]
    used = set(re.findall(r'data-(?:text|label)="(\w+)"', (STATIC / "index.html").read_text("utf-8")))
    for script in STATIC.glob("*.js"):
        used |= set(re.findall(r'word\("(\w+)"\)', script.read_text("utf-8")))
    assert used <= words[0]
    # Used by the name that the server's state has.
    assert words[0] - used <= {"ready", "loading", "away", "acceptable", "unacceptable"}


def test_the_page_has_the_contracts_thresholds_and_no_others():
    main, tasks = ((STATIC / name).read_text("utf-8") for name in ("main.js", "tasks.js"))
    (told,) = re.findall(r"const THRESHOLDS = \{ (.*?) \};", main)
    found = {name: float(value) for name, value in re.findall(r"(\w+): ([\d.]+)", told)}
    assert found == {name: task.threshold for name, task in contract.TASKS.items() if task.threshold is not None}
    assert not re.search(r">= 0\.", main + tasks)


def test_the_page_answers_head(api):
    assert api.head("/").status_code == 200
