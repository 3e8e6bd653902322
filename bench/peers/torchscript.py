"""Trident's exported model without a server: ``model.pt`` called directly, on ragged input as Triton makes it."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import loop
import torch
from tokenizers import Encoding, Tokenizer
from torch import Tensor
from torch.profiler import ProfilerActivity, profile
from trident_server.backends.pytorch.prepacking import prepack

Texts = Sequence[Any]
#: Tokens that neighbouring windows of a passage share, as the served tokenizer has it.
STRIDE = 96
#: What computes attention, once of queries ``[rows, heads, longest, dim]`` and, where it is written out, of scores
#: ``[rows, heads, longest, longest]``.
ATTENTION = ("aten::scaled_dot_product_attention", "aten::softmax")
LINEAR = ("aten::linear", "mkldnn::_linear_pointwise")


class Engine:
    """A loaded model with its tokenizer."""

    def __init__(self, model: Path, tokenizer: Path, task: str, most_tokens: int) -> None:
        # As the served backend has it: every batch has a new shape, and profiling would optimise for each.
        torch._C._jit_set_profiling_mode(False)
        self.module = torch.jit.load(str(model)).eval()
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

    def padding(what: str, batch: int, layers: int) -> Mapping[str, Any]:
        batches = [engine.encode(each) for each in loop.cut(texts[what], batch)]
        return count_padding(engine, batches, layers)

    return {"tokens": tokens, "text": through_text, "embed": embed, "padding": padding}


def count_padding(engine: Engine, batches: Sequence[Sequence[Encoding]], layers: int) -> dict[str, Any]:
    """Count what is computed of what is asked, by the shapes that the running model hands to its operations.

    Args:
        engine: the model.
        batches: sequences that are computed together.
        layers: of the encoder.

    Returns:
        ``real`` tokens; ``linear`` and ``attention``: tokens that these operations compute a layer; ``real_products``
        and ``products``: the same of attention's products of queries and keys. None where an operation was not seen.
    """
    found = {"real": 0, "real_products": 0, "linear": 0, "attention": 0, "products": 0}
    for encodings in batches:
        arguments = engine.arguments(encodings)
        with profile(activities=[ProfilerActivity.CPU], record_shapes=True) as record:
            engine(arguments)
        seen = {
            name: [each.input_shapes for each in record.events() if each.name == name] for name in (*LINEAR, *ATTENTION)
        }
        rectangles = [_first(shapes, 4) for shapes in seen[ATTENTION[0]] or seen[ATTENTION[1]]]
        rectangles = [shape for shape in rectangles if shape]
        linear = [_first(shapes, 2) for name in LINEAR for shapes in seen[name]]
        lengths = [len(each.ids) for each in encodings]
        found["real"] += sum(lengths)
        found["real_products"] += sum(length * length for length in lengths)
        found["linear"] += max((math.prod(shape[:-1]) for shape in linear if shape), default=0)
        found["attention"] += sum(rows * longest for rows, _, longest, _ in rectangles) // layers
        found["products"] += sum(rows * longest * longest for rows, _, longest, _ in rectangles) // layers
    return {name: value or None for name, value in found.items()}


def _first(shapes: Sequence[Sequence[int]], dimensions: int) -> Sequence[int]:
    """Return the first tensor's shape of at least so many dimensions; other arguments stand among them as empty."""
    return next((shape for shape in shapes if len(shape) >= dimensions), [])


def main() -> None:
    """Load the model and run it as often as asked."""
    arguments = loop.arguments(
        __doc__ or "",
        model={"type": Path, "required": True},
        tokenizer={"type": Path, "required": True},
        task={"choices": ("sts", "cola", "qa"), "required": True},
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
