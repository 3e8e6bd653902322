"""What most people write first: a FastAPI service that calls the Hugging Face model inside the endpoint."""

from __future__ import annotations

import argparse

import torch
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel
from transformers import AutoModel, AutoTokenizer


class Text(BaseModel):
    """A request."""

    text: str


def create(checkpoint: str, threads: int) -> FastAPI:
    """Load the model in float32 and put an endpoint around it."""
    torch.set_num_threads(threads)
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    model = AutoModel.from_pretrained(checkpoint, dtype=torch.float32).eval()
    app = FastAPI()

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    # Not `def`: threads that each ask torch for all cores get in one another's way, and fewer are answered.
    @app.post("/embed")
    async def embed(body: Text) -> dict[str, list[float]]:
        batch = tokenizer([body.text], return_tensors="pt", truncation=True, max_length=256)
        with torch.inference_mode():
            hidden = model(**batch).last_hidden_state
            mask = batch["attention_mask"].unsqueeze(2)
            pooled = torch.nn.functional.normalize((hidden * mask).sum(1) / mask.sum(1), dim=1)
        return {"embedding": pooled[0].tolist()}

    return app


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--threads", type=int, required=True)
    arguments = parser.parse_args()
    uvicorn.run(
        create(arguments.checkpoint, arguments.threads), host="127.0.0.1", port=arguments.port, log_level="warning"
    )
