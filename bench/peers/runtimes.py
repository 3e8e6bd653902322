"""ONNX Runtime and OpenVINO in a loop: the same encoder with its pooling, exported to ONNX, on padded batches.

int8 is what sentence-transformers makes of a model: dynamic for ONNX Runtime (``export_dynamic_quantized_onnx_model``),
static and calibrated for OpenVINO (``export_static_quantized_openvino_model``). Both are made with what these call in
the end, without optimum, whose packages for the two exclude each other.
"""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Callable, Sequence
from pathlib import Path

import loop
import numpy as np
from tokenizers import Tokenizer

Inputs = dict[str, np.ndarray]
Embed = Callable[[Inputs], np.ndarray]
#: Sentences that activations are calibrated on, as many as sentence-transformers takes.
CALIBRATED = 300


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


def quantize_onnx(source: Path, file: Path, inputs: Sequence[Inputs]) -> None:
    """Write the ONNX model with int8 weights, by channel; activations are quantized as they come, without calibration.

    Without VNNI, products of unsigned and signed bytes saturate: both are unsigned there, as for sentence-transformers'
    ``avx2``, and else the weights are signed, as for its ``avx512_vnni``.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    signed = "vnni" in Path("/proc/cpuinfo").read_text()
    weights = QuantType.QInt8 if signed else QuantType.QUInt8
    quantize_dynamic(source, file, per_channel=True, weight_type=weights, extra_options={"WeightSymmetric": True})


def quantize_openvino(source: Path, file: Path, inputs: Sequence[Inputs]) -> None:
    """Write OpenVINO's form of the model with int8 weights and activations, whose scales are calibrated on inputs."""
    import nncf
    import openvino as ov

    model, dataset = ov.Core().read_model(source), nncf.Dataset([*inputs])
    ov.save_model(nncf.quantize(model, dataset, subset_size=len(inputs), model_type=nncf.ModelType.TRANSFORMER), file)


def onnxruntime(file: Path, dtype: str, threads: int) -> tuple[Embed, dict[str, str]]:
    """Load into ONNX Runtime, all graph optimisations on; what is not int8 is float32."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = ort.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    return lambda inputs: session.run(None, inputs)[0], {"dtype": dtype, "onnxruntime": ort.__version__}


def openvino(file: Path, dtype: str, threads: int) -> tuple[Embed, dict[str, str]]:
    """Load into OpenVINO with a hint at the dtype, which it follows where the processor can.

    What is not int8 in an int8 model is of the dtype that OpenVINO chooses for the processor.
    """
    import openvino as ov

    core = ov.Core()
    hints = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"}
    if dtype != "int8":
        hints["INFERENCE_PRECISION_HINT"] = {"bfloat16": "bf16", "float32": "f32"}[dtype]
    compiled = core.compile_model(core.read_model(file), "CPU", hints)
    used = {"bf16": "bfloat16", "f32": "float32"}[compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()]
    request = compiled.create_infer_request()
    facts = {"dtype": "int8" if dtype == "int8" else used, "openvino": ov.__version__}
    return lambda inputs: request.infer(inputs)[0], facts


RUNTIMES = {"onnxruntime": onnxruntime, "openvino": openvino}
#: How each makes int8 of the exported model, and what its file ends with.
QUANTIZED = {"onnxruntime": (quantize_onnx, ".int8.onnx"), "openvino": (quantize_openvino, ".int8.xml")}


def make(function: Callable[..., None], *arguments: object) -> None:
    """Write a file in a process of its own: the memory of torch and of calibration is no runtime's.

    Raises:
        RuntimeError: it failed; the log says why.
    """
    process = multiprocessing.get_context("spawn").Process(target=function, args=arguments)
    process.start()
    process.join()
    if process.exitcode:
        raise RuntimeError(f"{function.__name__} failed")


def tokenizing(checkpoint: Path) -> Callable[[Sequence[str]], Inputs]:
    """Return what makes a batch of texts, padded to its longest, of at most 256 tokens."""
    tokenizer = Tokenizer.from_file(str(checkpoint / "tokenizer.json"))
    tokenizer.enable_padding()
    tokenizer.enable_truncation(256)

    def inputs(batch: Sequence[str]) -> Inputs:
        encodings = tokenizer.encode_batch([*batch])
        arrays = {"input_ids": [e.ids for e in encodings], "attention_mask": [e.attention_mask for e in encodings]}
        return {name: np.array(rows, dtype=np.int64) for name, rows in arrays.items()}

    return inputs


def load(
    runtime: str, dtype: str, threads: int, checkpoint: Path, file: Path, calibrated: Sequence[Inputs]
) -> tuple[Embed, dict[str, str]]:
    """Load a checkpoint into a runtime, and say what it computes in.

    Args:
        runtime: of :data:`RUNTIMES`.
        dtype: float32, bfloat16 or int8.
        threads: inside an operation.
        checkpoint: folder of the Hugging Face model.
        file: its export; made when it is not there, as is that in int8 beside it.
        calibrated: inputs for int8 to be calibrated on.
    """
    if not file.is_file():
        make(export, checkpoint, file)
    if dtype == "int8":
        quantize, ending = QUANTIZED[runtime]
        source, file = file, file.with_suffix(ending)
        if not file.is_file():
            make(quantize, source, file, calibrated)
    return RUNTIMES[runtime](file, dtype, threads)


def main() -> None:
    """Load, and embed as often as asked."""
    arguments = loop.arguments(
        __doc__ or "",
        runtime={"choices": RUNTIMES, "required": True},
        dtype={"choices": ("float32", "bfloat16", "int8"), "required": True},
        onnx={"type": Path, "required": True, "help": "the exported model; made when it is not there"},
    )
    texts = json.loads(arguments.texts.read_text())["sentences"]
    inputs = tokenizing(arguments.checkpoint)
    calibrated = [inputs([text]) for text in texts[:CALIBRATED]]
    embed, facts = load(
        arguments.runtime, arguments.dtype, arguments.threads, arguments.checkpoint, arguments.onnx, calibrated
    )

    def tokens(batch: int, seconds: float) -> dict[str, object]:
        return loop.timed(embed, [(len(each), inputs(each)) for each in loop.cut(texts, batch)], seconds)

    def answers(count: int) -> dict[str, object]:
        return {"embeddings": embed(inputs(texts[:count])).tolist()}

    loop.serve(arguments.socket, facts, {"tokens": tokens, "embed": answers})


if __name__ == "__main__":
    main()
