"""Triton is asked what it cannot answer, over HTTP and gRPC: it lives, says so in its own words, and harms no one.

Beside every bad request good ones are under way to the same model, so that they may be in one batch; their answers are
known.
What is known to end Triton 24.10 (JSON nested some 100,000 deep) is left to `make chaos`, which sees it started again.
"""

import json
from concurrent.futures import ThreadPoolExecutor

import grpc
import httpx
import numpy as np
import pytest
from chaos.asking import INTERNALS
from fuzzing import looking, nearly
from hypothesis import given
from hypothesis import strategies as st
from tritonclient.grpc import service_pb2, service_pb2_grpc

pytestmark = pytest.mark.serving

TYPES = ("BOOL", "UINT8", "INT8", "INT16", "INT32", "INT64", "FP16", "FP32", "FP64", "BYTES", "BF16", "", "NONSENSE")
SIZES = {
    "BOOL": 1,
    "UINT8": 1,
    "INT8": 1,
    "INT16": 2,
    "FP16": 2,
    "BF16": 2,
    "INT32": 4,
    "FP32": 4,
    "INT64": 8,
    "FP64": 8,
}
TEXTS = ("A man sings.", "Who sings?", "", " ", "\u200b", "고양이 🐟", "x" * 3000, "\x00", "é" * 600)
MODELS = (
    *("cola", "sts", "sts_embedding", "sts_ko", "qa"),
    *(
        "cola_tokenizer",
        "sts_tokenizer",
        "sts_encoder",
        "cola_classifier",
        "qa_tokenizer",
        "qa_reader",
        "qa_span_decoder",
    ),
)
#: A good request to each ensemble; those to the models within go their steps' ways.
GOOD = {
    "cola": {"TEXT": "A man sings."},
    "sts": {"SENTENCE_1": "A man sings.", "SENTENCE_2": "A woman sleeps."},
    "sts_ko": {"SENTENCE_1": "기타를 치는 남자", "SENTENCE_2": "고양이가 잔다"},
    "qa": {"QUESTION": "Who sings?", "CONTEXT": "Mary sings in the park."},
}
OUTPUT = {"cola": "PROBABILITY", "sts": "SIMILARITY", "sts_ko": "SIMILARITY", "qa": "SCORE"}


def text_bytes(texts):
    return b"".join(len(each.encode()).to_bytes(4, "little") + each.encode() for each in texts)


@st.composite
def contents(draw, data_type, count):
    """Draw a tensor's bytes, mostly of the right length."""
    if data_type == "BYTES":
        whole = text_bytes(draw(st.lists(st.sampled_from(TEXTS), min_size=count, max_size=count)))
    else:
        whole = draw(st.sampled_from([b"\x00", b"\x01", b"\x02\x00\x00\x00\x00\x00\x00\x00", b"\xff", b"\x7f"]))
        size = count * SIZES.get(data_type, 4)
        whole = (whole * (size // len(whole) + 1))[:size]
    kind = draw(st.integers(0, 7))
    if kind == 0:
        return whole[: draw(st.integers(0, len(whole)))]
    if kind == 1:
        return whole + draw(st.binary(min_size=1, max_size=9))
    if kind == 2:
        # Lengths of texts that are lies, and bytes that are no UTF-8.
        return (
            draw(st.sampled_from([b"\xff\xff\xff\xff", b"\xff\xff\xff\x7fabc", b"\x03\x00\x00\x00\xff\xfe\xfd"]))
            + whole
        )
    return whole


@st.composite
def tensors(draw, inputs):
    """Draw tensors for a model's inputs: name, type, shape and bytes of each."""
    drawn = []
    for each in inputs:
        if draw(st.integers(0, 9)) == 0:
            continue
        configured = each["data_type"].removeprefix("TYPE_").replace("STRING", "BYTES")
        data_type = draw(st.sampled_from(TYPES)) if draw(st.integers(0, 7)) == 0 else configured
        dims = [int(size) for size in each["dims"]]
        shape = [1, *(draw(st.integers(1, 40)) if size == -1 else size for size in dims)]
        kind = draw(st.integers(0, 9))
        if kind == 0:
            shape = draw(st.lists(st.sampled_from([0, 1, 2, 7]), max_size=4))
        elif kind == 1:
            shape[0] = draw(st.sampled_from([0, 2, 65, 1000]))
        elif kind == 2:
            shape = [*shape, draw(st.sampled_from([-1, 1, 2**31, 2**62, -(2**63)]))]
        count = int(np.prod([min(abs(size), 70) for size in shape], dtype=np.int64))
        drawn.append((each["name"], data_type, shape, draw(contents(data_type, min(count, 4096)))))
    if draw(st.integers(0, 9)) == 0:
        drawn.append((draw(st.sampled_from(["MORE", "", "TEXT", "é"])), "FP32", [1, 1], b"\0\0\0\0"))
    if drawn and draw(st.integers(0, 14)) == 0:
        drawn.append(drawn[0])
    return drawn


PARAMETERS = st.dictionaries(
    st.sampled_from(
        ["sequence_id", "sequence_start", "priority", "timeout", "binary_data_output", "x", "triton_final"]
    ),
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text(max_size=5) | st.floats(allow_nan=False),
    max_size=3,
)


@pytest.fixture(scope="module")
def configurations(triton):
    with httpx.Client(base_url=f"http://{triton.http_url}", timeout=60) as http:
        return {model: http.get(f"/v2/models/{model}/config").json() for model in MODELS}


@pytest.fixture(scope="module")
def neighbour(triton):
    """Asks good requests beside bad ones: begins them, and says whether they were answered as before."""
    with httpx.Client(base_url=f"http://{triton.http_url}", timeout=60) as http, ThreadPoolExecutor(4) as pool:

        def ask(model):
            inputs = [
                {"name": name, "datatype": "BYTES", "shape": [1, 1], "data": [text]}
                for name, text in GOOD[model].items()
            ]
            answer = http.post(f"/v2/models/{model}/infer", json={"inputs": inputs})
            assert answer.status_code == 200, answer.text
            return next(each["data"][0] for each in answer.json()["outputs"] if each["name"] == OUTPUT[model])

        known = {model: ask(model) for model in GOOD}

        def beside(model, bad):
            asked = next((each for each in sorted(GOOD, reverse=True) if model.startswith(each)), "cola")
            under_way = [pool.submit(ask, asked) for _ in range(2)]
            found = bad()
            for each in under_way:
                assert each.result() == pytest.approx(known[asked], abs=0.02)
            return found

        yield beside


def http_body(draw_tensors, outputs, parameters, lie):
    """Return a request's head and binary part, and how long the head is said to be."""
    inputs, binary = [], b""
    for name, data_type, shape, content in draw_tensors:
        size = len(content) if lie is None else lie
        inputs.append({"name": name, "datatype": data_type, "shape": shape, "parameters": {"binary_data_size": size}})
        binary += content
    head = json.dumps({"inputs": inputs, "outputs": [{"name": name} for name in outputs], "parameters": parameters})
    return head.encode(), binary


@pytest.mark.parametrize("model", MODELS)
def test_requests_over_http(model, triton, configurations, neighbour):
    configured = configurations[model]
    names = [each["name"] for each in configured["output"]]

    @looking(10)
    @given(
        tensors(configured["input"]),
        st.lists(st.sampled_from([*names, "OTHER", ""]), max_size=2),
        PARAMETERS,
        st.sampled_from([None, None, None, 0, 1, -1, 2**31, 2**63]),
        st.sampled_from([0, 0, 0, 0, -1, 1, 10**9, "x"]),
    )
    def answers(drawn, outputs, parameters, lie, wrong):
        head, binary = http_body(drawn, outputs, parameters, lie)
        length = wrong if isinstance(wrong, str) else str(len(head) + wrong)
        headers = {"Inference-Header-Content-Length": length}

        def bad():
            return http.post(f"/v2/models/{model}/infer", content=head + binary, headers=headers)

        answer = neighbour(model, bad)
        if answer.status_code != 200:
            assert answer.status_code in {400, 404, 413, 500, 501, 503}, answer.text
            assert not INTERNALS.search(answer.text), answer.text
            assert "error" in answer.json()

    with httpx.Client(base_url=f"http://{triton.http_url}", timeout=60) as http:
        answers()
    triton.check()


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["BYTES", "TEXT", "FP32"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["inputs", "name", "shape", "datatype", "data", "outputs", "x"]), inner, max_size=4
        )
    ),
    max_leaves=12,
)


def test_bodies_over_http(triton, neighbour):
    @looking(60)
    @given(
        JSON.map(lambda value: json.dumps(value).encode())
        | st.integers(1, 2000).map(lambda depth: b'{"inputs":' + b"[" * depth + b"]" * depth + b"}")
        | st.binary(max_size=60),
        st.sampled_from(["infer", "config", "stats", "ready", "versions/1/infer", "generate", "%00", "../../v2"]),
    )
    def answers(body, path):
        answer = neighbour("cola", lambda: http.post(f"/v2/models/cola/{path}", content=body))
        assert answer.status_code < 600
        assert not INTERNALS.search(answer.text), answer.text

    with httpx.Client(base_url=f"http://{triton.http_url}", timeout=60) as http:
        answers()
    triton.check()


def refusal(call, request):
    """Call, and return what it is refused by; None where it is answered."""
    try:
        call(request, timeout=60)
    except grpc.RpcError as error:
        return error
    return None


@pytest.mark.parametrize("model", MODELS)
def test_requests_over_grpc(model, triton, configurations, neighbour):
    configured = configurations[model]
    names = [each["name"] for each in configured["output"]]

    @looking(10)
    @given(
        tensors(configured["input"]),
        st.lists(st.sampled_from([*names, "OTHER", ""]), max_size=2),
        st.integers(0, 9),
        st.integers(0, 2**64 - 1),
    )
    def answers(drawn, outputs, surplus, timeout):
        request = service_pb2.ModelInferRequest(model_name=model)
        for name, data_type, shape, content in drawn:
            bounded = [max(-(2**63), min(size, 2**63 - 1)) for size in shape]
            tensor = request.inputs.add(name=name, datatype=data_type, shape=bounded)
            if surplus == 1:
                # Not as bytes but as numbers of one kind, whatever the type is; together with bytes below.
                tensor.contents.int64_contents.extend([1, -1, 2**40])
            if surplus != 2:
                request.raw_input_contents.append(content)
        if surplus == 3:
            request.raw_input_contents.append(b"more")
        for name in outputs:
            request.outputs.add(name=name)
        if surplus == 4:
            request.parameters["timeout"].int64_param = timeout % 2**63
            request.parameters["sequence_id"].string_param = "x"

        error = neighbour(model, lambda: refusal(stub.ModelInfer, request))
        if error is not None:
            assert error.code() not in {grpc.StatusCode.UNKNOWN, grpc.StatusCode.DEADLINE_EXCEEDED}, error.details()
            assert not INTERNALS.search(error.details()), error.details()

    with grpc.insecure_channel(triton.grpc_url, options=[("grpc.enable_http_proxy", 0)]) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        answers()
    triton.check()


def test_bytes_that_are_no_request_over_grpc(triton, neighbour):
    request = service_pb2.ModelInferRequest(model_name="cola", raw_input_contents=[text_bytes(["A man sings."])])
    request.inputs.add(name="TEXT", datatype="BYTES", shape=[1, 1])

    @looking(30)
    @given(nearly([request.SerializeToString()]))
    def answers(content):
        error = neighbour("cola", lambda: refusal(call, content))
        assert error is None or not INTERNALS.search(error.details()), error.details()

    with grpc.insecure_channel(triton.grpc_url, options=[("grpc.enable_http_proxy", 0)]) as channel:
        call = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        answers()
    triton.check()
