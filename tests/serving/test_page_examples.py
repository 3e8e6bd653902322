"""What the page shows before anything is typed, asked of the real models: its examples come out right."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import trident_api
from trident_api.endpoints import QUESTIONS

pytestmark = pytest.mark.serving


@pytest.fixture(scope="module")
def page_examples():
    """What stands in the page's fields at first, by language and field."""
    words = Path(trident_api.__file__).parent.joinpath("static", "i18n.js").read_text("utf-8")
    block = words.partition("const EXAMPLES = ")[2].partition(";\n")[0]
    return json.loads(re.sub(r",(\s*\})", r"\1", re.sub(r"^  (\w+):", r'  "\1":', block, flags=re.MULTILINE)))


def test_the_pages_examples_of_grammar_come_out_right(client, page_examples):
    sentences = page_examples["en"]["acceptability-text"].split("\n")
    assert [probability > 0.5 for probability in client.acceptability(sentences)] == [True, False, True, False]


@pytest.mark.parametrize(("language", "model"), [("en", "sts"), ("ko", "sts_ko")])
def test_of_the_pages_examples_those_of_like_meaning_are_similar(client, page_examples, language, model):
    embeddings = client.embed(page_examples[language]["similarity-text"].split("\n"), model=model)
    (info,) = (each for each in client.models() if each.name == model)
    alike = np.kron(np.eye(2), np.ones((2, 2))).astype(bool)
    np.testing.assert_array_equal(embeddings @ embeddings.T >= info.threshold, alike)


@pytest.mark.parametrize(("language", "model", "answer"), [("en", "qa", "Black Forest"), ("ko", "qa_ko", "검룡소")])
def test_the_pages_example_of_a_question_is_answered(client, page_examples, language, model, answer):
    texts = page_examples[language]
    (found,) = client.answer(texts["question-text"], texts["question-context"], model=model)
    assert answer in found.answer


def test_of_the_pages_examples_that_which_answers_is_first(client, page_examples):
    texts = page_examples["en"]
    first, *_ = client.rerank(texts["ranking-query"], texts["ranking-texts"].split("\n"))
    assert "Black Forest" in texts["ranking-texts"].split("\n")[first.index]


def test_the_documentations_example_in_korean_is_answered(client):
    asked = QUESTIONS["one in Korean"]["value"]
    (found,) = client.answer(asked["question"], asked["context"], model=asked["model"])
    assert found.answer.endswith("검룡소")
