"""The ceiling: the encoder's matrix products alone, on the tokens of the same batches, without anything between them.

No padding, no attention, no norms: what reads the same weights at this dtype cannot be faster. Query, key and value are
one product, as the fastest layout has them.
"""

from __future__ import annotations

import json
import time

import loop
import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from transformers import AutoModel

FUSED = ("query", "key", "value")
TRIAL_TOKENS = 1024


def weights(model: nn.Module) -> list[tuple[Tensor, Tensor]]:
    """Return weight and bias of every product of the encoder, in its order, query, key and value as one."""
    found: list[tuple[Tensor, Tensor]] = []
    joined: list[nn.Linear] = []
    for name, part in model.named_modules():
        if not isinstance(part, nn.Linear) or name.startswith("pooler"):
            continue
        if name.rpartition(".")[2] in FUSED:
            joined.append(part)
            if len(joined) < len(FUSED):
                continue
        group = joined or [part]
        found.append((torch.cat([each.weight for each in group]), torch.cat([each.bias for each in group])))
        joined = []
    return found


def run(products: list[tuple[Tensor, Tensor]], rows: dict[int, Tensor]) -> None:
    """Multiply rows of each product's width by its weights."""
    with torch.inference_mode():
        for weight, bias in products:
            nn.functional.linear(rows[weight.shape[1]], weight, bias)


def main() -> None:
    """Choose the faster dtype, then multiply as often as asked."""
    arguments = loop.arguments(__doc__ or "")
    torch.set_num_threads(arguments.threads)
    model = AutoModel.from_pretrained(arguments.checkpoint, dtype=torch.float32).eval()
    products = {
        dtype: [(w.to(dtype), b.to(dtype)) for w, b in weights(model)] for dtype in (torch.bfloat16, torch.float32)
    }
    widths = sorted({weight.shape[1] for weight, _ in products[torch.float32]})

    def rows(tokens: int, dtype: torch.dtype) -> dict[int, Tensor]:
        return {width: torch.randn(tokens, width).to(dtype) for width in widths}

    def trial(dtype: torch.dtype) -> float:
        example = rows(TRIAL_TOKENS, dtype)
        times = []
        for _ in range(10):
            start = time.perf_counter()
            run(products[dtype], example)
            times.append(time.perf_counter() - start)
        return min(times)

    best = min(products, key=trial)
    tokenizer = Tokenizer.from_file(str(arguments.checkpoint / "tokenizer.json"))
    tokenizer.no_padding()
    texts = json.loads(arguments.texts.read_text())["sentences"]
    lengths = [len(encoding.ids) for encoding in tokenizer.encode_batch(texts)]
    operations = sum(2 * weight.numel() for weight, _ in products[best])

    def tokens(batch: int, seconds: float) -> dict[str, object]:
        batches = [(len(each), rows(sum(each), best)) for each in loop.cut(lengths, batch)]
        found = loop.timed(lambda each: run(products[best], each), batches, seconds)
        passes = found["items"] / len(lengths)
        return found | {"teraflops": passes * sum(lengths) * operations / found["seconds"] / 1e12}

    loop.serve(
        arguments.socket, {"dtype": str(best).removeprefix("torch."), "torch": torch.__version__}, {"tokens": tokens}
    )


if __name__ == "__main__":
    main()
