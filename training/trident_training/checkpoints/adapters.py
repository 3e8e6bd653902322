"""Shipped weights: what a fine-tuning changed in a base, small enough to stand in the project.

An adapter is a folder with ``adapter.safetensors`` (the changed tensors in float16, by their names in the Hugging Face
model; of a matrix that LoRA changed, the two factors of the change, which are much smaller), ``config.json`` (the
model's configuration), ``metrics.json``, what the task notes beside its weights,
``tokenizer.json`` where it is not the base's, and a model card, ``README.md``. Tensors that the fine-tuning left alone,
the word embeddings above all, come from the base; of a vocabulary that was cut, by its pieces.

In a wheel the weights are ``adapter.safetensors.planes``, the same bytes in another order, which is smaller when it is
compressed: the first, the third and so on, then the others.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load, load_file, save_file
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    PreTrainedConfig,
    PreTrainedModel,
)

from trident_training.checkpoints.bundled import location
from trident_training.checkpoints.errors import CheckpointError
from trident_training.checkpoints.loading import class_of, load_tokenizer, quiet, tokenizer_json
from trident_training.checkpoints.notes import read_object
from trident_training.checkpoints.pruning import former_rows, word_embeddings
from trident_training.data.problems import one_line

WEIGHTS, TOKENIZER = "adapter.safetensors", "tokenizer.json"
PLANES = f"{WEIGHTS}.planes"
CONFIGURATION = "config.json"
METRICS = "metrics.json"
#: What is noted there, each as a file beside the checkpoint's weights.
NOTES = ("result.json", "test_metrics.json")
#: What the names of a model's sizes end with.
SIZES = ("size", "layers", "heads", "embeddings", "dim", "buckets", "d_model", "d_ff", "d_kv")
#: Behind a matrix's name: factors of what is added to the base's, ``[outputs, rank]`` times ``[rank, inputs]``.
LEFT, RIGHT = ".lora_B", ".lora_A"
#: Ranks beyond this one are not looked for.
MOST_RANK = 128
HEADS = {
    "ForSequenceClassification": AutoModelForSequenceClassification,
    "ForQuestionAnswering": AutoModelForQuestionAnswering,
    "Model": AutoModel,
}


def merge_adapter(adapter: Path, base: str) -> PreTrainedModel:
    """Return the fine-tuned model: the base with the adapter's tensors in their place, float32, for inference.

    Args:
        adapter: the adapter's folder.
        base: path, hub name or bundled name of the checkpoint it was fine-tuned from.

    Raises:
        CheckpointError: a file cannot be read; a tensor is in neither, or in the adapter alone and not in the model, or
            of another shape.
    """
    base = location(base)
    changed = read_adapter(adapter)
    config = _read_config(adapter, base, changed)
    try:
        model = _with_head(base, config)
    except (CheckpointError, OSError) as error:
        raise CheckpointError(f"{adapter / CONFIGURATION} and {base} cannot be loaded together: {error}") from error
    # A configuration that is wrong shows itself by whatever it makes torch or transformers do.
    except Exception as error:
        raise CheckpointError(
            f"{adapter / CONFIGURATION} describes no model that {base} can become: {one_line(error)}"
        ) from error
    changed = _kept_embeddings(model, base, adapter) | changed
    drawn = _drawn_at_random(model, base) - set(changed)
    if drawn:
        raise CheckpointError(f"{adapter} and {base} together lack {', '.join(sorted(drawn))}")
    try:
        changed = _multiplied(changed, model.state_dict())
        unexpected = model.load_state_dict(changed, strict=False).unexpected_keys
    except RuntimeError as error:
        raise CheckpointError(f"{adapter} does not fit {base}: {str(error).splitlines()[-1].strip()}") from error
    if unexpected:
        raise CheckpointError(f"{adapter} holds {', '.join(unexpected)}, which {base} has no place for")
    model.eval()
    return model


def _read_config(adapter: Path, base: str, changed: Mapping[str, torch.Tensor]) -> PreTrainedConfig:
    """Return the configuration of the model that an adapter makes of its base.

    It is no larger than the base in anything: otherwise a file of a few bytes could ask for any amount of memory.

    Args:
        adapter: the adapter's folder.
        base: the base's.
        changed: the adapter's tensors. A vocabulary and labels may be of their size.

    Raises:
        CheckpointError: it cannot be read, or is another kind of model's.
    """
    file = adapter / CONFIGURATION
    content, basis = read_object(file), AutoConfig.from_pretrained(base)
    if content.get("model_type") != basis.model_type:
        raise CheckpointError(f"{file} is not of the type {basis.model_type}, as {base} is")
    rows = max((len(tensor) for tensor in changed.values() if tensor.dim()), default=0)
    sizes = {name: size for name, size in basis.to_dict().items() if name.endswith(SIZES) and type(size) is int}
    sizes["vocab_size"] = max(sizes.get("vocab_size", 0), rows)
    sizes["num_labels"] = max(basis.num_labels, rows)
    # Further names of them, by which a configuration may set them as well.
    sizes |= {alias: sizes[name] for alias, name in basis.attribute_map.items() if name in sizes}
    for name, most in sizes.items():
        size = content.get(name, 0)
        if type(size) is not int or not 0 <= size <= most:
            raise CheckpointError(f"{file}: {name} is {str(size)[:40]}; what is accepted goes up to {most}")
    try:
        return cast(PreTrainedConfig, AutoConfig.from_pretrained(adapter))
    # Whatever transformers makes of it.
    except Exception as error:
        raise CheckpointError(f"{file} is no model's configuration: {one_line(error)}") from error


def read_adapter(adapter: Path) -> dict[str, torch.Tensor]:
    """Return an adapter's tensors in float32, by name, factors as such.

    Raises:
        CheckpointError: its weights cannot be read.
    """
    try:
        packed = (adapter / PLANES).is_file() and not (adapter / WEIGHTS).is_file()
        held = load(_joined(adapter / PLANES)) if packed else load_file(adapter / WEIGHTS)
        return {name: tensor.to(torch.float32) for name, tensor in held.items()}
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{adapter} cannot be read: {error}") from error


def _joined(file: Path) -> bytes:
    """Return the bytes of a file that a wheel has in another order."""
    content = file.read_bytes()
    half, joined = (len(content) + 1) // 2, bytearray(len(content))
    joined[::2], joined[1::2] = content[:half], content[half:]
    return bytes(joined)


def unpack_adapter(adapter: Path, base: str, folder: Path, companions: Sequence[str] = ()) -> None:
    """Write the checkpoint that an adapter and its base are, with what was noted beside the weights.

    Args:
        adapter: the adapter's folder.
        base: path, hub name or bundled name of the checkpoint it was fine-tuned from.
        folder: where to.
        companions: files that may stand in the adapter's folder, and are copied.

    Raises:
        CheckpointError: as :func:`merge_adapter` has it, or the adapter's metrics cannot be read.
    """
    merge_adapter(adapter, base).save_pretrained(folder)
    own = (adapter / TOKENIZER).is_file()
    load_tokenizer(adapter if own else base).save_pretrained(folder)
    metrics = read_object(adapter / METRICS)
    if strange := [name for name in metrics if name not in NOTES]:
        raise CheckpointError(f"{adapter / METRICS} notes '{strange[0]}'; {' and '.join(NOTES)} are accepted")
    for name, content in metrics.items():
        (folder / name).write_text(json.dumps(content, indent=2) + "\n")
    for name in companions:
        if (adapter / name).is_file():
            shutil.copyfile(adapter / name, folder / name)


def save_adapter(
    checkpoint: Path, base: str, folder: Path, metrics: dict[str, Any], companions: Sequence[str] = ()
) -> None:
    """Write the tensors in which a fine-tuned model differs from its base.

    Args:
        checkpoint: folder of the fine-tuned model.
        base: path, hub name or bundled name of the checkpoint it was fine-tuned from.
        folder: where to; made when it is not there.
        metrics: what the model scored.
        companions: files that may stand beside the weights, and are copied.
    """
    base = location(base)
    with quiet():
        config = AutoConfig.from_pretrained(checkpoint)
        kind = class_of(head_of(config), str(checkpoint), config)
        model = kind.from_pretrained(checkpoint, dtype=torch.float32)
    before = _with_head(base, model.config)
    kept = {name: tensor for name, tensor in before.state_dict().items() if name not in _drawn_at_random(before, base)}
    changed = {}
    cut = _kept_embeddings(model, base, checkpoint)
    for name, tensor in model.state_dict().items():
        if name in cut and torch.equal(tensor, cut[name]):
            continue
        if name not in kept:
            changed[name] = tensor
        elif not torch.equal(tensor, kept[name]):
            changed |= _factored(name, tensor, kept[name])
    changed = {name: tensor.to(torch.float16).contiguous() for name, tensor in changed.items()}
    folder.mkdir(parents=True, exist_ok=True)
    save_file(changed, folder / WEIGHTS, metadata={"format": "pt"})
    # Others may build from it, whoever wrote it.
    (folder / WEIGHTS).chmod(0o644)
    model.config.save_pretrained(folder)
    (folder / METRICS).write_text(json.dumps(metrics, indent=2) + "\n")
    for name in companions:
        if (checkpoint / name).is_file():
            shutil.copyfile(checkpoint / name, folder / name)
    if _tokenizing(checkpoint) != _tokenizing(base):
        load_tokenizer(checkpoint).save_pretrained(folder)


def _factored(name: str, tensor: torch.Tensor, before: torch.Tensor) -> dict[str, torch.Tensor]:
    """Return the two factors of a matrix's change where it has a low rank, within float32's rounding; else the matrix.

    Source: Halko et al., Finding Structure with Randomness (2011), as ``torch.svd_lowrank`` has it.
    """
    if tensor.dim() != 2 or tensor.shape != before.shape:
        return {name: tensor}
    outputs, inputs = tensor.shape
    most = min(MOST_RANK, outputs * inputs // (outputs + inputs))
    change = tensor.double() - before.double()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        left, values, right = torch.svd_lowrank(change, min(most + 8, outputs, inputs), niter=4)
    # What a merged sum was rounded by, twice over.
    tolerance = 2 * torch.finfo(torch.float32).eps * tensor.double().norm()
    for rank in range(1, most + 1):
        # The same scale on both sides, so that neither leaves float16's range.
        roots = values[:rank].sqrt()
        factors = {name + LEFT: left[:, :rank] * roots, name + RIGHT: (right[:, :rank] * roots).T}
        if values[rank:].norm() <= tolerance and (
            (change - factors[name + LEFT] @ factors[name + RIGHT]).norm() <= tolerance
        ):
            return factors
    return {name: tensor}


def _multiplied(held: dict[str, torch.Tensor], base: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return an adapter's tensors with matrices in place of the factors of their changes.

    Raises:
        RuntimeError: factors do not fit one another or the base's matrix.
    """
    whole = {}
    for name, tensor in held.items():
        matrix = name.removesuffix(LEFT)
        if matrix != name and matrix in base and matrix + RIGHT in held:
            whole[matrix] = base[matrix] + tensor @ held[matrix + RIGHT]
        elif not (name.endswith(RIGHT) and name.removesuffix(RIGHT) + LEFT in held):
            whole[name] = tensor
    return whole


def _kept_embeddings(model: PreTrainedModel, base: str, folder: Path) -> dict[str, torch.Tensor]:
    """Return the word embeddings, by name, of a vocabulary that is cut out of the base's; nothing for any other."""
    if not (folder / TOKENIZER).is_file():
        return {}
    rows = former_rows(tokenizer_json(base), tokenizer_json(folder))
    weights = word_embeddings(model).weight
    if rows is None or len(rows) != len(weights):
        return {}
    with quiet():
        kind = class_of(AutoModel, base, model.config)
        whole = word_embeddings(kind.from_pretrained(base, dtype=torch.float32)).weight
    if whole.size(1) != weights.size(1):
        return {}
    names = [name for name, tensor in model.named_parameters() if tensor is weights]
    return dict.fromkeys(names, whole.detach()[rows])


def _tokenizing(checkpoint: str | Path) -> dict[str, Any]:
    """Return what decides a tokenizer's tokens, without how it last padded and cut."""
    content: dict[str, Any] = json.loads(tokenizer_json(checkpoint))
    return content | {"truncation": None, "padding": None}


def head_of(config: PreTrainedConfig, otherwise: Any = None) -> Any:
    """Return the class of transformers that a fine-tuned model's configuration asks for.

    Args:
        config: the model's.
        otherwise: the class where it asks for none of those that are served.

    Raises:
        CheckpointError: it asks for none of those, and there is no other.
    """
    architectures = config.architectures or ["an encoder without a head"]
    if not isinstance(architectures, list) or not isinstance(architectures[0], str):
        raise CheckpointError("architectures is no list of names")
    for ending, head in HEADS.items():
        if architectures[0].endswith(ending):
            return head
    if otherwise is not None:
        return otherwise
    raise CheckpointError(f"{architectures[0]} is not fine-tuned for a task; a model {' or '.join(HEADS)} is accepted")


def _with_head(base: str, config: PreTrainedConfig) -> PreTrainedModel:
    with quiet():
        model: PreTrainedModel = class_of(head_of(config), base, config).from_pretrained(
            base, config=config, dtype=torch.float32, ignore_mismatched_sizes=True
        )
    return model


def _drawn_at_random(model: PreTrainedModel, base: str) -> set[str]:
    """Return the tensors that the base does not hold: the task's head, a pooler, another vocabulary's embeddings."""
    with quiet():
        # Declared to return a model alone.
        loaded: Any = type(model).from_pretrained(
            base, config=model.config, dtype=torch.float32, output_loading_info=True, ignore_mismatched_sizes=True
        )
    _, report = loaded
    return set(report["missing_keys"]) | {name for name, *_ in report["mismatched_keys"]}
