"""A task that no file of the project names: registered, and asked through the client and the facade."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from fastapi.testclient import TestClient
from trident_api.app import create_app
from trident_api.settings import ApiSettings
from trident_client import AsyncFakeTransport, AsyncTridentClient, BadInputError, FakeTransport, TridentClient, contract
from trident_client.contract import Ensemble, Output, TaskSpec, TextInput

TOY = TaskSpec(
    name="toy",
    ensembles=(
        Ensemble(
            name="toy",
            inputs=(TextInput("TITLE", "title", ("headline",), max_bytes=20), TextInput("BODY", "body")),
            outputs=(Output("LENGTH", "FP32", "length"), Output("VECTOR", "FP32", "vector"), Output("CUT", "INT32")),
            truncations=("CUT",),
            items="articles",
            max_items=3,
        ),
    ),
    network="scorer",
    network_output="LENGTH",
    parts=("tokenizer", "scorer"),
    metrics=("accuracy",),
)
CONFIGURATIONS = {"toy": {"parameters": {"task": {"string_value": "toy"}}}}


def answer(request):
    bodies = request.inputs["BODY"][:, 0]
    lengths = np.array([[len(each)] for each in bodies], np.float32)
    vectors = np.repeat(lengths, 2, axis=1)
    return {"LENGTH": lengths, "VECTOR": vectors, "CUT": np.int32(lengths > 500)}


@pytest.fixture(autouse=True)
def registered() -> Iterator[None]:
    with contract.registered(TOY):
        yield


@pytest.fixture
def api() -> Iterator[TestClient]:
    transport = AsyncFakeTransport(answer, configurations=CONFIGURATIONS)
    app = create_app(ApiSettings(), lambda settings: AsyncTridentClient(transport=transport))
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


def test_the_client_asks_it_by_name():
    transport = FakeTransport(answer)
    with TridentClient(transport=transport) as client:
        first, second = client.predict("toy", [("a", "bcd"), ("e", "fg")])
        streamed = list(client.stream_predictions("toy", [("a", "bcd"), ("", "b")], on_bad_item=lambda *told: None))

    assert (first["length"], first["vector"].tolist()) == (3, [3, 3])
    assert second["length"] == 2
    assert transport.requests[0].model == "toy"
    assert [sorted(each) for each in streamed] == [["length", "vector"], []]


def test_its_limits_are_the_contracts_and_the_error_has_fields():
    with TridentClient(transport=FakeTransport(answer)) as client, pytest.raises(BadInputError) as caught:
        client.predict("toy", [("a", "b"), ("x" * 21, "b")])

    assert (caught.value.index, caught.value.field) == (1, "title")
    assert caught.value.reason == "has 21 bytes; at most 20 are accepted"
    assert str(caught.value) == "titles[1] has 21 bytes; at most 20 are accepted"


def test_the_facade_answers_it(api: TestClient):
    items = [{"title": "a", "body": "bcd"}, {"headline": "e", "body": "x" * 501}]
    response = api.post("/predict/toy", json={"items": items})

    assert response.status_code == 200
    assert response.json() == {
        "results": [{"length": 3.0, "vector": [3.0, 3.0]}, {"length": 501.0, "vector": [501.0, 501.0]}]
    }
    assert response.headers["x-truncated"] == "true"


@pytest.mark.parametrize(
    ("items", "field"),
    [
        ([{"title": "a", "body": "b"}, {"title": "x" * 21, "body": "b"}], "items.1.title"),
        ([{"title": "a", "body": "b"}, {"title": "a"}], "items.1"),
        (["a"], "items.0"),
        ([{"title": "a", "body": "b"}] * 4, "items"),
    ],
)
def test_the_facade_names_what_is_bad(api: TestClient, items: list[object], field: str):
    response = api.post("/predict/toy", json={"items": items})

    assert response.status_code == 422
    assert [each["field"] for each in response.json()["errors"]] == [field]


def test_a_task_that_nobody_registered_is_not_found(api: TestClient):
    response = api.post("/predict/other", json={"items": ["a"]})

    assert response.status_code == 404
    assert "there are cola, sts, embed, qa, classify, rerank, toy" in response.json()["detail"]
