"""Compares sentence pairs with a checkpoint, a running server or no model at all, and scores each by the same rule."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from datasets import Dataset

from trident_training.cards import SimilarityCard
from trident_training.checkpoints.loading import load_tokenizer
from trident_training.finetune.similarity import collator, score, tokenize
from trident_training.pairs import load_pair_model, similarities
from trident_training.repository import STS

BATCH = 64
#: Characters in a piece that two texts may share.
NGRAM = 2

#: Gives similarities, float ``[n]``, of a data set's pairs.
Comparer = Callable[[Dataset], np.ndarray]


def evaluate_similarity(comparer: Comparer, rows: Dataset, threshold: float | None) -> dict[str, float]:
    """Return correlations, and F1 and accuracy at the threshold, or at the best one on these rows when None."""
    return score(comparer(rows), rows, threshold)


def checkpoint_comparer(checkpoint: str, max_length: int) -> tuple[Comparer, SimilarityCard]:
    """Return the comparer that a checkpoint is, in float32, and the card beside it.

    Raises:
        CheckpointError: it cannot be loaded, or takes fewer than ``max_length`` tokens.
    """
    card = SimilarityCard.beside(Path(checkpoint))
    model = load_pair_model(checkpoint, card.kind, max_length, fine_tuned=True).eval()
    tokenizer = load_tokenizer(checkpoint)
    collate = collator(tokenizer, card.kind)

    def compare(rows: Dataset) -> np.ndarray:
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

    return compare, card


def server_comparer(url: str, protocol: str, model: str) -> tuple[Comparer, SimilarityCard]:
    """Return the comparer that a running server's model is, and its card as the server tells it.

    Raises:
        TridentError: the server does not answer.
        ValueError: it serves no such model.
    """
    from trident_client import TridentClient

    with TridentClient(url, protocol=protocol) as client:
        served = {each.name: each for each in client.models() if each.task == STS.name}
    if model not in served:
        raise ValueError(f"{url} serves no model of similarity '{model}'; it serves {', '.join(served) or 'none'}")
    card = SimilarityCard(threshold=served[model].threshold)

    def compare(rows: Dataset) -> np.ndarray:
        with TridentClient(url, protocol=protocol) as client:
            return client.similarity(zip(rows["sentence_1"], rows["sentence_2"], strict=True), model=model)

    return compare, card


def overlap(rows: Dataset) -> np.ndarray:
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


def _norm(counts: Sequence[int]) -> float:
    return float(np.sqrt(sum(count * count for count in counts)))
