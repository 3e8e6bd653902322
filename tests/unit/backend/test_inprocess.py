"""The backend inside Triton's process: from Triton's memory to arrays and back."""

import json

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from trident_server.backends import tensors
from trident_server.backends.pytorch import inprocess
from trident_server.backends.pytorch.inprocess import InProcessModel


class Twice(nn.Module):
    def forward(self, X: Tensor) -> Tensor:  # noqa: N803
        return torch.stack([X, X]).transpose(0, 1)[:, 0]


class Remembers(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.last = torch.zeros(1)

    def forward(self, X: Tensor) -> Tensor:  # noqa: N803
        self.last.add_(1)
        return X + self.last


@pytest.fixture
def load(tmp_path, config):
    def load(module, **changes):
        (tmp_path / "1").mkdir()
        torch.jit.script(module).save(str(tmp_path / "1" / "model.pt"))
        return InProcessModel(json.dumps({**config, **changes}), str(tmp_path / "1"), "CPU", 0)

    return load


def tensor(array, pieces=1):
    content = bytearray(array.tobytes())
    size = -(-len(content) // pieces)
    return "FP32", array.shape, [memoryview(content[place : place + size]) for place in range(0, len(content), size)]


@pytest.mark.parametrize("pieces", [1, 3])
def test_requests_are_read_from_tritons_memory_and_answered_in_order(load, pieces):
    model = load(Twice(), input=[{"name": "X", "data_type": "TYPE_FP32", "dims": [2]}])
    first, second = np.arange(4, dtype=np.float32).reshape(2, 2), np.full((1, 2), 7, np.float32)
    answers = model.execute([{"X": tensor(first, pieces)}, {"X": tensor(second)}], 1)
    for answer, given_ in zip(answers, (first, second), strict=True):
        ((name, data_type, shape, content),) = answer
        assert (name, data_type, shape) == ("Y", "FP32", given_.shape)
        assert bytes(memoryview(content)) == given_.tobytes()


def test_a_request_that_lacks_an_input_is_told_and_the_other_answered(load):
    model = load(Twice(), input=[{"name": "X", "data_type": "TYPE_FP32", "dims": [2]}])
    failed, answered = model.execute([{}, {"X": tensor(np.ones((1, 2), np.float32))}], 1)
    assert failed == (
        "INVALID_ARG",
        "model 'small': input 'X' is missing; the pytorch backend needs every configured input",
    )
    assert answered[0][2] == (1, 2)


@pytest.mark.parametrize(("module", "workers"), [(Twice(), 2), (Remembers(), 1)])
def test_two_batches_at_a_time_only_where_no_call_changes_the_module(load, module, workers):
    model = load(module)
    assert model.workers == workers
    assert str(model).endswith(f"in Triton's process, {workers} at a time")


def test_batches_that_run_together_share_the_threads_and_so_do_the_next_that_begin_alone(load, monkeypatch):
    model = load(Twice(), parameters={"INTRA_OP_THREAD_COUNT": {"string_value": "4"}})
    shares = []
    monkeypatch.setattr(torch, "set_num_threads", shares.append)
    monkeypatch.setattr(inprocess, "_company", inprocess.Company())
    for company in (1, 2, 3, 9, 2, 1, 1, 1, 1, 1, 1, 2, 1):
        model.execute([{"X": tensor(np.ones((1, 1), np.float32))}], company)
    assert shares == [4, 2, 1, 1, 2, 2, 2, 2, 2, 4, 4, 2, 2]


def test_memory_that_is_not_aligned_is_read_all_the_same(load):
    model = load(Twice(), input=[{"name": "X", "data_type": "TYPE_FP32", "dims": [3]}])
    array = np.arange(3, dtype=np.float32).reshape(1, 3)
    shifted = memoryview(bytearray(b"x" + array.tobytes()))[1:]
    given_ = ("FP32", (1, 3), [shifted])
    ((_, _, _, content),) = model.execute([{"X": given_}], 1)[0]
    assert bytes(memoryview(content)) == array.tobytes()
    # Not every processor and kernel reads numbers from any address.
    assert tensors.read("X", given_).flags.aligned


class Loud(nn.Module):
    def forward(self, X: list[str]) -> list[str]:  # noqa: N803
        return [x + "!" for x in X]


def serialized(*texts):
    return b"".join(len(text).to_bytes(4, "little") + text for text in map(str.encode, texts))


@pytest.fixture
def loud(load):
    text = {"data_type": "TYPE_STRING", "dims": [-1]}
    return load(Loud(), max_batch_size=0, input=[{"name": "X", **text}], output=[{"name": "Y", **text}])


@pytest.mark.parametrize("texts", [["a", "", "고양이 🙂", "x\0y"], []])
def test_texts_go_in_and_out(loud, texts):
    content = serialized(*texts)
    (answer,) = loud.execute([{"X": ("BYTES", (len(texts),), [memoryview(bytearray(content))])}], 1)
    assert answer == [("Y", "BYTES", (len(texts),), serialized(*(text + "!" for text in texts)))]


@pytest.mark.parametrize(
    "content", [b"\x05\0\0\0abc", b"\x01\0\0\0a\xff\xff\xff\xff", b"\x01\0", serialized("a", "b"), b""]
)
def test_texts_that_do_not_fill_the_shape_are_refused_and_the_other_request_answered(loud, content):
    requests = [{"X": ("BYTES", (1,), [memoryview(bytearray(each))])} for each in (content, serialized("a"))]
    (code, message), answered = loud.execute(requests, 1)
    assert code == "INVALID_ARG"
    assert "input 'X' does not fill its shape [1]" in message
    assert answered == [("Y", "BYTES", (1,), serialized("a!"))]


def test_numbers_that_do_not_fill_the_shape_are_refused(load):
    (failed,) = load(Twice()).execute([{"X": ("FP32", (1, 3), [memoryview(bytearray(8))])}], 1)
    assert failed[0] == "INVALID_ARG"
    assert "input 'X' does not fill its shape [1, 3]" in failed[1]
