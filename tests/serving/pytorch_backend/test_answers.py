"""What ``forward`` may return, of which types, and what becomes of the rest."""

import numpy as np
import pytest
from tritonclient.utils import InferenceServerException

from .client import mode, row, text
from .repository import TYPES

pytestmark = pytest.mark.serving


@pytest.mark.parametrize("number", [0, 9], ids=["tuple", "tensor"])
def test_a_tensor_or_flat_tuple_of_tensors_is_an_answer(client, number):
    assert client.infer("answer", mode(number))["Y"].tolist() == [[number]]


def test_a_tensor_that_is_not_contiguous_is_answered_right(client):
    number = np.array([[11], [5], [7]], dtype=np.int32)
    assert client.infer("answer", {"MODE": number})["Y"].tolist() == [[11], [5], [7]]


def test_text_goes_in_and_out_as_a_list_of_str(client):
    texts = ["straße", "고양이 a\0b", "", "🙂 e\u0301", "x" * 100_000]
    answer = client.infer("unbatched", {"X": np.zeros((1, 1), np.float32), "TEXT": text(*texts).reshape(-1)})
    assert [each.decode() for each in answer["LOUD"]] == [each.upper().replace("STRASSE", "STRAßE") for each in texts]


def test_text_is_joined_and_split_over_requests(client):
    before = client.executions("text")
    answers = client.infer_together("text", [{"TEXT": text("a")}, {"TEXT": text("b", "c")}, {"TEXT": text("d")}])
    assert [answer["LOUD"].tolist() for answer in answers] == [[[b"a!"]], [[b"b!"], [b"c!"]], [[b"d!"]]]
    assert client.executions("text") - before == 1


def test_text_that_is_not_utf8_fails_its_request_and_no_other_of_the_batch(client):
    before = client.executions("text")
    good, bad, other = client.infer_together(
        "text", [{"TEXT": text("a")}, {"TEXT": text(b"\xff\xfe", "b")}, {"TEXT": text("c")}]
    )
    assert (good["LOUD"].tolist(), other["LOUD"].tolist()) == ([[b"a!"]], [[b"c!"]])
    assert (bad.status(), "input 'TEXT' must be UTF-8" in bad.message()) == ("400", True)
    assert client.executions("text") - before == 1


@pytest.mark.parametrize(
    ("number", "status", "says"),
    [
        (1, "400", "output 'Y' is a scalar"),
        (2, "400", "configured TYPE_FP32, but forward returned torch.float64"),
        (8, "400", "configured TYPE_FP32, but forward returned text"),
        (3, "501", "output 'Y' has 0 rows where the batch needs 1"),
        (4, "500", "mode four"),
        (5, "500", "a flat tuple of those, not one with a dict"),
        (6, "500", "a flat tuple of those, not one with a tuple"),
        (7, "500", "a flat tuple of those, not one with a list"),
    ],
    ids=["scalar", "wrong type", "text", "short", "exception", "dict", "nested tuple", "list of tensors"],
)
def test_what_forward_may_not_return_is_an_error_and_the_server_lives_on(client, number, status, says):
    with pytest.raises(InferenceServerException, match=says) as caught:
        client.infer("answer", mode(number))
    assert caught.value.status() == status
    assert client.infer("answer", mode(9))["Y"].tolist() == [[9]]


def test_an_exception_is_an_error_for_its_whole_batch_and_for_no_other(client):
    both = client.infer_together("by_name", [{"subtrahend": row(1), "minuend": row(1, 2, 3)}] * 2)
    assert [answer["DIFFERENCE"].shape for answer in both] == [(1, 3)] * 2
    failed = client.infer_together("by_name", [{"subtrahend": row(1, 2), "minuend": row(1, 2, 3)}] * 2)
    assert [(error.status(), "must match the size" in error.message()) for error in failed] == [("500", True)] * 2
    assert client.infer("by_name", {"subtrahend": row(1), "minuend": row(2)})["DIFFERENCE"].tolist() == [[1]]


def test_every_type_that_can_be_configured_arrives_and_returns_unchanged(client):
    kinds = [np.bool_, np.uint8, np.int8, np.int16, np.int32, np.int64, np.float16, np.float32, np.float64]
    inputs = {
        f"{name}__{place}": np.array([[0, 1]], dtype=kind) if kind is np.bool_ else _extremes(kind)
        for place, (name, kind) in enumerate(zip(TYPES, kinds, strict=True))
    }
    answer = client.infer("types", inputs)
    for name, array in inputs.items():
        same = answer[f"SAME_{name}"]
        assert same.dtype == array.dtype
        assert same.tolist() == array.tolist()


def _extremes(kind: type[np.generic]) -> np.ndarray:
    facts = np.iinfo(kind) if np.issubdtype(kind, np.integer) else np.finfo(kind)
    return np.array([[facts.min, facts.max]], dtype=kind)
