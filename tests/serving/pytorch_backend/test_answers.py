"""What ``forward`` may return, of which types, and what becomes of the rest."""

import numpy as np
import pytest
from tritonclient.utils import InferenceServerException

from .client import mode, row, text
from .model import TYPES
from .repository import IN_PROCESS

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


def test_text_of_a_batch_is_answered_a_request_at_a_time(client):
    before = client.executions("text")
    answers = client.infer_together("text", [{"TEXT": text("a")}, {"TEXT": text("b", "c")}, {"TEXT": text("d")}])
    assert [answer["LOUD"].tolist() for answer in answers] == [[[b"a!"]], [[b"b!"], [b"c!"]], [[b"d!"]]]
    assert client.executions("text") - before == 3


def test_text_that_is_not_utf8_fails_its_request_and_no_other(client):
    good, bad, other = client.infer_together(
        "text", [{"TEXT": text("a")}, {"TEXT": text(b"\xff\xfe", "b")}, {"TEXT": text("c")}]
    )
    assert (good["LOUD"].tolist(), other["LOUD"].tolist()) == ([[b"a!"]], [[b"c!"]])
    assert (bad.status(), "input 'TEXT' must be UTF-8" in bad.message()) == ("400", True)


@pytest.mark.parametrize(
    ("number", "status", "says"),
    [
        (1, "400", "output 'Y' is a scalar which is not supported."),
        (2, "400", "configuration expects datatype TYPE_FP32 for output 'Y', model provides TYPE_FP64"),
        # It would be answered as BYTES.
        (8, "400", "output 'Y', model provides TYPE_STRING; the C.. backend would answer with the text all the same"),
        (
            3,
            "501",
            "output 'Y' has 0 rows where the batch needs 1; the C.. backend would answer the first requests alone",
        ),
        (4, "500", r"(?s)PyTorch execute failure: .*mode four"),
        (
            5,
            "500",
            "PyTorch execute failure: output must be of type Tensor, .* a List / Dictionary of Tensors or a Scalar",
        ),
        (6, "500", "PyTorch execute failure: output at index 1 must be of type Tensor"),
        (7, "500", r"PyTorch execute failure: output must be of type Tensor or List\[str\], received List\[Tensor\]"),
    ],
    ids=["scalar", "wrong type", "text", "short", "exception", "dict", "nested tuple", "list of tensors"],
)
def test_what_forward_may_not_return_is_an_error_and_the_server_lives_on(client, number, status, says):
    with pytest.raises(InferenceServerException, match=says) as caught:
        client.infer("answer", mode(number))
    assert caught.value.status() == status
    assert client.infer("answer", mode(9))["Y"].tolist() == [[9]]


def test_an_output_too_short_for_all_that_joined_is_an_error_for_all_of_them(client):
    # The C++ backend would answer the first of them, and the rest with 501.
    failed = client.infer_together("answer", [mode(3), mode(3)])
    assert [error.status() for error in failed] == ["501"] * 2


@IN_PROCESS
def test_a_scattered_output_with_too_few_elements_is_an_error(client):
    # The C++ backend would read past the tensor.
    with pytest.raises(InferenceServerException, match=r"output 'Y' has 2 elements where the batch needs 3") as caught:
        client.infer("lacks_one", {"X": row(1, 2, 3)})
    assert caught.value.status() == "501"


def test_outputs_are_answered_in_the_order_of_their_names(client):
    assert list(client.infer("by_order", {"first": row(1), "second__0": row(1)})) == ["DIFFERENCE", "INFERENCE", "ROWS"]
    answer = client.infer("by_index", {"a__0": row(1), "b__1": row(1)})
    assert list(answer) == ["difference__0", "inference__1", "rows__2"]


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
