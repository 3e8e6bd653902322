"""The page on adding a task: its blocks on serving one run as they stand, and answer as it says."""

import json

import numpy as np
from fastapi.testclient import TestClient
from task_page import blocks, span
from trident_api.app import create_app
from trident_api.settings import ApiSettings
from trident_client import AsyncFakeTransport, AsyncTridentClient, FakeTransport, TridentClient, contract


def answer(request):
    lengths = np.array([[len(each)] for each in request.inputs["BODY"][:, 0]], np.float32)
    return {"LENGTH": lengths, "CUT": np.int32(lengths > 500)}


def test_a_task_that_is_described_as_the_page_does_is_answered_as_it_says():
    (description,), (body,) = blocks(__file__, "python"), blocks(__file__, "json")
    configurations = {"toy": {"parameters": {"task": {"string_value": "toy"}}}}
    transport = AsyncFakeTransport(answer, configurations=configurations)
    with contract.registered():
        exec(description, {})
        assert contract.TASKS["toy"].main.items == "articles"
        app = create_app(ApiSettings(), lambda settings: AsyncTridentClient(transport=transport))
        with TestClient(app) as api:
            answered = api.post("/predict/toy", json=json.loads(body)).json()
        assert answered == json.loads(span('{"results": '))
        with TridentClient(transport=FakeTransport(answer)) as client:
            predicted = eval(span("client.predict("), {"client": client})
            streamed = list(client.stream_predictions("toy", [("a title", "a body")]))
        assert predicted == streamed == answered["results"]
    assert "toy" not in contract.TASKS
