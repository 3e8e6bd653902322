"""LitServe as its documentation has it: one worker that batches, and sentence-transformers in it."""

from __future__ import annotations

import argparse

import litserve
import torch
from sentence_transformers import SentenceTransformer


class Embeddings(litserve.LitAPI):
    """Embeds the texts of all requests that have come together."""

    def __init__(self, checkpoint: str, dtype: str, threads: int, **options: object) -> None:
        super().__init__(**options)
        self.checkpoint, self.dtype, self.threads = checkpoint, dtype, threads

    def setup(self, device: str) -> None:
        """Load the model; LitServe calls this in the worker."""
        torch.set_num_threads(self.threads)
        model_kwargs = {"dtype": getattr(torch, self.dtype)}
        self.model = SentenceTransformer(self.checkpoint, device="cpu", model_kwargs=model_kwargs)

    def decode_request(self, request: dict[str, str]) -> str:
        """Return the text of a request."""
        return request["text"]

    def predict(self, texts: list[str]) -> object:
        """Embed a batch."""
        return self.model.encode(list(texts), batch_size=len(texts), normalize_embeddings=True, show_progress_bar=False)

    def encode_response(self, output: object) -> dict[str, object]:
        """Return the answer of one request."""
        return {"embedding": output.tolist()}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--dtype", required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--wait", type=float, default=0.005, help="seconds that a batch waits for company")
    arguments = parser.parse_args()
    api = Embeddings(
        arguments.checkpoint,
        arguments.dtype,
        arguments.threads,
        max_batch_size=arguments.batch,
        batch_timeout=arguments.wait,
    )
    litserve.LitServer(api, accelerator="cpu").run(
        host="127.0.0.1", port=arguments.port, generate_client_file=False, log_level="warning"
    )
