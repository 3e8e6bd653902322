"""Classifiers and cross-encoders, asked through the client."""

import json

import numpy as np
import pytest
from trident_client import (
    BadInputError,
    FakeTransport,
    Label,
    NotReadyError,
    Ranked,
    Request,
    TridentClient,
    TruncationWarning,
)

LABELS = ("short", "long", "파란")
CONFIGURATIONS = {
    "topics": {
        "parameters": {
            "task": {"string_value": "classify"},
            "labels": {"string_value": json.dumps(LABELS, ensure_ascii=False)},
            "threshold": {"string_value": "0.5"},
        }
    },
    "sts": {"parameters": {"task": {"string_value": "sts"}}},
}


def answer(request: Request) -> dict[str, np.ndarray]:
    """Score the labels by the first text's length, that of the second, and a constant; logits are ten times as much."""
    first = request.inputs["TEXT"][:, 0]
    second = request.inputs["TEXT_2"][:, 0] if "TEXT_2" in request.inputs else [b""] * len(first)
    scores = np.array([[len(one) / 100, len(other) / 100, 0.05] for one, other in zip(first, second, strict=True)])
    if request.model == "rerank":
        scores = scores[:, 1:2]
    scores = np.float32(scores)
    cut = np.int32([[len(one) > 50] for one in first])
    made = {"SCORES": scores, "LOGITS": 10 * scores, "TRUNCATED_TOKENS": cut, "UNKNOWN_TOKENS": 0 * cut}
    return {name: made[name] for name in request.outputs}


@pytest.fixture
def transport() -> FakeTransport:
    return FakeTransport(answer, configurations=CONFIGURATIONS)


@pytest.fixture
def client(transport: FakeTransport):
    with TridentClient(transport=transport) as client:
        yield client


def test_texts_and_pairs_share_a_request_and_labels_come_best_first(client: TridentClient, transport: FakeTransport):
    one, other = client.classify(["x" * 30, ("x" * 10, "y" * 20)], model="topics")

    assert one == [Label("short", pytest.approx(0.3)), Label("파란", pytest.approx(0.05)), Label("long", 0)]
    assert [each.label for each in other] == ["long", "short", "파란"]
    (request,) = transport.requests
    assert request.inputs["TEXT_2"][:, 0].tolist() == [b"", b"y" * 20]
    client.classify(["x"], model="topics")
    # A request of single texts has no second one at all.
    assert set(transport.requests[-1].inputs) == {"TEXT"}


def test_raw_scores_are_asked_for_in_place_of_the_others(client: TridentClient, transport: FakeTransport):
    [[best, *_]] = client.classify(["x" * 30], model="topics", raw_scores=True)
    assert best == Label("short", pytest.approx(3.0))
    assert transport.requests[0].outputs == ("LOGITS", "TRUNCATED_TOKENS", "UNKNOWN_TOKENS")


def test_a_stream_classifies_and_says_which_texts_are_not_taken(client: TridentClient):
    bad, cut = {}, []
    found = list(
        client.stream_classifications(
            ["x", " ", "x" * 60], model="topics", on_bad_item=bad.__setitem__, on_truncation=cut.extend
        )
    )
    assert [each[:1] for each in found] == [[("파란", pytest.approx(0.05))], [], [("short", pytest.approx(0.6))]]
    assert list(bad) == [1]
    assert cut == [2]


def test_texts_are_put_in_order_for_a_query(client: TridentClient, transport: FakeTransport):
    texts = ["y" * 5, "y" * 20, "y" * 5]
    assert client.rerank("Which?", texts) == [
        Ranked(1, pytest.approx(0.2)), Ranked(0, pytest.approx(0.05)), Ranked(2, pytest.approx(0.05))
    ]  # fmt: skip
    # All of them in one batch.
    (request,) = transport.requests
    assert request.inputs["TEXT"][:, 0].tolist() == [b"Which?"] * 3
    assert client.rerank("Which?", texts, top_n=1, raw_scores=True) == [Ranked(1, pytest.approx(2.0))]
    assert client.rerank("Which?", []) == []


TRUNCATE_LEFT = "TRUNCATE_LEFT"


def test_what_is_too_long_loses_the_end_that_is_said_or_is_refused(client: TridentClient, transport: FakeTransport):
    long, pair = "x" * 60, ("x" * 60, "y")
    asked = (
        lambda way: client.classify([long, pair], model="topics", truncate=way),
        lambda way: list(client.stream_classifications([long, pair], model="topics", truncate=way)),
        lambda way: client.rerank(long, ["y", "z"], truncate=way),
        lambda way: client.predict("rerank", [pair, pair], truncate=way),
        lambda way: list(client.stream_predictions("classify", [long, pair], model="topics", truncate=way)),
    )
    for ask in asked:
        with pytest.warns(TruncationWarning):
            ask("left")
        assert transport.requests[-1].inputs[TRUNCATE_LEFT].tolist() == [[1], [1]]
        with pytest.warns(TruncationWarning):
            ask("right")
        assert TRUNCATE_LEFT not in transport.requests[-1].inputs
        with pytest.raises(BadInputError, match=r"(texts|pairs)\[0\] is longer than the model takes"):
            ask("error")


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda client: client.predict("qa", [("a", "b")], truncate="left"), "truncate must be right or error, got 'l"),
        (lambda client: client.classify(["a"], model="topics", truncate="no"), "truncate must be right, left, error"),
        (lambda client: client.classify("one text", model="topics"), "texts must be a list of str, got one str"),
        (lambda client: client.classify([("a", "b", "c")], model="topics"), r"texts\[0\] must be a text or two"),
        (lambda client: client.classify([3], model="topics"), r"texts\[0\] must be a text or two, got int"),
        (lambda client: client.classify([("a", " ")], model="topics"), r"second texts\[0\] is empty"),
        (lambda client: client.classify(["a"], model="sts"), "sts has no labels; a set of the task classify"),
        (lambda client: client.rerank("q", "one text"), "pairs must be a list of"),
        (lambda client: client.rerank("q", ["a", ""]), r"texts\[1\] is empty"),
        (lambda client: client.predict("rerank", ["a"]), r"pairs\[0\] must be a query and a text, got str"),
    ],
)
def test_what_is_not_taken_is_named(client: TridentClient, ask, message: str):
    with pytest.raises(BadInputError, match=message):
        ask(client)


def test_a_set_that_is_not_there_is_an_error_with_those_that_are(client: TridentClient):
    with pytest.raises(NotReadyError, match="served are: sts, topics"):
        client.classify(["a"])


def test_a_set_tells_its_labels(client: TridentClient):
    (topics,) = [each for each in client.models() if each.task == "classify"]
    assert (topics.labels, topics.threshold) == (LABELS, 0.5)
