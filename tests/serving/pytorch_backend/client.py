"""Asks the contract's models over HTTP, whose status codes the contract names."""

import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import tritonclient.http as triton_http
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

Arrays = dict[str, np.ndarray]
SECONDS_TO_COUNT = 10.0


class Client:
    """A thin layer over Triton's own client, for several requests at once."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._client = triton_http.InferenceServerClient(url, concurrency=8, network_timeout=60)
        self._sent: Counter[str] = Counter()

    def close(self) -> None:
        self._client.close()

    def infer(self, model: str, inputs: Arrays, outputs: Sequence[str] = ()) -> Arrays:
        """Return the outputs asked for, or all where none are."""
        return self._answer(model, inputs, self._send(model, inputs, outputs))

    def infer_together(self, model: str, requests: Sequence[Arrays]) -> list[Arrays | InferenceServerException]:
        """Send all requests at once; an error stands where its answer would."""
        pending = [self._send(model, inputs) for inputs in requests]
        answers: list[Arrays | InferenceServerException] = []
        for each, sent in zip(pending, requests, strict=True):
            try:
                answers.append(self._answer(model, sent, each))
            except InferenceServerException as error:
                answers.append(error)
        return answers

    def infer_sequence(self, model: str, sequence: int, requests: Sequence[Arrays]) -> list[Arrays]:
        """Send a sequence's requests one after another."""
        last = len(requests) - 1
        return [
            self.infer_of_sequence(model, sequence, inputs, start=place == 0, end=place == last)
            for place, inputs in enumerate(requests)
        ]

    def infer_of_sequence(
        self,
        model: str,
        sequence: int,
        inputs: Arrays,
        *,
        start: bool = False,
        end: bool = False,
        outputs: Sequence[str] = (),
    ) -> Arrays:
        """Send one request of a sequence; threads may, each for its own sequence."""
        wanted = [triton_http.InferRequestedOutput(name) for name in outputs] or None
        with triton_http.InferenceServerClient(self._url, network_timeout=60) as client:
            result = client.infer(
                model, _inputs(inputs), outputs=wanted, sequence_id=sequence, sequence_start=start, sequence_end=end
            )
        return _arrays(result)

    def _send(self, model: str, inputs: Arrays, outputs: Sequence[str] = ()) -> triton_http.InferAsyncRequest:
        given = _inputs(inputs)
        self._sent[model] += _items(inputs)
        wanted = [triton_http.InferRequestedOutput(name) for name in outputs] or None
        return self._client.async_infer(model, given, outputs=wanted)

    def _answer(self, model: str, inputs: Arrays, request: triton_http.InferAsyncRequest) -> Arrays:
        try:
            return _arrays(request.get_result(timeout=60))
        except InferenceServerException:
            # Triton does not count it either.
            self._sent[model] -= _items(inputs)
            raise

    def executions(self, model: str) -> int:
        """Return how often the model was executed so far, once all that was sent is counted: Triton answers first."""
        deadline = time.monotonic() + SECONDS_TO_COUNT
        while True:
            statistics = self._client.get_inference_statistics(model)["model_stats"][0]
            if statistics["inference_count"] >= self._sent[model] or time.monotonic() > deadline:
                return int(statistics["execution_count"])
            time.sleep(0.01)

    def index(self) -> dict[str, dict[str, Any]]:
        """Return each model's state and, where it has no answer, the reason."""
        return {each["name"]: each for each in self._client.get_model_repository_index()}

    def is_live(self) -> bool:
        return bool(self._client.is_server_live())


def _arrays(result: triton_http.InferResult) -> Arrays:
    return {each["name"]: result.as_numpy(each["name"]) for each in result.get_response()["outputs"]}


def _items(inputs: Arrays) -> int:
    return len(next(iter(inputs.values())))


def _inputs(arrays: Arrays) -> list[triton_http.InferInput]:
    given = []
    for name, array in arrays.items():
        given.append(triton_http.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype)))
        given[-1].set_data_from_numpy(array)
    return given


def row(*values: float) -> np.ndarray:
    """Return one batch item, [1, n] float32."""
    return np.array([values], dtype=np.float32)


def text(*texts: str | bytes) -> np.ndarray:
    """Return texts as [n, 1] of UTF-8 bytes."""
    encoded = [each.encode() if isinstance(each, str) else each for each in texts]
    return np.array(encoded, dtype=np.object_).reshape(-1, 1)


def mode(number: int) -> Arrays:
    """Return the input that makes the model ``answer`` answer in this way."""
    return {"MODE": np.array([[number]], dtype=np.int32)}
