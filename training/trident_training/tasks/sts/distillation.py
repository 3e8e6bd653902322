"""Teaches a sentence encoder where another one, of any width and vocabulary, puts sentences, and how near to another.

A student of the teacher's own width learns its very embeddings, so that those of both can be compared; one of another
width learns them by way of a projection that is dropped afterwards. Translations are sentences that the teacher reads
in another language.

Sources: Reimers and Gurevych, Making Monolingual Sentence Embeddings Multilingual using Knowledge Distillation (2020),
as sentence-transformers has it; Vujanic and Rueckstiess, LEAF (2025), for the projection and for text without labels;
Tung and Mori, Similarity-Preserving Knowledge Distillation (2019), for the batch's matrix of similarities.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from datasets import Dataset, concatenate_datasets
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase, set_seed

from trident_training.checkpoints.loading import load_tokenizer
from trident_training.checkpoints.prompts import prompts_of, with_prompt
from trident_training.data.texts import read_texts
from trident_training.finetune.processes import gathered
from trident_training.finetune.run import Prepared
from trident_training.finetune.settings import Settings
from trident_training.finetune.teaching import Teacher, taught
from trident_training.tasks.sts.choices import Kind
from trident_training.tasks.sts.data import SIDES, SimilarityData, load_translations
from trident_training.tasks.sts.pairs import BiEncoder, load_bi_encoder
from trident_training.tasks.sts.task import SimilarityLesson
from trident_training.tasks.sts.training import tokenize

#: How much the matrix of similarities counts beside the embeddings; its differences are squares of small numbers.
MATRIX = 10.0
#: Sentences of one forward pass, and those that a projection is begun with.
BATCH, FITTED = 128, 2048


class EmbeddingStudent(BiEncoder):
    """A bi-encoder that learns from a teacher's embeddings too."""

    def __init__(self, model: BiEncoder, projection: Tensor | None) -> None:
        """Take a bi-encoder, and what its embeddings are multiplied by, ``[teacher's width, its own]``."""
        super().__init__(model.encoder, model.pooling)
        self.projection: nn.Module = nn.Identity()
        if projection is not None:
            self.projection = nn.Linear(projection.shape[1], projection.shape[0], bias=False)
            self.projection.weight.data.copy_(projection)

    def forward(self, input_ids: Tensor, attention_mask: Tensor, teacher: Tensor | None = None) -> dict[str, Tensor]:
        """Return ``logits``, the cosines ``[n]``, and, where there is a teacher, what its loss is made of.

        That is ``embeddings`` of the sentences that have goals, ``[m, hidden]``, the same ``projected``, and ``goals``,
        both ``[m, width]``.

        Args:
            input_ids: int64 ``[2 n, L]``, all first sentences and then all second ones.
            attention_mask: the same shape, 0 where padded.
            teacher: unit-norm embeddings ``[n, 2, width]``, NaN for pairs that it was not asked.
        """
        embeddings = self.embed(input_ids, attention_mask)
        first, second = embeddings.chunk(2)
        outputs = {"logits": nn.functional.cosine_similarity(first, second)}
        if teacher is not None:
            goals = teacher.transpose(0, 1).flatten(0, 1)
            known = ~goals.isnan().any(1)
            own = embeddings[known]
            outputs |= {"embeddings": own, "projected": self.projection(own), "goals": goals[known]}
        return outputs


def embedding_loss(embeddings: Tensor, projected: Tensor, goals: Tensor) -> Tensor:
    """Return how far embeddings are from their goals, and their cosines with one another from those of the goals.

    In training, they are those of all processes.

    Args:
        embeddings: ``[n, hidden]``; of none the loss is 0.
        projected: the same in the goals' space, ``[n, width]``.
        goals: of unit norm, ``[n, width]``.
    """
    embeddings, projected, goals = gathered(embeddings), gathered(projected), gathered(goals)
    if not len(goals):
        # What several processes train has a gradient, if one of nothing.
        return embeddings.sum() + projected.sum()
    distance = 1 - (nn.functional.normalize(projected, dim=1) * goals).sum(1).mean()
    found = nn.functional.normalize(embeddings, dim=1)
    return distance + MATRIX * nn.functional.mse_loss(found @ found.T, goals @ goals.T)


def distilled(prepared: Prepared, data: SimilarityData, lesson: SimilarityLesson, settings: Settings) -> Prepared:
    """Return a fine-tuning whose sentences have a teacher's embeddings, and to which those without scores are added.

    Args:
        prepared: the fine-tuning of a bi-encoder.
        data: of it; what is chosen by or reported is not learned from.
        lesson: who teaches, by what. With translations, the teacher reads their originals, and not the data.
        settings: completed ones.

    Raises:
        CheckpointError: the teacher cannot be loaded, or takes fewer tokens than ``settings.max_length``.
        DataError: a text or the translations cannot be read.
        ValueError: the student is no bi-encoder.
    """
    if not isinstance(prepared.model, BiEncoder):
        raise ValueError("only a bi-encoder has embeddings to learn; --kind bi-encoder is accepted")
    model = load_bi_encoder(lesson.teacher, settings.max_length)
    tokenizer = with_prompt(load_tokenizer(lesson.teacher), prompts_of(lesson.teacher).text)
    teacher = Teacher(model, tokenizer, "embeddings", settings.max_length, str(model.pooling))

    def answer(pairs: Sequence[Any]) -> npt.NDArray[Any]:
        texts = [text for pair in pairs for text in pair]
        return embed(model, tokenizer, texts, settings.max_length).reshape(len(pairs), 2, -1)

    train = data.splits["train"]
    labelled = list(zip(*(train[side] for side in SIDES), strict=True)) if lesson.translation is None else []
    # Neighbours of like length make pairs with little to pad.
    further = sorted(_further(data, lesson), key=lambda texts: len(texts[0]))
    # What the student reads, and what the teacher does.
    pairs = _pairs([mine for mine, _ in further])
    inputs = [*labelled, *_pairs([theirs for _, theirs in further])]
    places = [*(range(len(train)) if labelled else [-1] * len(train)), *range(len(labelled), len(inputs))]
    rows = prepared.train
    if pairs:
        unscored = Dataset.from_list([{**dict(zip(SIDES, pair, strict=True)), "score": math.nan} for pair in pairs])
        rows = concatenate_datasets(
            [rows, tokenize(unscored, prepared.tokenizer, Kind.BI_ENCODER, settings.max_length)]
        )
    answers = teacher.answers(inputs, answer)
    student = prepared.model
    projection = None
    if answers[0].shape[-1] != student.config.hidden_size:
        read = [*labelled, *pairs][: FITTED // 2]
        own = embed(student, prepared.tokenizer, [text for pair in read for text in pair], settings.max_length)
        projection = fit(own, np.concatenate(answers[: len(read)]))
    # What follows draws the same whether the teacher was asked or not.
    set_seed(settings.seed)
    return replace(
        prepared,
        model=EmbeddingStudent(student, projection),
        train=rows.add_column("teacher", places),
        collator=taught(prepared.collator, answers),
        facts=prepared.facts | lesson.facts(teacher.digest, inputs),
        loss=_mixed(prepared, lesson),
    )


def embed(
    model: BiEncoder, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], max_length: int
) -> npt.NDArray[Any]:
    """Return unit-norm embeddings, float32 ``[n, hidden]``; what of a text is over ``max_length`` is left out."""
    order = sorted(range(len(texts)), key=lambda index: len(texts[index]))
    found = np.zeros((len(texts), model.config.hidden_size), dtype=np.float32)
    with torch.inference_mode():
        for start in range(0, len(order), BATCH):
            chosen = order[start : start + BATCH]
            batch = tokenizer(
                [texts[index] for index in chosen],
                padding=True,
                truncation=True,
                max_length=max_length,
                return_tensors="pt",
            )
            rows = model.embed(batch["input_ids"], batch["attention_mask"])
            found[chosen] = nn.functional.normalize(rows.float(), dim=1).numpy()
    return found


def fit(embeddings: npt.NDArray[Any], goals: npt.NDArray[Any]) -> Tensor:
    """Return what takes embeddings ``[n, hidden]`` nearest to goals ``[n, width]``, by least squares.

    A projection that is drawn at random would at first teach the encoder to fit the draw.
    """
    found, *_ = np.linalg.lstsq(embeddings, goals, rcond=None)
    return torch.from_numpy(np.ascontiguousarray(found.T))


def _further(data: SimilarityData, lesson: SimilarityLesson) -> list[tuple[str, str]]:
    """Return unscored sentences: what the student reads of each, and what the teacher does."""
    splits = {name: {text for side in SIDES for text in rows[side]} for name, rows in data.splits.items()}
    further: list[tuple[str, str]] = []
    if lesson.original is not None and lesson.translation is not None:
        held_out = set().union(*(texts for name, texts in splits.items() if name != "train"))
        translations = load_translations(lesson.original, lesson.translation)["train"]
        further = [(each.translation, each.original) for each in translations if each.translation not in held_out]
    return further + [(text, text) for text in read_texts(lesson.text, set().union(*splits.values()))]


def _pairs(texts: Sequence[str]) -> list[tuple[str, str]]:
    """Return texts two by two, the last one beside the first where their number is odd."""
    return list(zip(texts[::2], [*texts[1::2], *texts[: len(texts) % 2]], strict=True))


def _mixed(prepared: Prepared, lesson: SimilarityLesson) -> Callable[..., Tensor]:
    """Return the loss of scores and teacher, called as ``Trainer`` calls its ``compute_loss_func``."""
    own = prepared.loss
    if own is None:
        raise ValueError("a bi-encoder's fine-tuning has a loss of its own")

    def compute(
        outputs: Mapping[str, Tensor], labels: Tensor, num_items_in_batch: Tensor | int | None = None
    ) -> Tensor:
        scored = ~labels.isnan()
        loss = own({"logits": outputs["logits"][scored]}, labels[scored], num_items_in_batch)
        if "goals" not in outputs:
            return loss
        share = 1.0 if num_items_in_batch is None else len(labels) / num_items_in_batch
        found = embedding_loss(outputs["embeddings"], outputs["projected"], outputs["goals"])
        return (1 - lesson.alpha) * loss + lesson.alpha * share * found

    return compute
