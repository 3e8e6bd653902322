"""Converts SentencePiece tokenizers of KoBERT's and of T5's kind to the Rust library's form.

The former's checkpoint is a BERT with ``<any name>.model`` and perhaps ``vocab.txt``, which gives the pieces other ids
than SentencePiece does. transformers would take that file for a WordPiece vocabulary and split the text wrongly. The
latter's, mT5's above all, has nothing but the model.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from google.protobuf.message import DecodeError
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast
from transformers.utils import sentencepiece_model_pb2_new as sentencepiece_model

from trident_training.checkpoints.errors import CheckpointError

#: What each special token may be called; the first that the vocabulary has is taken.
SPECIALS = {
    "unk_token": ("[UNK]", "<unk>"),
    "pad_token": ("[PAD]", "<pad>"),
    "cls_token": ("[CLS]", "<s>"),
    "sep_token": ("[SEP]", "</s>"),
    "mask_token": ("[MASK]", "<mask>"),
}
#: Types of models whose texts have no first token, and a last one alone.
WITHOUT_FIRST = {"t5", "mt5", "umt5"}
#: As SentencePiece's format numbers kinds of models and of pieces.
UNIGRAM, USER_DEFINED = 1, 4
#: Score of a piece that the vocabulary has beside SentencePiece's own: it is never the best way to split a text.
NEVER = -1e4


def sentencepiece_file(checkpoint: str | Path) -> Path | None:
    """Return a folder's SentencePiece model where it has no tokenizer in the Rust library's form."""
    folder = Path(checkpoint)
    if not folder.is_dir() or (folder / "tokenizer.json").is_file():
        return None
    return next(iter(sorted(folder.glob("*.model"))), None)


def convert(file: Path, model_type: str = "") -> PreTrainedTokenizerFast:
    """Return a SentencePiece unigram model as a fast tokenizer of BERT's kind, ``[CLS] a [SEP] b [SEP]``, or T5's.

    Args:
        file: the model; ``vocab.txt`` beside it, a piece a line, gives the ids.
        model_type: the encoder's, as its configuration has it: T5's kind reads ``a </s> b </s>``.

    Raises:
        CheckpointError: not a unigram model, or without special tokens to put around a text.
    """
    proto = _read(file)
    scores = {piece.piece: piece.score for piece in proto.pieces}
    listed = file.with_name("vocab.txt")
    names = listed.read_text("utf-8").removesuffix("\n").split("\n") if listed.is_file() else list(scores)
    ids = {name: index for index, name in enumerate(names)}
    specials = {role: next((each for each in known if each in ids), "") for role, known in SPECIALS.items()}
    first = "" if model_type in WITHOUT_FIRST else "cls_token"
    for role in filter(None, ("unk_token", first, "sep_token", "pad_token")):
        if not specials[role]:
            raise CheckpointError(f"{file} has no {role}; {' or '.join(SPECIALS[role])} is accepted")
    specials = {role: name for role, name in specials.items() if name}
    tokenizer = Tokenizer(
        models.Unigram(
            [(name, scores.get(name, NEVER)) for name in names],
            unk_id=ids[specials["unk_token"]],
            byte_fallback=proto.trainer_spec.byte_fallback,
        )
    )
    tokenizer.normalizer = _normalizer(proto.normalizer_spec)
    prefix = "always" if proto.normalizer_spec.add_dummy_prefix else "never"
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=prefix, split=False)
    tokenizer.decoder = decoders.Metaspace(prepend_scheme=prefix)
    frame = [specials[role] for role in (first, "sep_token") if role]
    *opening, last = frame
    tokenizer.post_processor = processors.TemplateProcessing(
        single=" ".join([*opening, "$A", last]),
        pair=" ".join([*opening, "$A", last, "$B:1", f"{last}:1"]),
        special_tokens=[(each, ids[each]) for each in frame],
    )
    tokenizer.add_special_tokens(list(specials.values()))
    own = [piece.piece for piece in proto.pieces if piece.type == USER_DEFINED and piece.piece in ids]
    tokenizer.add_tokens([AddedToken(each, normalized=False) for each in own if each not in specials.values()])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_input_names=["input_ids", *(["token_type_ids"] if first else []), "attention_mask"],
        **specials,
    )


def _read(file: Path) -> Any:
    proto = sentencepiece_model.ModelProto()
    try:
        proto.ParseFromString(file.read_bytes())
    except DecodeError as error:
        raise CheckpointError(f"{file} is no model of SentencePiece: {error}") from error
    if proto.trainer_spec.model_type != UNIGRAM or not proto.pieces:
        raise CheckpointError(f"{file} is no unigram model of SentencePiece, and only those are converted")
    return proto


def _normalizer(spec: Any) -> normalizers.Normalizer:
    """Return SentencePiece's own mapping of characters, then single spaces and none at the ends.

    What else Unicode calls white space is a character like others where the mapping leaves it: U+0085 is one.
    """
    # In this order: looking for many spaces at an end takes time with the square of any run of them.
    steps: list[normalizers.Normalizer] = [
        normalizers.Replace(Regex(" {2,}"), " "),
        normalizers.Replace(Regex(r"\A | \z"), ""),
    ]
    if spec.precompiled_charsmap:
        steps = [normalizers.Precompiled(spec.precompiled_charsmap), *steps]
    # The Rust form looks long graphemes up by character, and so leaves decomposed Hangul apart, which NFKC joins.
    return normalizers.Sequence([normalizers.NFC(), *steps] if "nfkc" in spec.name else steps)
