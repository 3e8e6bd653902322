"""sentence-transformers' ``encode`` in a loop, float32: it sorts by length, pads each batch, runs the plain model."""

from __future__ import annotations

import json

import loop
import sentence_transformers
import torch


def main() -> None:
    """Load the model and encode as often as asked."""
    arguments = loop.arguments(__doc__ or "")
    torch.set_num_threads(arguments.threads)
    model = sentence_transformers.SentenceTransformer(str(arguments.checkpoint), device="cpu")
    texts = json.loads(arguments.texts.read_text())["sentences"]

    def encode(batch: int, seconds: float) -> dict[str, object]:
        call = lambda each: model.encode(each, batch_size=batch, normalize_embeddings=True)  # noqa: E731
        return loop.timed(call, [(len(texts), texts)], seconds)

    def embed(count: int) -> dict[str, object]:
        return {"embeddings": model.encode(texts[:count], normalize_embeddings=True).tolist()}

    facts = {"dtype": "float32", "sentence-transformers": sentence_transformers.__version__, "torch": torch.__version__}
    loop.serve(arguments.socket, facts, {"encode": encode, "embed": embed})


if __name__ == "__main__":
    main()
