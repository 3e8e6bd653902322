"""The backend inside Triton's process: from Triton's memory to arrays and back."""

import json
import re
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from trident_server.backends import tensors
from trident_server.backends.pytorch import inprocess
from trident_server.backends.pytorch.errors import ConfigurationError, own_words
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


class Three(nn.Module):
    def forward(self, X: Tensor) -> tuple[Tensor, Tensor, Tensor]:  # noqa: N803
        return X, X * 2, X * 3


class Dictionary(nn.Module):
    def forward(self, given: dict[str, Tensor]) -> Tensor:
        return given["X"] - given["Z"]


class Accumulates(nn.Module):
    def forward(self, x: Tensor, start: Tensor, total: Tensor) -> tuple[Tensor, Tensor]:
        total = torch.where(start == 1, torch.zeros_like(total), total) + x
        return total, total


class Outer(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x)


class Greedy(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.empty([1 << 50])


class Refusing(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        if x.sum() > 0:
            raise ValueError("all of it")
        return x


class Misshapen(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + torch.ones([1, 3])


@pytest.fixture
def load(tmp_path, config):
    """Saves a module and loads it; ``again`` loads what was saved."""

    def save(module):
        (tmp_path / "1").mkdir(exist_ok=True)
        torch.jit.script(module).save(str(tmp_path / "1" / "model.pt"))

    def again(**changes):
        return InProcessModel(json.dumps({**config, **changes}), str(tmp_path / "1"), "CPU", 0)

    def load(module, **changes):
        save(module)
        return again(**changes)

    load.save, load.again = save, again
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


@pytest.mark.parametrize(
    ("module", "says"),
    [
        (Outer(Greedy()), "RuntimeError: DefaultCPUAllocator: can't allocate memory: you tried to allocate 4503"),
        (Outer(Refusing()), "builtins.ValueError: all of it"),
        (Outer(Misshapen()), "RuntimeError: The size of tensor a (2) must match the size of tensor b (3)"),
    ],
)
def test_a_failure_is_told_in_its_words_and_where_it_happened_is_logged(load, monkeypatch, module, says):
    logged = []
    monkeypatch.setattr(inprocess, "log", lambda level, text: logged.append(text))
    model = load(module, input=[{"name": "X", "data_type": "TYPE_FP32", "dims": [2]}])
    ((code, told),) = model.execute([{"X": tensor(np.ones((1, 2), np.float32))}], 1)
    assert code == "INTERNAL"
    assert told.startswith(f"model 'small': PyTorch execute failure: {says}")
    assert not re.search(r"\n|Traceback|HERE|\.py|\.cpp|interpreter", told)
    assert "Traceback of TorchScript" in logged[-1]


def test_words_of_an_error_that_has_no_frames_are_its_own_and_stacks_of_cpp_are_left_out():
    assert own_words("input 'X' is missing; 2 rows") == "input 'X' is missing; 2 rows"
    stack = "expected\n 2 rows\nException raised from at ../aten/x.cpp:1 (most recent call first):\nframe #0: 0xffff"
    assert own_words(stack) == "expected 2 rows"


def test_an_empty_ragged_input_is_refused_before_it_joins_and_the_others_are_answered(load):
    scatter = {"kind": "BATCH_SCATTER_WITH_INPUT_SHAPE", "target_name": ["Y"], "source_input": ["X"]}
    model = load(Twice(), batch_output=[scatter])
    full = np.ones((1, 2), np.float32)
    failed, answered = model.execute([{"X": ("FP32", (1, 0), [memoryview(bytearray())])}, {"X": tensor(full)}], 1)
    assert failed[0] == "INVALID_ARG"
    assert "input 'X' is ragged and has no elements" in failed[1]
    assert bytes(memoryview(answered[0][3])) == full.tobytes()


def test_outputs_are_answered_in_the_order_of_their_names(load):
    outputs = [{"name": name, "data_type": "TYPE_FP32", "dims": [2]} for name in ("b", "a", "B")]
    model = load(Three(), input=[{"name": "X", "data_type": "TYPE_FP32", "dims": [2]}], output=outputs)
    (answer,) = model.execute([{"X": tensor(np.ones((1, 2), np.float32))}], 1)
    assert [(name, np.frombuffer(content, np.float32)[0]) for name, _, _, content in answer] == [
        ("B", 3),
        ("a", 2),
        ("b", 1),
    ]


def test_a_dictionary_of_inputs_is_given_by_their_names(load):
    inputs = [{"name": name, "data_type": "TYPE_FP32", "dims": [1]} for name in ("X", "Z")]
    model = load(Dictionary(), input=inputs)
    x, z = np.full((1, 1), 5, np.float32), np.full((1, 1), 3, np.float32)
    (((_, _, _, content),),) = model.execute([{"X": tensor(x), "Z": tensor(z)}], 1)
    assert np.frombuffer(content, np.float32) == [2]


def test_a_dictionary_of_text_is_refused(load):
    with pytest.raises(ConfigurationError, match="holds neither text"):
        load(Dictionary(), max_batch_size=0, input=[{"name": "X", "data_type": "TYPE_STRING", "dims": [1]}])


STATEFUL = {
    "control_input": [
        {"name": "START__1", "control": [{"kind": "CONTROL_SEQUENCE_START", "int32_false_true": [0, 1]}]}
    ],
    "state": [{"input_name": "SUM__2", "output_name": "SUM__1", "data_type": "TYPE_FP32", "dims": [1]}],
}


def test_a_state_is_handed_back_with_a_mark_and_sequences_have_one_worker(load):
    model = load(
        Accumulates(),
        input=[{"name": "X__0", "data_type": "TYPE_FP32", "dims": [1]}],
        output=[{"name": "Y__0", "data_type": "TYPE_FP32", "dims": [1]}],
        sequence_batching=STATEFUL,
    )
    assert model.workers == 1
    one = np.ones((1, 1), np.float32)
    start = ("INT32", (1, 1), [memoryview(bytearray(np.array([[0]], np.int32).tobytes()))])
    ((output, state),) = model.execute([{"X__0": tensor(one), "START__1": start, "SUM__2": tensor(4 * one)}], 1)
    assert (output[:3], bytes(output[3].data)) == (("Y__0", "FP32", (1, 1)), (5 * one).tobytes())
    assert (state[:3], bytes(state[3].data), state[4]) == (("SUM__1", "FP32", (1, 1)), (5 * one).tobytes(), True)


SHARING = {"ENABLE_WEIGHT_SHARING": {"string_value": "true"}}


def test_instances_share_one_module_where_they_are_told_to_and_say_so(load, monkeypatch):
    said = []
    monkeypatch.setattr(inprocess, "log", lambda level, line: said.append(line))
    first = load(Twice(), parameters=SHARING)
    second = load.again(parameters=SHARING)
    own = load.again()
    assert second._model._module._module is first._model._module._module
    assert own._model._module._module is not first._model._module._module
    assert said.count("Reusing TorchScript model for instance 'small'") == 1
    assert said.count("Weight sharing is enabled for model instance 'small'") == 2


def test_a_file_that_was_changed_is_loaded_anew_beside_those_who_share_the_old_one(load):
    first = load(Twice(), parameters=SHARING)
    load.save(Three())
    assert load.again(parameters=SHARING)._model._module._module is not first._model._module._module


def test_a_shared_module_that_a_call_changes_is_called_once_at_a_time(load):
    first = load(Remembers(), parameters=SHARING)
    second = load.again(parameters=SHARING)
    with first._model._module._loaded.turn, ThreadPoolExecutor(1) as pool:
        waits = pool.submit(second.execute, [{"X": tensor(np.ones((1, 1), np.float32))}], 1)
        with pytest.raises(TimeoutError):
            waits.result(0.3)
        first._model._module._loaded.turn.release()
        try:
            waits.result(30)
        finally:
            first._model._module._loaded.turn.acquire()


@pytest.mark.parametrize(("module", "workers"), [(Twice(), 2), (Remembers(), 1)])
def test_two_batches_at_a_time_only_where_no_call_changes_the_module(load, module, workers):
    model = load(module)
    assert model.workers == workers
    assert bool(model.long_above) == (workers > 1), "its input is ragged"
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
