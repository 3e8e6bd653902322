"""NVIDIA's own client, its newest release."""

from typing import Any

import numpy as np
import tritonclient.grpc
import tritonclient.http
from calling import CONTEXT, GUITAR, QUESTION, TRITON_GRPC, TRITON_HTTP, ask, call, check, embeddings, main


def infer(library: Any, address: str, model: str, output: str, **texts: str) -> Any:
    inputs = []
    for name, text in texts.items():
        inputs.append(library.InferInput(name, [1, 1], "BYTES"))
        inputs[-1].set_data_from_numpy(np.array([[text.encode()]], dtype=object))
    with library.InferenceServerClient(address) as client:
        return client.infer(model, inputs).as_numpy(output)[0]


def check_all(library: Any, address: str) -> None:
    expected = ask("/generate", {"passage": GUITAR})["prob"]
    check(infer(library, address, "cola", "PROBABILITY", TEXT=GUITAR), [expected], 0.02)
    check(infer(library, address, "sts_embedding", "EMBEDDING", TEXT=GUITAR), embeddings()[0], 0.02)
    check(infer(library, address, "sts", "SIMILARITY", SENTENCE_1=GUITAR, SENTENCE_2=GUITAR), [1.0], 0.02)
    answer = infer(library, address, "qa", "ANSWER", QUESTION=QUESTION, CONTEXT=CONTEXT)[0].decode()
    if "Black Forest" not in answer:
        raise ValueError(answer)


@call("tritonclient", '`http.InferenceServerClient(...).infer("cola" ...)`, `sts`, `sts_embedding`, `qa`')
def infers_over_http() -> None:
    check_all(tritonclient.http, TRITON_HTTP)


@call("tritonclient", "`grpc.InferenceServerClient(...).infer(...)`, the same")
def infers_over_grpc() -> None:
    check_all(tritonclient.grpc, TRITON_GRPC)


main()
