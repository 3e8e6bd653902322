"""A vocabulary cut to the pieces that texts use, and the embeddings with it.

Of a Unigram's or a WordPiece's vocabulary, a text keeps its pieces when others are taken out: the likeliest or longest
pieces that were chosen are still there, and no new ones are. A BPE's merges build on one another, so it is refused.
Source: Abdaoui et al., Load What You Need: Smaller Versions of Multilingual BERT (2020).
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import torch
from tokenizers import Tokenizer
from transformers import PreTrainedModel

from trident_training.checkpoints.errors import CheckpointError

#: What a piece begins with that says where in a word it stands.
MARKS = ("\u2581", "##")
#: Scripts whose single characters are kept, by the first word of the character's name; digits and signs of any script.
SCRIPTS = {"HANGUL", "LATIN"}
#: Texts that are cut at once.
CHUNK = 1_000


def used_pieces(tokenizer: Tokenizer, texts: Iterable[str]) -> set[str]:
    """Return the pieces that texts are cut into."""
    used: set[int] = set()
    remaining = iter(texts)
    while chunk := list(islice(remaining, CHUNK)):
        for encoding in tokenizer.encode_batch_fast(chunk):
            used.update(encoding.ids)
    return {token for token, index in tokenizer.get_vocab(with_added_tokens=True).items() if index in used}


def prune(tokenizer_json: str, texts: Iterable[str]) -> tuple[str, list[int]]:
    """Cut a vocabulary to the pieces of texts, single characters (:func:`is_kept`) and special tokens.

    Args:
        tokenizer_json: a tokenizer in the Rust library's form.
        texts: what it is to cut as before.

    Returns:
        The smaller tokenizer in the same form, and the former id of each of its tokens.

    Raises:
        CheckpointError: it is neither a Unigram nor a WordPiece.
    """
    content = json.loads(tokenizer_json)
    model = content["model"]
    if model.get("type") not in {"Unigram", "WordPiece"}:
        raise CheckpointError(
            f"a tokenizer of the type {model.get('type')} is not cut: its pieces build on one another; Unigram and "
            "WordPiece are accepted"
        )
    tokenizer = Tokenizer.from_str(tokenizer_json)
    tokenizer.no_truncation()
    special = {token["content"] for token in content["added_tokens"]}
    unknown = model["unk_token"] if model["type"] == "WordPiece" else model["vocab"][model["unk_id"]][0]
    wanted = special | {unknown} | used_pieces(tokenizer, texts)
    before = tokenizer.get_vocab(with_added_tokens=True)
    if model.get("byte_fallback"):
        wanted |= {f"<0x{byte:02X}>" for byte in range(256)}
    kept = [token for token in sorted(before, key=before.__getitem__) if token in wanted or is_kept(token)]
    after = {token: index for index, token in enumerate(kept)}
    if model["type"] == "Unigram":
        scores = dict(model["vocab"])
        model["vocab"] = [[token, scores[token]] for token in kept if token in scores]
        model["unk_id"] = after[unknown]
    else:
        model["vocab"] = {token: index for token, index in after.items() if token in model["vocab"]}
    for token in content["added_tokens"]:
        token["id"] = after[token["content"]]
    for name in ("post_processor", "padding"):
        content[name] = _renumbered(content.get(name), after)
    smaller = Tokenizer.from_str(json.dumps(content))
    if smaller.get_vocab(with_added_tokens=True) != after:
        raise CheckpointError("added tokens stand among the pieces of the vocabulary, which cannot be cut")
    return smaller.to_str(), [before[token] for token in kept]


def is_kept(token: str) -> bool:
    """Say whether a token is one character that is kept whatever the texts hold: of Hangul, Latin, a digit, a sign."""
    for mark in MARKS:
        token = token.removeprefix(mark)
    if len(token) != 1:
        return not token
    return unicodedata.category(token)[0] in "NPS" or unicodedata.name(token, "").split(" ")[0] in SCRIPTS


def word_embeddings(encoder: PreTrainedModel) -> torch.nn.Embedding:
    """Return the table of an encoder's word embeddings.

    Raises:
        CheckpointError: it has another kind of table.
    """
    table = encoder.get_input_embeddings()
    if not isinstance(table, torch.nn.Embedding):
        raise CheckpointError(f"{type(encoder).__name__} keeps no table of word embeddings")
    return table


def keep_embeddings(encoder: PreTrainedModel, kept: Sequence[int], pad: int | None) -> None:
    """Leave an encoder the embeddings of the tokens that are kept.

    Args:
        encoder: changed in place.
        kept: the former id of each token.
        pad: the padding token's new id.
    """
    weight = word_embeddings(encoder).weight.detach()
    rows = weight[torch.tensor(list(kept), dtype=torch.long)].clone()
    encoder.set_input_embeddings(torch.nn.Embedding.from_pretrained(rows, freeze=False, padding_idx=pad))
    encoder.config.vocab_size = len(rows)
    encoder.config.pad_token_id = pad


def former_rows(before: str, after: str) -> list[int] | None:
    """Return the id that each token of a tokenizer has in a larger one; None where one is not there.

    Args:
        before: the larger one, in the Rust library's form.
        after: the smaller one.
    """
    known = Tokenizer.from_str(before).get_vocab(with_added_tokens=True)
    tokens = Tokenizer.from_str(after).get_vocab(with_added_tokens=True)
    ordered = sorted(tokens, key=tokens.__getitem__)
    if not set(ordered) <= set(known) or [tokens[token] for token in ordered] != list(range(len(ordered))):
        return None
    return [known[token] for token in ordered]


def differing(before: str, after: str, texts: Sequence[str]) -> Iterator[str]:
    """Yield the texts that two tokenizers, in the Rust library's form, cut into other pieces."""
    tokenizers = [Tokenizer.from_str(each) for each in (before, after)]
    for each in tokenizers:
        each.no_truncation()
        each.no_padding()
    for start in range(0, len(texts), CHUNK):
        chunk = list(texts[start : start + CHUNK])
        for text, first, second in zip(chunk, *(each.encode_batch(chunk) for each in tokenizers), strict=True):
            if first.tokens != second.tokens:
                yield text


def _renumbered(part: Any, after: Mapping[str, int]) -> Any:
    """Return a tokenizer's part with the new ids of the tokens that it names."""
    if isinstance(part, list):
        if len(part) == 2 and isinstance(part[0], str) and isinstance(part[1], int):
            return [part[0], after[part[0]]]
        return [_renumbered(each, after) for each in part]
    if not isinstance(part, dict):
        return part
    result = {name: _renumbered(value, after) for name, value in part.items()}
    if isinstance(part.get("tokens"), list) and "ids" in part:
        result["ids"] = [after[token] for token in part["tokens"]]
    if "pad_id" in part:
        result["pad_id"] = after[part["pad_token"]]
    return result
