"""LitServe as its documentation has it: one worker that batches; in it sentence-transformers, or OpenVINO for int8."""

from __future__ import annotations

import argparse
import functools
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import litserve
import numpy as np

Embed = Callable[[Sequence[str]], Sequence[np.ndarray]]
#: Texts of one pass of OpenVINO, which are padded to the longest of them.
PASS = 32


def sentence_transformers(arguments: argparse.Namespace) -> Embed:
    """Load the model as most people do."""
    import torch
    from sentence_transformers import SentenceTransformer

    torch.set_num_threads(arguments.threads)
    kwargs = {"dtype": getattr(torch, arguments.dtype)}
    model = SentenceTransformer(str(arguments.checkpoint), device="cpu", model_kwargs=kwargs)
    return lambda texts: model.encode(
        [*texts], batch_size=len(texts), normalize_embeddings=True, show_progress_bar=False
    )


def openvino(arguments: argparse.Namespace) -> Embed:
    """Load it into OpenVINO, in int8 as ``runtimes.py`` makes it; texts of about the same length share a pass."""
    import runtimes

    inputs = runtimes.tokenizing(arguments.checkpoint)
    texts = json.loads(arguments.texts.read_text())["sentences"][: runtimes.CALIBRATED]
    calibrated = [inputs([text]) for text in texts]
    model, _ = runtimes.load("openvino", "int8", arguments.threads, arguments.checkpoint, arguments.onnx, calibrated)

    def embed(texts: Sequence[str]) -> Sequence[np.ndarray]:
        order = sorted(range(len(texts)), key=lambda place: len(texts[place]))
        parts = [order[start : start + PASS] for start in range(0, len(order), PASS)]
        # The runtime writes its next output where this one is.
        found = np.concatenate([model(inputs([texts[place] for place in part])).copy() for part in parts])
        return found[np.argsort(order)]

    return embed


class Embeddings(litserve.LitAPI):
    """Embeds the texts of all requests that have come together."""

    def __init__(self, load: Callable[[], Embed], **options: object) -> None:
        super().__init__(**options)
        self.load = load

    def setup(self, device: str) -> None:
        """Load the model; LitServe calls this in the worker."""
        self.embed = self.load()

    def decode_request(self, request: dict[str, str]) -> str:
        """Return the text of a request."""
        return request["text"]

    def predict(self, texts: list[str]) -> object:
        """Embed a batch."""
        return self.embed(texts)

    def encode_response(self, output: object) -> dict[str, object]:
        """Return the answer of one request."""
        return {"embedding": output.tolist()}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--dtype", required=True, help="float32, bfloat16 or int8")
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--texts", type=Path, help="JSON file of sentences, on which int8 is calibrated")
    parser.add_argument("--onnx", type=Path, help="the exported model, for int8; made when it is not there")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--wait", type=float, default=0.005, help="seconds that a batch waits for company")
    arguments = parser.parse_args()
    api = Embeddings(
        functools.partial(openvino if arguments.dtype == "int8" else sentence_transformers, arguments),
        max_batch_size=arguments.batch,
        batch_timeout=arguments.wait,
    )
    litserve.LitServer(api, accelerator="cpu").run(
        host="127.0.0.1", port=arguments.port, generate_client_file=False, log_level="warning"
    )
