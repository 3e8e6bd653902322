"""The cross-encoder that is shipped: it answers what names no model, in every form."""

import json

import numpy as np
import pytest
from fastapi.testclient import TestClient
from trident_api.app import create_app
from trident_api.settings import ApiSettings
from trident_client import TridentClient
from trident_client.cli.app import app
from typer.testing import CliRunner

pytestmark = pytest.mark.serving

QUERIES = {
    "Where does the Danube rise?": "The Danube rises in the Black Forest in Germany.",
    "Who wrote the opera Aida?": "Aida was composed by Giuseppe Verdi and first performed in Cairo in 1871.",
    "What do bees make from nectar?": "Bees turn the nectar of flowers into honey, which they store in combs.",
}
TEXTS = [
    *QUERIES.values(),
    "The Rhine is a river that rises in Switzerland.",
    "The opera house of Cairo burned down in 1971.",
    "Nectar is what many flowers offer to insects.",
]


@pytest.fixture(scope="module")
def api(triton):
    settings = ApiSettings(triton_url=triton.http_url, triton_grpc_url=triton.grpc_url)
    with TestClient(create_app(settings)) as api:
        yield api


@pytest.mark.parametrize("query", QUERIES)
def test_what_answers_is_first_among_what_is_about_the_same(client: TridentClient, query: str) -> None:
    ranked = client.rerank(query, TEXTS)
    assert sorted(each.index for each in ranked) == list(range(len(TEXTS)))
    assert TEXTS[ranked[0].index] == QUERIES[query]
    assert 1 >= ranked[0].score > ranked[-1].score >= 0


def test_every_form_has_its_scores_where_no_model_is_named(client: TridentClient, api, triton) -> None:
    query, *_ = QUERIES
    expected = [each.score for each in sorted(client.rerank(query, TEXTS), key=lambda each: each.index)]
    found = {
        "/rerank": api.post("/rerank", json={"query": query, "texts": TEXTS}).json(),
        **{
            path: api.post(path, json={"query": query, "documents": TEXTS}).json()["results"]
            for path in ("/v1/rerank", "/v2/rerank")
        },
    }
    for path, answer in found.items():
        scores = {each["index"]: each.get("score", each.get("relevance_score")) for each in answer}
        np.testing.assert_allclose([scores[place] for place in range(len(TEXTS))], expected, atol=0.02, err_msg=path)
    asked = {"query": query, "documents": TEXTS}
    answered = [api.post("/v2/rerank", json=asked | named).json()["model"] for named in ({}, {"model": "sts"})]
    assert answered == ["rerank", "sts"]
    done = CliRunner().invoke(app, ["rerank", query, *TEXTS, "--top-n", "1", "--url", triton.http_url])
    assert json.loads(done.stdout)["text"] == QUERIES[query]


def test_query_and_text_have_256_tokens_together(client: TridentClient, api) -> None:
    (info,) = (each for each in client.models() if each.name == "rerank")
    assert (info.task, info.languages, info.max_tokens) == ("rerank", ("en",), 256)
    query, text = next(iter(QUERIES.items()))
    # About 230 tokens of text are read whole, as 128 would not be; of 300 an end is lost.
    for words, cut in (220, False), (300, True):
        answer = api.post("/rerank", json={"query": query, "texts": [f"{text} {'word ' * words}"]})
        assert (answer.status_code, answer.headers.get("x-truncated")) == (200, "true" if cut else None)
