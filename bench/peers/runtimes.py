"""ONNX Runtime and OpenVINO in a loop: the same encoder with its pooling, exported to ONNX, on padded batches."""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Callable
from pathlib import Path

import loop
import numpy as np
from tokenizers import Tokenizer

Embed = Callable[[dict[str, np.ndarray]], np.ndarray]


def export(checkpoint: Path, file: Path) -> None:
    """Write the encoder with mean pooling and unit norm as ONNX, for any batch and length."""
    import torch
    from transformers import AutoModel

    class Embedding(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = AutoModel.from_pretrained(checkpoint, dtype=torch.float32, attn_implementation="sdpa")

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
            hidden = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
            mask = attention_mask.unsqueeze(2).to(hidden.dtype)
            return torch.nn.functional.normalize((hidden * mask).sum(1) / mask.sum(1), dim=1)

    ids = torch.tensor([[101, 2023, 2003, 102], [101, 2023, 102, 0], [101, 102, 0, 0]])
    axes = {0: torch.export.Dim("batch"), 1: torch.export.Dim("length", max=512)}
    torch.onnx.export(
        Embedding().eval(),
        (ids, (ids > 0).to(torch.int64)),
        str(file),
        input_names=["input_ids", "attention_mask"],
        output_names=["sentence_embedding"],
        dynamic_shapes={"input_ids": axes, "attention_mask": axes},
        dynamo=True,
        external_data=False,
    )


def onnxruntime(file: Path, dtype: str, threads: int) -> tuple[Embed, dict[str, str]]:
    """Load into ONNX Runtime, float32, all graph optimisations on."""
    import onnxruntime as ort

    if dtype != "float32":
        raise ValueError(f"ONNX Runtime computes this graph in float32 on a processor, and {dtype} is asked for")
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = ort.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    return lambda inputs: session.run(None, inputs)[0], {"dtype": "float32", "onnxruntime": ort.__version__}


def openvino(file: Path, dtype: str, threads: int) -> tuple[Embed, dict[str, str]]:
    """Load into OpenVINO with a hint at the dtype, which it follows where the processor can."""
    import openvino as ov

    core = ov.Core()
    hints = {
        "INFERENCE_PRECISION_HINT": {"bfloat16": "bf16", "float32": "f32"}[dtype],
        "INFERENCE_NUM_THREADS": threads,
        "PERFORMANCE_HINT": "LATENCY",
    }
    compiled = core.compile_model(core.read_model(file), "CPU", hints)
    used = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
    request = compiled.create_infer_request()
    facts = {"dtype": {"bf16": "bfloat16", "f32": "float32"}.get(used, used), "openvino": ov.__version__}
    return lambda inputs: request.infer(inputs)[0], facts


RUNTIMES = {"onnxruntime": onnxruntime, "openvino": openvino}


def main() -> None:
    """Export where that was not done yet, load, and embed as often as asked."""
    arguments = loop.arguments(
        __doc__ or "",
        runtime={"choices": RUNTIMES, "required": True},
        dtype={"choices": ("float32", "bfloat16"), "required": True},
        onnx={"type": Path, "required": True, "help": "the exported model; made when it is not there"},
    )
    if not arguments.onnx.is_file():
        draft = arguments.onnx.with_suffix(".draft")
        # In a process of its own: torch's memory is no runtime's.
        exporter = multiprocessing.get_context("spawn").Process(target=export, args=(arguments.checkpoint, draft))
        exporter.start()
        exporter.join()
        draft.replace(arguments.onnx)
    embed, facts = RUNTIMES[arguments.runtime](arguments.onnx, arguments.dtype, arguments.threads)
    tokenizer = Tokenizer.from_file(str(arguments.checkpoint / "tokenizer.json"))
    tokenizer.enable_padding()
    tokenizer.enable_truncation(256)
    texts = json.loads(arguments.texts.read_text())["sentences"]

    def inputs(batch: list[str]) -> dict[str, np.ndarray]:
        encodings = tokenizer.encode_batch(batch)
        arrays = {"input_ids": [e.ids for e in encodings], "attention_mask": [e.attention_mask for e in encodings]}
        return {name: np.array(rows, dtype=np.int64) for name, rows in arrays.items()}

    def tokens(batch: int, seconds: float) -> dict[str, object]:
        return loop.timed(embed, [(len(each), inputs(each)) for each in loop.cut(texts, batch)], seconds)

    def answers(count: int) -> dict[str, object]:
        return {"embeddings": embed(inputs(texts[:count])).tolist()}

    loop.serve(arguments.socket, facts, {"tokens": tokens, "embed": answers})


if __name__ == "__main__":
    main()
