"""Trident's exported model without a server: ``model.pt`` called directly, on ragged input as Triton makes it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import loop
import torch
from tokenizers import Encoding, Tokenizer
from torch import Tensor
from trident_server.backends.pytorch.kernels import install
from trident_server.backends.pytorch.prepacking import prepack

Texts = Sequence[Any]
#: Tokens that neighbouring windows of a passage share, as the served tokenizer has it.
STRIDE = 96


class Engine:
    """A loaded model with its tokenizer."""

    def __init__(self, model: Path, tokenizer: Path, task: str, most_tokens: int) -> None:
        # As the served backend has it: every batch has a new shape, and profiling would optimise for each.
        torch._C._jit_set_profiling_mode(False)
        self.module = torch.jit.load(str(model)).eval()
        install(self.module)
        prepack(self.module)
        self.reads_windows = task == "qa"
        self.tokenizer = Tokenizer.from_file(str(tokenizer))
        self.tokenizer.no_padding()
        self.tokenizer.encode_special_tokens = True
        if self.reads_windows:
            self.tokenizer.enable_truncation(most_tokens, stride=STRIDE, strategy="only_second")
        else:
            self.tokenizer.enable_truncation(most_tokens)

    def encode(self, texts: Texts) -> list[Encoding]:
        """Tokenize sentences, or pairs of question and passage into all their windows."""
        encodings = self.tokenizer.encode_batch([tuple(each) if self.reads_windows else each for each in texts])
        if not self.reads_windows:
            return encodings
        return [window for encoding in encodings for window in (encoding, *encoding.overflowing)]

    def arguments(self, encodings: Sequence[Encoding]) -> tuple[Tensor, ...]:
        """Join sequences as Triton joins ragged requests."""
        ids = _flat([each.ids for each in encodings])
        lengths = torch.tensor([len(each.ids) for each in encodings], dtype=torch.int32)
        shape = lengths.unsqueeze(1)
        if self.reads_windows:
            types = _flat([each.type_ids for each in encodings])
            return ids, types, lengths, shape, shape, torch.ones_like(shape)
        return ids, shape

    def __call__(self, arguments: tuple[Tensor, ...]) -> Any:
        """Run the model."""
        with torch.inference_mode():
            return self.module(*arguments)


def _flat(rows: Sequence[Sequence[int]]) -> Tensor:
    return torch.tensor([token for row in rows for token in row], dtype=torch.int32)


def jobs(engine: Engine, texts: Mapping[str, Texts]) -> dict[str, loop.Job]:
    """Return what can be asked of an engine."""

    def tokens(what: str, batch: int, seconds: float) -> Mapping[str, Any]:
        """Batches that were tokenized before: the model alone."""
        encodings = engine.encode(texts[what])
        batches = [(len(each), engine.arguments(each)) for each in loop.cut(encodings, batch)]
        return loop.timed(engine, batches, seconds)

    def through_text(what: str, batch: int, seconds: float) -> Mapping[str, Any]:
        """Batches of text: tokenizer and model."""
        call: Callable[[Texts], Any] = lambda each: engine(engine.arguments(engine.encode(each)))  # noqa: E731
        return loop.timed(call, [(len(each), each) for each in loop.cut(texts[what], batch)], seconds)

    def embed(count: int) -> Mapping[str, Any]:
        embeddings, _ = engine(engine.arguments(engine.encode(texts["sentences"][:count])))
        return {"embeddings": embeddings.tolist()}

    return {"tokens": tokens, "text": through_text, "embed": embed}


def main() -> None:
    """Load the model and run it as often as asked."""
    arguments = loop.arguments(
        __doc__ or "",
        model={"type": Path, "required": True},
        tokenizer={"type": Path, "required": True},
        task={"choices": ("sts", "sts_ko", "cola", "qa"), "required": True},
        most_tokens={"type": int, "required": True},
    )
    # Tokenizing uses the calling thread alone, as the served tokenizer does.
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    torch.set_num_threads(arguments.threads)
    engine = Engine(arguments.model, arguments.tokenizer, arguments.task, arguments.most_tokens)
    report = json.loads(arguments.model.with_name("export.json").read_text())
    facts = {"dtype": report["dtype"], "torch": torch.__version__}
    loop.serve(arguments.socket, facts, jobs(engine, json.loads(arguments.texts.read_text())))


if __name__ == "__main__":
    main()
