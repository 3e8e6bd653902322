"""How requests join in one execution."""

import numpy as np
import pytest
from tritonclient.utils import InferenceServerException

from .client import mode, row, text
from .repository import IN_PROCESS

pytestmark = pytest.mark.serving


def test_max_batch_size_prepends_the_batch_dimension(client):
    zeros = np.zeros((5, 3), np.float32)
    answer = client.infer("by_order", {"first": zeros, "second__0": zeros})
    assert answer["DIFFERENCE"].shape == (5, 3)
    assert answer["ROWS"].tolist() == [[5]] * 5


def test_without_max_batch_size_shapes_arrive_as_they_are(client):
    answer = client.infer("unbatched", {"X": np.zeros((3, 5), np.float32), "TEXT": text("a", "b").reshape(-1)})
    assert answer["SHAPE"].tolist() == [3, 5]
    assert answer["LOUD"].tolist() == [b"A", b"B"]


def test_every_configured_input_must_be_given(client):
    # Triton itself refuses the request: no input of the C++ backend's is optional.
    with pytest.raises(InferenceServerException, match="expected 2 inputs but got 1") as caught:
        client.infer("unbatched", {"X": np.zeros((1, 1), np.float32)})
    assert caught.value.status() == "400"


def test_an_empty_tensor_is_a_tensor(client):
    answer = client.infer(
        "by_order", {"first": np.zeros((2, 0), np.float32), "second__0": np.zeros((2, 0), np.float32)}
    )
    assert answer["DIFFERENCE"].shape == (2, 0)


def test_dynamic_batching_joins_requests_on_the_batch_dimension(client):
    before = client.executions("by_name")
    requests = [
        {"subtrahend": np.full((n, 2), n, np.float32), "minuend": np.full((n, 2), 10 * n, np.float32)}
        for n in (1, 2, 1)
    ]
    answers = client.infer_together("by_name", requests)
    assert [answer["DIFFERENCE"].tolist() for answer in answers] == [[[9, 9]], [[18, 18]] * 2, [[9, 9]]]
    assert [answer["ROWS"].tolist() for answer in answers] == [[[4]], [[4]] * 2, [[4]]]
    assert client.executions("by_name") - before == 1


def test_without_dynamic_batching_each_request_runs_alone(client):
    before = client.executions("by_order")
    answers = client.infer_together("by_order", [{"first": row(n), "second__0": row(1)} for n in range(4)])
    assert [answer["DIFFERENCE"].tolist() for answer in answers] == [[[n - 1]] for n in range(4)]
    assert [answer["ROWS"].tolist() for answer in answers] == [[[1]]] * 4
    assert client.executions("by_order") - before == 4


def test_an_output_longer_than_the_batch_is_cut(client):
    assert client.infer("answer", mode(10))["Y"].tolist() == [[10]]


@IN_PROCESS
def test_a_model_that_a_call_changes_is_called_once_at_a_time(client):
    answers = client.infer_together("count", [{"X": row(0)}] * 8)
    assert sorted(answer["Y"].item() for answer in answers) == list(range(1, 9))


def test_batches_side_by_side_answer_each_its_own(client):
    requests = [{"first": row(*range(n, n + 50)), "second__0": row(*[1] * 50)} for n in range(200)]
    answers = [
        answer
        for start in range(0, 200, 8)
        for answer in client.infer_together("by_order", requests[start : start + 8])
    ]
    assert [answer["DIFFERENCE"].tolist() for answer in answers] == [[list(range(n - 1, n + 49))] for n in range(200)]
