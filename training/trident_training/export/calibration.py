"""What int8 is fitted to, sentences of many kinds in English and Korean and random tokens, and what judges it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from importlib import resources

import torch
from tokenizers import Tokenizer
from torch import Tensor
from transformers import PreTrainedModel
from trident_client.text import unread_language

from trident_training.checkpoints.positions import most_tokens
from trident_training.export.parity import marked, sample_batches

#: Tokens of the longest sequence.
LONGEST = 64
SAMPLE, CHECK = "sample.txt", "check.txt"


def sample(tokenizer: str | None, encoder: PreTrainedModel) -> list[Tensor]:
    """Return sequences that a model may read, int64 ``[length]`` each, at most 64 tokens long.

    What the tokenizer puts around a text has inputs of its own, far above those of others, and so have some frequent
    tokens: without them a scale fitted to random tokens has no room for what stands in every text.

    Args:
        tokenizer: in the Rust library's form; random tokens alone without.
        encoder: whose vocabulary and positions are kept to.
    """
    config, longest = encoder.config, min(LONGEST, most_tokens(encoder))
    nothing: list[Tensor] = []
    texts, frame = (
        (nothing, torch.empty(0, dtype=torch.int64)) if tokenizer is None else _read(tokenizer, _lines(SAMPLE), longest)
    )
    drawn = sample_batches(config.vocab_size, config.pad_token_id, max(1, longest - len(frame)), seed=3)[0]
    half = len(frame) // 2
    sequences = [*texts, *(torch.cat([frame[:half], each, frame[half:]]) for each in drawn)]
    return [each.clamp(max=config.vocab_size - 1) for each in sequences]


def texts(
    tokenizer: str, encoder: PreTrainedModel, languages: Sequence[str] = (), counts: Collection[int] = (1,)
) -> list[Tensor]:
    """Return texts that nothing was fitted to, as :func:`sample` has them.

    Args:
        tokenizer: in the Rust library's form.
        encoder: whose vocabulary and positions are kept to.
        languages: BCP 47 tags of those that the model was made for; all texts are returned without, or in none of them.
        counts: of how many texts a sequence may be: 1, each alone; 2, each behind the one before it, and behind its own
            first half, with the mark of pairs between them, which is no token.
    """
    lines = _lines(CHECK)
    read = [each for each in lines if not unread_language([each], languages)] or lines
    items = [*(read if 1 in counts else ()), *(_pairs(read) if 2 in counts else ())]
    found, _ = _read(tokenizer, items, min(LONGEST, most_tokens(encoder)))
    return [each.clamp(max=encoder.config.vocab_size - 1) for each in found]


def _pairs(lines: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield pairs of texts that have nothing in common, and of such as have much.

    What says of all of one kind the same, whatever it makes of a pair, is told by the other.
    """
    yield from zip([lines[-1], *lines[:-1]], lines, strict=True)
    for line in lines:
        words = line.split()
        yield " ".join(words[: (len(words) + 1) // 2]), line


def _lines(file: str) -> list[str]:
    return (resources.files("trident_training.export") / file).read_text(encoding="utf-8").splitlines()


def _read(tokenizer: str, items: Sequence[str | tuple[str, str]], longest: int) -> tuple[list[Tensor], Tensor]:
    """Return lines and pairs of them as tokens, and what the tokenizer puts around each line."""
    read = Tokenizer.from_str(tokenizer)
    read.no_padding()
    read.enable_truncation(longest)
    encodings = (*read.encode_batch(list(items)), read.encode(""))
    ids = [torch.tensor(marked(each.ids, each.type_ids), dtype=torch.int64) for each in encodings]
    return [each for each in ids[:-1] if len(each)], ids[-1]
