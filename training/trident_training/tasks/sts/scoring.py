"""Compares sentence pairs with a checkpoint, an export or no model at all, and scores each by the same rule."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from datasets import Dataset
from tokenizers import Tokenizer

from trident_training.checkpoints.loading import load_tokenizer
from trident_training.checkpoints.pooling import pooling_of
from trident_training.checkpoints.prompts import prompts_of, with_prompt
from trident_training.export.packing import PAIR
from trident_training.export.parity import ragged
from trident_training.tasks.base import Predictor
from trident_training.tasks.sts.card import SimilarityCard
from trident_training.tasks.sts.choices import Kind
from trident_training.tasks.sts.data import SIMILAR, SimilarityData
from trident_training.tasks.sts.pairs import load_pair_model, similarities
from trident_training.tasks.sts.plots import plot_similarity
from trident_training.tasks.sts.training import collator, score, tokenize

PICTURE = "similarity.png"
BATCH = 64
#: Characters in a piece that two texts may share.
NGRAM = 2

#: Gives similarities, float ``[n]``, of a data set's pairs.
Comparer = Callable[[Dataset], npt.NDArray[Any]]


def evaluate_similarity(comparer: Comparer, rows: Dataset, threshold: float | None) -> dict[str, float]:
    """Return correlations, and F1 and accuracy at the threshold, or at the best one on these rows when None."""
    return score(comparer(rows), rows, threshold)


def checkpoint_comparer(checkpoint: str, max_length: int) -> tuple[Comparer, SimilarityCard]:
    """Return the comparer that a checkpoint is, in float32, and the card beside it.

    Raises:
        CheckpointError: it cannot be loaded, or takes fewer than ``max_length`` tokens.
    """
    predictor = checkpoint_predictor(checkpoint, max_length)
    return predictor.predict, SimilarityCard.read(Path(checkpoint))


def checkpoint_predictor(checkpoint: str, max_length: int) -> Predictor:
    """Return what compares pairs with a checkpoint, in float32; errors are :func:`checkpoint_comparer`'s."""
    card = SimilarityCard.read(Path(checkpoint))
    model = load_pair_model(checkpoint, card.kind, max_length, fine_tuned=True).eval()
    tokenizer = with_prompt(load_tokenizer(checkpoint), prompts_of(checkpoint).text)
    collate = collator(tokenizer, card.kind)

    def compare(rows: Dataset) -> npt.NDArray[Any]:
        tokens = tokenize(rows, tokenizer, card.kind, max_length)
        order = np.argsort(tokens["length"], kind="stable")
        found = np.zeros(len(rows), dtype=np.float32)
        with torch.inference_mode():
            for start in range(0, len(order), BATCH):
                chosen = order[start : start + BATCH]
                batch = collate([tokens[int(row)] for row in chosen])
                del batch["labels"]
                found[chosen] = similarities(card.kind, model(**batch)["logits"]).numpy()
        return found

    return Predictor(compare, card.threshold, model, tokenizer)


def exported_comparer(module: torch.jit.ScriptModule, tokenizer: str, max_tokens: int, prompt: str = "") -> Comparer:
    """Return the comparer that an exported encoder is, called as Triton calls it.

    Args:
        module: the entry: ragged token ids, -2 between the sentences of a pair, to embeddings and cosines.
        tokenizer: in the Rust library's JSON form.
        max_tokens: what a sentence is cut to.
        prompt: what stands in front of every sentence.
    """
    encoder = Tokenizer.from_str(tokenizer)
    encoder.no_padding()
    encoder.enable_truncation(max_tokens)

    def compare(rows: Dataset) -> npt.NDArray[Any]:
        first, second = (
            encoder.encode_batch([prompt + text for text in rows[side]]) for side in ("sentence_1", "sentence_2")
        )
        pairs = [torch.tensor([*one.ids, PAIR, *other.ids]) for one, other in zip(first, second, strict=True)]
        batches = [pairs[start : start + BATCH] for start in range(0, len(pairs), BATCH)]
        with torch.inference_mode():
            return torch.cat([module(*ragged(batch))[1] for batch in batches])[:, 0].numpy()

    return compare


def write_card(
    data: SimilarityData, best: Path, max_length: int, kind: Kind | None, languages: Sequence[str] | None
) -> None:
    """Find a finished model's threshold on the validation set; write its card, and its scores as a picture beside it.

    Args:
        data: what it was chosen by.
        best: its folder.
        max_length: tokens that it was trained with.
        kind: how it compares; what the card that is there says when None.
        languages: that it was trained on; the same.
    """
    if kind is not None:
        pooling = pooling_of(str(best)) if kind is Kind.BI_ENCODER else None
        SimilarityCard(kind, pooling, languages=tuple(languages or ())).write(best)
    comparer, card = checkpoint_comparer(str(best), max_length)
    validation = data.splits["validation"]
    scores = comparer(validation)
    metrics = score(scores, validation)
    threshold = metrics.pop("threshold")
    rounded = {name: round(value, 4) for name, value in metrics.items()}
    replace(card, threshold=threshold, metrics=rounded).write(best)
    plot_similarity(scores, np.array(validation["score"]), threshold, SIMILAR, best.parent / PICTURE)


def overlap(rows: Dataset) -> npt.NDArray[Any]:
    """Return how many pieces of two characters each pair's texts share: cosines ``[n]`` of their counts, 0 to 1.

    What a model has to beat: it knows no word.
    """
    pieces = [[_pieces(text) for text in rows[side]] for side in ("sentence_1", "sentence_2")]
    return np.array([_cosine(first, second) for first, second in zip(*pieces, strict=True)], dtype=np.float32)


def _pieces(text: str) -> Counter[str]:
    text = " ".join(text.casefold().split())
    return Counter(text[place : place + NGRAM] for place in range(max(1, len(text) - NGRAM + 1)))


def _cosine(first: Counter[str], second: Counter[str]) -> float:
    product = sum(count * second[piece] for piece, count in first.items())
    return product / (_norm(first.values()) * _norm(second.values()))


def _norm(counts: Collection[int]) -> float:
    return float(np.sqrt(sum(count * count for count in counts)))
