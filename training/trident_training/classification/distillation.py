"""Teaches a classifier what another one, of any width and vocabulary, predicts of labelled and of unlabelled sentences.

Sources: Sanh et al., DistilBERT (2019), for soft targets beside the labels; Jiao et al., TinyBERT (2020), and Turc et
al., Well-Read Students Learn Better (2019), for text without labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import numpy.typing as npt
import torch
from datasets import Dataset, concatenate_datasets
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput

from trident_training.checkpoints.loading import load_classifier, load_tokenizer
from trident_training.classification.data import LabelledData, texts_of
from trident_training.classification.scoring import logits_of
from trident_training.classification.task import Classification
from trident_training.classification.training import tokenize
from trident_training.data.texts import read_texts
from trident_training.finetune.lesson import LogitsLesson
from trident_training.finetune.model import WrappedModel
from trident_training.finetune.run import Prepared
from trident_training.finetune.settings import Settings
from trident_training.finetune.teaching import Teacher, soft_cross_entropy, taught

#: The label of a sentence that has none.
UNLABELLED = -100


class ClassifierStudent(WrappedModel):
    """A sequence classifier that learns from labels and from a teacher's logits."""

    def __init__(self, classifier: PreTrainedModel, lesson: LogitsLesson) -> None:
        super().__init__(classifier)
        self._alpha, self._temperature = lesson.alpha, lesson.temperature

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        labels: Tensor,
        token_type_ids: Tensor | None = None,
        teacher: Tensor | None = None,
    ) -> SequenceClassifierOutput:
        """Return loss and logits ``[n, labels]``.

        Args:
            input_ids: int64 ``[n, L]``.
            attention_mask: int64 ``[n, L]``.
            labels: int64 ``[n]``, -100 where there is none; float32 ``[n, labels]`` where each is learned by itself.
            token_type_ids: int64 ``[n, L]``, where the encoder has types.
            teacher: logits ``[n, labels]``; None for the labels' loss alone, as in an evaluation.
        """
        further = {} if token_type_ids is None else {"token_type_ids": token_type_ids}
        logits = self.encoder(input_ids=input_ids, attention_mask=attention_mask, **further).logits.float()
        if labels.is_floating_point():
            return SequenceClassifierOutput(loss=self._independent(logits, labels, teacher), logits=logits)
        loss = nn.functional.cross_entropy(logits, labels, ignore_index=UNLABELLED, reduction="none")
        if teacher is not None:
            soft = soft_cross_entropy(logits, teacher, self._temperature)
            loss = (1 - self._alpha) * loss + self._alpha * soft
        return SequenceClassifierOutput(loss=loss.mean(), logits=logits)

    def _independent(self, logits: Tensor, labels: Tensor, teacher: Tensor | None) -> Tensor:
        loss = nn.functional.binary_cross_entropy_with_logits(logits, labels)
        if teacher is None:
            return loss
        wanted = torch.sigmoid(teacher / self._temperature)
        soft = nn.functional.binary_cross_entropy_with_logits(logits / self._temperature, wanted)
        return (1 - self._alpha) * loss + self._alpha * self._temperature**2 * soft


def distilled(
    task: Classification, prepared: Prepared, data: LabelledData, lesson: LogitsLesson, settings: Settings
) -> Prepared:
    """Return a fine-tuning whose sentences have a teacher's logits, and to which sentences without labels are added.

    Args:
        task: of student and teacher.
        prepared: the fine-tuning.
        data: of it; a text that stands there is not taken a second time, nor from what is chosen by or reported.
        lesson: who teaches, by what.
        settings: completed ones.

    Raises:
        CheckpointError: the teacher cannot be loaded, is no fine-tuned classifier, or takes fewer tokens than
            ``settings.max_length``.
        DataError: a text cannot be read.
    """
    if lesson.text and task.independent(data):
        raise ValueError("--text has texts without labels, which teach a model of one label a text alone")
    known = {sentence for rows in data.splits.values() for sentence in rows["sentence"]}
    texts = read_texts(lesson.text, known)
    model = load_classifier(lesson.teacher, task.outputs(data), settings.max_length, fine_tuned=True)
    teacher = Teacher(model, load_tokenizer(lesson.teacher), "logits", settings.max_length)

    def answer(sentences: Sequence[str | tuple[str, str]]) -> npt.NDArray[Any]:
        return logits_of(model, teacher.tokenizer, sentences, settings.max_length)

    train = prepared.train
    if texts:
        unlabelled = Dataset.from_dict({"sentence": texts, "label": [UNLABELLED] * len(texts)})
        train = concatenate_datasets([train, tokenize(unlabelled, prepared.tokenizer, settings.max_length)])
    sentences = [*texts_of(data.splits["train"]), *texts]
    return replace(
        prepared,
        model=ClassifierStudent(cast(PreTrainedModel, prepared.model), lesson),
        train=train.add_column("teacher", list(range(len(sentences)))),
        collator=taught(prepared.collator, teacher.answers(sentences, answer)),
        facts=prepared.facts | lesson.facts(teacher.digest, sentences),
    )
