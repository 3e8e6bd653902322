"""Python models inside Triton's process: which are hosted, and what one may take, answer and fail with."""

import json
import sys
import textwrap

import numpy as np
import pytest
from trident_server.backends.python import backend_utils, inprocess
from trident_server.backends.python.inprocess import InProcessModel, ModelError, is_hosted
from trident_server.backends.tensors import DTYPES

HEAD = """
import numpy as np
import triton_python_backend_utils as pb_utils


def numbers(request):
    return pb_utils.get_input_tensor_by_name(request, "X").as_numpy()


def answer(array, name="Y"):
    return pb_utils.InferenceResponse([pb_utils.Tensor(name, array)])


class TritonPythonModel:
"""
TWICE = "def execute(self, requests): return [answer(2 * numbers(each)) for each in requests]"


def configuration(**changes):
    tensor = {"data_type": "TYPE_FP32", "dims": [-1]}
    tensors = {"input": [{"name": "X", **tensor}], "output": [{"name": "Y", **tensor}]}
    return json.dumps({"name": "small", "max_batch_size": 4, **tensors, **changes})


def parameters(**values):
    return {"parameters": {key: {"string_value": value} for key, value in values.items()}}


@pytest.fixture
def logged(monkeypatch):
    """What was written to Triton's log."""
    lines = []
    monkeypatch.setattr(inprocess, "log", lambda level, message: lines.append(message))
    return lines


@pytest.fixture
def load(tmp_path, monkeypatch, logged):
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.setitem(sys.modules, "triton_python_backend_utils", None)

    def load(body, **changes):
        folder = tmp_path / "small" / "1"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "model.py").write_text(HEAD + textwrap.indent(textwrap.dedent(body), "    "))
        return InProcessModel(configuration(**changes), str(folder), "CPU", 0)

    return load


def tensor(array, pieces=1):
    content = bytearray(array.tobytes())
    size = -(-len(content) // pieces)
    name = next(name for name, dtype in DTYPES.items() if dtype == array.dtype)
    return name, array.shape, [memoryview(content[place : place + size]) for place in range(0, len(content), size)]


def floats(*values):
    return {"X": tensor(np.array([values], np.float32))}


def serialized(*texts):
    return b"".join(len(text).to_bytes(4, "little") + text for text in map(str.encode, texts))


def values(answer):
    ((_, data_type, shape, content),) = answer
    return np.frombuffer(content, DTYPES[data_type]).reshape(shape).tolist()


@pytest.mark.parametrize(
    ("config", "hosted"),
    [
        ({}, False),
        (parameters(max_length="3"), False),
        (parameters(IN_PROCESS="false"), False),
        (parameters(IN_PROCESS="true"), True),
        (parameters(IN_PROCESS="false", EXECUTION_ENV_PATH="x"), False),
    ],
)
def test_a_model_is_hosted_only_where_it_opts_in(config, hosted):
    assert is_hosted(configuration(**config)) is hosted


@pytest.mark.parametrize("word", ["True", "yes", "1", ""])
def test_another_word_is_refused_with_those_that_are_accepted(word):
    with pytest.raises(ModelError, match=f"model 'small': parameter 'IN_PROCESS' must be true or false, got '{word}'"):
        is_hosted(configuration(**parameters(IN_PROCESS=word)))


@pytest.mark.parametrize(
    "config",
    [
        {**parameters(IN_PROCESS="true"), "model_transaction_policy": {"decoupled": True}},
        parameters(IN_PROCESS="true", EXECUTION_ENV_PATH="environment.tar.gz"),
        {**parameters(IN_PROCESS="true"), "input": [{"name": "X", "data_type": "TYPE_BF16", "dims": [-1]}]},
    ],
)
def test_what_needs_a_process_of_its_own_must_not_opt_in(config):
    with pytest.raises(ModelError, match=r"model 'small': .* must not set the parameter 'IN_PROCESS'"):
        is_hosted(configuration(**config))


def test_a_model_gets_what_triton_would_give_it(load, tmp_path):
    model = load("def initialize(self, args): self.args = args")
    instance = model._model.args.pop("model_instance_name")
    assert instance.startswith("small_")
    assert model._model.args == {
        "model_config": configuration(),
        "model_instance_kind": "CPU",
        "model_instance_device_id": "0",
        "model_repository": str(tmp_path / "small"),
        "model_version": "1",
        "model_name": "small",
    }
    assert load("def initialize(self, args): self.args = args")._model.args["model_instance_name"] != instance
    assert (model.workers, model.is_batching, str(model)) == (0, True, "model 'small': Python, in Triton's process")


def test_instances_share_nothing(load, tmp_path):
    (tmp_path / "small" / "1").mkdir(parents=True)
    (tmp_path / "small" / "1" / "beside.py").write_text("calls = []")
    body = """
        from .beside import calls
        def execute(self, requests):
            self.calls.append(1)
            return [answer(np.full((1, 1), len(self.calls), np.float32)) for each in requests]
    """
    first, second = load(body), load(body)
    assert [values(model.execute([floats(0)], 1)[0]) for model in (first, first, second)] == [[[1]], [[2]], [[1]]]


def test_finalize_is_called_where_there_is_one_and_may_fail(load, logged):
    load(TWICE).finalize()
    assert not logged
    load("def finalize(self): raise ValueError('late')").finalize()
    assert "late" in logged[0]


@pytest.mark.parametrize("body", ["def initialize(self, args): raise KeyError('max')", "import nothing_like_it"])
def test_a_model_that_does_not_load_is_named(load, body):
    with pytest.raises(ModelError, match=r"model 'small': (KeyError: 'max'|ModuleNotFoundError)"):
        load(body)


@pytest.mark.parametrize("pieces", [1, 3])
def test_requests_are_answered_in_order(load, pieces):
    requests = [{"X": tensor(np.array([[1, 2]], np.float32), pieces)}, floats(3)]
    assert [values(answer) for answer in load(TWICE).execute(requests, 1)] == [[[2, 4]], [[6]]]


def test_a_model_may_keep_what_it_is_given(load):
    model = load("def execute(self, requests): self.kept = requests; return [answer(numbers(requests[0]))]")
    content = bytearray(np.ones(1, np.float32))
    model.execute([{"X": ("FP32", (1, 1), [memoryview(content)])}], 1)
    content[:] = b"\xff" * 4
    assert model._model.kept[0].inputs()[0].as_numpy().tolist() == [[1]]


@pytest.mark.parametrize("name", DTYPES)
def test_every_type_goes_in_and_out(load, name):
    each = {"data_type": f"TYPE_{name}", "dims": [-1]}
    model = load(
        "def execute(self, requests): return [answer(numbers(each).T) for each in requests]",
        input=[{"name": "X", **each}],
        output=[{"name": "Y", **each}],
    )
    array = np.array([[0, 1], [1, 1], [0, 0]], DTYPES[name])
    (answer,) = model.execute([{"X": tensor(array)}], 1)
    assert answer[0][1] == name
    assert values(answer) == array.T.tolist()


@pytest.mark.parametrize("kind", ["bytes", "str"])
@pytest.mark.parametrize("texts", [["a", "", "고양이 🙂", "x\0y"], []])
def test_texts_go_in_and_out(load, texts, kind):
    each = {"data_type": "TYPE_STRING", "dims": [-1]}
    model = load(
        f"""
        def execute(self, requests):
            texts = [text if "{kind}" == "bytes" else text.decode() for text in numbers(requests[0])]
            return [answer(np.array(texts, np.object_))]
        """,
        input=[{"name": "X", **each}],
        output=[{"name": "Y", **each}],
    )
    content = serialized(*texts)
    (answer,) = model.execute([{"X": ("BYTES", (len(texts),), [memoryview(bytearray(content))])}], 1)
    assert answer == [("Y", "BYTES", (len(texts),), content)]


def test_a_request_that_cannot_be_read_is_told_and_the_other_answered(load):
    short = {"X": ("FP32", (1, 3), [memoryview(bytearray(8))])}
    (code, message), answer = load(TWICE).execute([short, floats(4)], 1)
    assert (code, message.split(":")[0]) == ("INVALID_ARG", "model 'small'")
    assert "input 'X' does not fill its shape [1, 3]" in message
    assert values(answer) == [[8]]


def test_a_request_that_the_model_refuses_harms_no_other_and_is_not_logged(load, logged):
    model = load(
        """
        def execute(self, requests):
            error = pb_utils.TritonError("seven", pb_utils.TritonError.NOT_FOUND)
            plain = pb_utils.InferenceResponse(error=pb_utils.TritonError("plain"))
            return [pb_utils.InferenceResponse([], error), answer(numbers(requests[1])), plain]
        """
    )
    refused, answer, plain = model.execute([floats(7), floats(8), floats(9)], 1)
    assert (refused, values(answer), plain) == (("NOT_FOUND", "seven"), [[8]], ("INTERNAL", "plain"))
    assert not logged


@pytest.mark.parametrize(
    ("result", "says"),
    [
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("requests[0].exec()", "'InferenceRequest.exec' inside .* must not set the parameter IN_PROCESS"),
        ("pb_utils.InferenceRequest(model_name='x', inputs=[])", "must not set the parameter IN_PROCESS"),
        ("[]", "must return a list of 2 responses, got 0"),
        ("None", "must return a list of 2 responses, got NoneType"),
        ("[pb_utils.Tensor('Y', [1])]", "tensor 'Y' must be given a NumPy array, not list"),
        ("[pb_utils.TritonError('x', 3)]", "3 is no code of TritonError"),
    ],
)
def test_an_exception_reaches_the_whole_batch_and_is_logged_with_its_place(load, logged, result, says):
    model = load(f"def execute(self, requests): return {result}")
    first, second = model.execute([floats(1), floats(2)], 1)
    assert first == second
    assert first[0] == "INTERNAL"
    assert first[1].startswith("model 'small': ")
    with pytest.raises(AssertionError, match=says):
        raise AssertionError(first[1])
    assert len(logged) == 1
    assert "line" in logged[0]


@pytest.mark.parametrize(
    ("response", "says"),
    [
        (
            "answer(numbers(requests[0]).astype(np.float64))",
            "output 'Y' is configured FP32, but the model gave float64",
        ),
        ("answer(numbers(requests[0]).astype(np.object_))", "output 'Y' is configured FP32, but the model gave object"),
        ("answer(numbers(requests[0]), 'Z')", "output 'Z' is not configured"),
        ("None", "execute must return responses, not NoneType"),
    ],
)
def test_an_answer_that_cannot_be_sent_is_an_error_of_its_request_alone(load, response, says):
    model = load(f"def execute(self, requests): return [{response}, answer(numbers(requests[1]))]")
    failed, answer = model.execute([floats(1), floats(2)], 1)
    assert failed == ("INTERNAL", f"model 'small': {says}")
    assert values(answer) == [[2]]


@pytest.mark.parametrize("name", ["InferenceResponse", "Tensor", "Logger", "TritonModelException"])
def test_what_is_offered_is_there(name):
    assert hasattr(backend_utils, name)


def test_the_functions_are_tritons_own(load):
    model = load(
        """
        def initialize(self, args):
            import json

            configuration = pb_utils.get_output_config_by_name(json.loads(args["model_config"]), "Y")
            self.dtype = pb_utils.triton_string_to_numpy(configuration["data_type"])

        def execute(self, requests):
            return [answer(numbers(each).astype(self.dtype)) for each in requests]
        """
    )
    (answer,) = model.execute([floats(1)], 1)
    assert values(answer) == [[1]]


@pytest.mark.parametrize(
    "use",
    [
        lambda: backend_utils.get_response_sender,
        lambda: backend_utils.Tensor("X", np.zeros(1)).to_dlpack(),
        lambda: backend_utils.Tensor.from_dlpack("X", None),
        lambda: backend_utils.InferenceRequest().get_response_sender(),
    ],
)
def test_what_is_not_offered_says_what_to_do(use):
    with pytest.raises(AttributeError, match="must not set the parameter IN_PROCESS"):
        use()
